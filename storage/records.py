"""`run.json`, the record of a run: its fields, and how a file is validated."""

import dataclasses
import datetime
import json
import pathlib
from typing import Any

from console.errors import InputError
from storage import checkpoints
from storage.checkpoints import Checksums

FILE = "run.json"
# Format 2 added checksums of the checkpoints. Format 1 can still be read.
FORMAT = 2
# Earlier versions took only such images.
FORM_BEFORE_IT_WAS_RECORDED = {"image_size": [28, 28], "classes": 10}


def _field(*types: type, containing: dict[str, type] | None = None, **default: Any) -> Any:
    """Declares a field by its JSON types and, for an object, the fields it must contain.

    Without a `default`, a file that lacks the field is rejected.
    """
    return dataclasses.field(metadata={"types": types, "containing": containing or {}}, **default)


@dataclasses.dataclass(kw_only=True)
class Record:
    """What is known about a run. This is the only place that names the fields of the file."""

    # The flags that determine the weights and the curves.
    flags: dict[str, Any] = _field(dict, containing={"train_steps": int, "lr_schedule": str})
    # What identifies the data, and where it was found.
    dataset: dict[str, Any] = _field(
        dict,
        containing={
            "name": str,
            "train": int,
            "fingerprint": str,
            "image_size": list,
            "classes": int,
        },
    )
    data_dir: str = _field(str)
    # Each checkpoint's checksums, by its name, oldest first; None if unknown.
    checkpoints: dict[str, Checksums | None] = _field(dict)
    # By checkpoint: loss and accuracy of the steps before it that no curve point includes yet.
    unfinished_points: dict[str, list[list[float]]] = _field(dict, default_factory=dict)
    # The checkpoint with the highest validation accuracy.
    best: dict[str, Any] | None = _field(
        dict, type(None), containing={"step": int, "validation_accuracy": float}, default=None
    )
    # The last step that was evaluated, and the accuracy on the validation images after it.
    evaluated_step: int = _field(int, default=0)
    validation_accuracy: float | None = _field(float, type(None), default=None)
    # The steps at which training diverged and the run was rolled back.
    rollbacks: list[int] = _field(list, default_factory=list)
    # Pairs: a step, and how many workers took the steps after it. Empty: one took all of them.
    workers: list[list[int]] = _field(list, default_factory=list)
    # The finished run's result on the test images.
    result: dict[str, Any] | None = _field(
        dict,
        type(None),
        containing={
            "dataset": str,
            "split": str,
            "accuracy": float,
            "correct": int,
            "total": int,
            "step": int,
            "checkpoint": str,
        },
        default=None,
    )
    # When the record was last written, in UTC.
    updated: str = _field(str, default="1970-01-01T00:00:00+00:00")
    # Versions and processor: with the same ones, the run is reproducible bit for bit.
    made_with: dict[str, Any] = _field(dict, default_factory=dict)

    def content(self) -> dict[str, Any]:
        """Returns the fields as they are stored in JSON."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(Record)}


def read(path: pathlib.Path) -> Record:
    """Reads a record, and checks the type of each field; nothing in it is executed.

    Raises:
        InputError: there is none, or this suite did not write it.
    """
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(f"{path.parent}: expected a run of this suite, found no {FILE}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected a run's record in JSON, found: {error}") from None
    if not isinstance(content, dict) or content.get("format") not in (1, FORMAT):
        raise InputError(f"{path}: expected a run's record of format {FORMAT}, found another")
    if content["format"] == 1:
        names = [p.stem for p in path.parent.glob("*.index") if checkpoints.NAME.fullmatch(p.stem)]
        content |= {"checkpoints": dict.fromkeys(names), "rollbacks": [], "unfinished_points": {}}
    if isinstance(content.get("dataset"), dict):
        content["dataset"] = FORM_BEFORE_IT_WAS_RECORDED | content["dataset"]
    record = _of_sound_fields(path, content)
    for name, checksums in record.checkpoints.items():
        _check_names(path, name, checksums)
    if not all(_is_pair_of_counts(part) for part in record.workers):
        raise InputError(f"{path}: expected pairs of a step and a number of workers, found others")
    if not _is_time(record.updated):
        raise InputError(f"{path}: expected a time in 'updated', found {record.updated!r}")
    for name, seen in record.unfinished_points.items():
        if not _are_pairs_of_numbers(seen):
            raise InputError(
                f"{path}: expected losses and accuracies for {name!r}, found something else"
            )
    return record


def _of_sound_fields(path: pathlib.Path, content: dict[str, Any]) -> Record:
    fields = {}
    for field in dataclasses.fields(Record):
        if field.name not in content and _has_default(field):
            continue
        value = fields[field.name] = content.get(field.name, ...)
        is_sound = type(value) in field.metadata["types"]
        if is_sound and isinstance(value, dict):
            is_sound = all(
                type(value.get(name, ...)) is kind
                for name, kind in field.metadata["containing"].items()
            )
        if not is_sound:
            raise InputError(
                f"{path}: expected a run's record, found no valid {field.name!r} in it"
            )
    return Record(**fields)


def _has_default(field: dataclasses.Field) -> bool:
    return not (field.default is field.default_factory is dataclasses.MISSING)


def _is_pair_of_counts(part: Any) -> bool:
    return isinstance(part, list) and len(part) == 2 and all(type(each) is int for each in part)


def _is_time(text: str) -> bool:
    try:
        return datetime.datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _are_pairs_of_numbers(values: Any) -> bool:
    return isinstance(values, list) and all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(v, float) for v in pair)
        for pair in values
    )


def _check_names(path: pathlib.Path, name: str, checksums: Any) -> None:
    """Rejects a checkpoint whose name or files would lead outside the run's folder."""
    is_sound = checkpoints.NAME.fullmatch(name) and (
        checksums is None
        or isinstance(checksums, dict)
        and all(
            "/" not in file and file.startswith(f"{name}.") and isinstance(checksum, str)
            for file, checksum in checksums.items()
        )
    )
    if not is_sound:
        raise InputError(f"{path}: expected the name of a checkpoint and its files, found {name!r}")
