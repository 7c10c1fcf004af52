"""`run.json`, the record of a run: which fields it has to have, since anybody can write a file."""

import json
import pathlib
from typing import Any

from runtime import checkpoints
from runtime.errors import InputError

FILE = "run.json"
# 2 has checksums of the checkpoints. Records of format 1 are read as well.
FORMAT = 2
FIELDS: dict[str, tuple[type, ...]] = {
    "updated": (str,),
    "flags": (dict,),
    "dataset": (dict,),
    "data_dir": (str,),
    "best": (dict, type(None)),
    "evaluated_step": (int,),
    "result": (dict, type(None)),
    "checkpoints": (dict,),
    "rollbacks": (list,),
    "unfinished_points": (dict,),
}
# What is read of those that are an object.
NESTED_FIELDS: dict[str, dict[str, tuple[type, ...]]] = {
    "flags": {"train_steps": (int,), "lr_schedule": (str,)},
    "dataset": {"name": (str,), "train": (int,), "fingerprint": (str,)},
    "best": {"step": (int,), "validation_accuracy": (float,)},
    "result": {
        "dataset": (str,),
        "split": (str,),
        "accuracy": (float,),
        "correct": (int,),
        "total": (int,),
        "step": (int,),
        "checkpoint": (str,),
    },
}


def read(path: pathlib.Path) -> dict[str, Any]:
    """Reads a record, and checks that each field is of its type; nothing in it is executed.

    Raises:
        InputError: there is none, or it is not one that this suite wrote.
    """
    try:
        record = json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(f"{path.parent}: expected a run of this suite, found no {FILE}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected a run's record in JSON, found: {error}") from None
    if not isinstance(record, dict) or record.get("format") not in (1, FORMAT):
        raise InputError(f"{path}: expected a run's record of format {FORMAT}, found another")
    if record["format"] == 1:
        names = [p.stem for p in path.parent.glob("*.index") if checkpoints.NAME.fullmatch(p.stem)]
        record |= {"checkpoints": dict.fromkeys(names), "rollbacks": [], "unfinished_points": {}}
    _check_types(path, record, FIELDS)
    for name, fields in NESTED_FIELDS.items():
        if record[name] is not None:
            _check_types(path, record[name], fields)
    for name, checksums in record["checkpoints"].items():
        _check_names(path, name, checksums)
    for name, seen in record["unfinished_points"].items():
        if not _are_pairs_of_numbers(seen):
            raise InputError(f"{path}: expected losses and accuracies for {name!r}, found others")
    return record


def _check_types(
    path: pathlib.Path, values: dict[str, Any], fields: dict[str, tuple[type, ...]]
) -> None:
    for name, types in fields.items():
        if type(values.get(name, ...)) not in types:
            raise InputError(f"{path}: expected a run's record, found no sound {name!r} in it")


def _are_pairs_of_numbers(values: Any) -> bool:
    return isinstance(values, list) and all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(v, float) for v in pair)
        for pair in values
    )


def _check_names(path: pathlib.Path, name: str, checksums: Any) -> None:
    """Refuses a checkpoint whose name or files would lead out of the run's folder."""
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
