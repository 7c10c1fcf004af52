"""The data to evaluate a run on: the dataset it was trained on, unless flags name another."""

from collections.abc import Sequence

from console.errors import InputError
from console.progress import note
from mnist import datasets
from mnist.datasets import Dataset
from storage.run import Run


def load(runs: Sequence[Run], split: str, dataset: str | None, data_dir: str | None) -> Dataset:
    """Loads data, with the validation images that the runs had if they were trained on it.

    Notes which runs were trained on other data.

    Args:
        runs: one or more.
        split: the split to evaluate on.
        dataset: see `mnist.datasets.load`; None means the dataset that the first run was trained
            on.
        data_dir: folder of the IDX files or pictures; None means where the first run had them, or
            else `data`.

    Raises:
        InputError: the images are missing or of another size, there are more classes, the split is
            empty, or a training image of one run would be in the validation split of another.
    """
    first = runs[0]
    for run in runs:
        if run.dataset["classes"] != first.dataset["classes"]:
            raise InputError(
                f"--run: expected runs with the same classes, but {run.folder} has "
                f"{run.dataset['classes']} and {first.folder} {first.dataset['classes']}"
            )
        if split != "test" and run.dataset != first.dataset:
            raise InputError(
                f"--split: expected runs that were trained on the same images, but {run.folder} "
                f"was not on those of {first.folder}"
            )
    loaded = _split_as_for(first, _load(first, dataset, data_dir))
    if not len(getattr(loaded, split).labels):
        raise InputError(f"--split: {first.folder} was trained on the validation images as well")
    for run in runs:
        _check_form(run, loaded)
        if not run.was_trained_on(_split_as_for(run, loaded).description()):
            note(
                f"{run.folder} was trained on {run.dataset['name']}, is evaluated on {loaded.name}"
            )
    return loaded


def check_same(one: Run, other: Run) -> None:
    """Refuses two runs on different data, whose results say nothing of each other.

    Raises:
        InputError: they differ in name, form or images.
    """
    differing = {"name", "image_size", "classes", "train", "fingerprint"}
    if one.dataset.get("validation") != other.dataset.get("validation"):
        # The images are then split in another way, and so have another fingerprint.
        differing -= {"train", "fingerprint"}
    if any(one.dataset[name] != other.dataset[name] for name in differing):
        of_one, of_other = (
            f"{run.dataset['name']} ({datasets.describe_form(run.dataset)}, {run.dataset['train']} "
            f"to train on, fingerprint {run.dataset['fingerprint'][:8]})"
            for run in (one, other)
        )
        raise InputError(
            f"{one.folder} and {other.folder}: expected runs trained on the same data, found "
            f"{of_one} and {of_other}; train one of them again on the other's: --overwrite"
        )


def _check_form(run: Run, dataset: Dataset) -> None:
    expected, found = run.dataset, dataset.form()
    if found["image_size"] != expected["image_size"] or found["classes"] > expected["classes"]:
        raise InputError(
            f"{dataset.name}: {run.folder} was trained on {datasets.describe_form(expected)}, "
            f"found {datasets.describe_form(found)}"
        )


def _load(run: Run, dataset: str | None, data_dir: str | None) -> Dataset:
    name = run.dataset["name"]
    is_synthetic = name == "synthetic" and not data_dir
    # Files may be read from a folder that a record names, but nothing is ever written to it.
    is_there = datasets.is_complete(run.data_dir)
    if name not in ("mnist", "synthetic") and not (is_there or data_dir or dataset):
        raise InputError(f"--data_dir: expected the images of {name}, found none in {run.data_dir}")
    if data_dir and dataset != "synthetic":
        datasets.check_is_complete(data_dir)
    return datasets.load(
        dataset or ("synthetic" if is_synthetic else "mnist"),
        data_dir or (run.data_dir if is_there else "data"),
        may_store=bool(data_dir),
    )


def _split_as_for(run: Run, dataset: Dataset) -> Dataset:
    validation_size = run.dataset.get("validation")
    if dataset.name == run.dataset["name"] and isinstance(validation_size, int):
        return dataset.with_validation(validation_size)
    return dataset
