"""`run.json`, the record of a run: its fields, and how a file is validated."""

import dataclasses
import datetime
import pathlib
import re
from typing import Annotated, Any

import pydantic
from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo
from typing_extensions import TypedDict

from console.errors import InputError
from storage import checkpoints
from storage.checkpoints import Checksums

FILE = "run.json"
# Format 2 added checksums of the checkpoints. Format 1 can still be read.
FORMAT = 2
# Earlier versions took only such images.
FORM_BEFORE_IT_WAS_RECORDED = {"image_size": [28, 28], "classes": 10}


class _Flags(TypedDict):
    train_steps: int
    lr_schedule: str


class _Dataset(TypedDict):
    name: str
    train: int
    fingerprint: str
    image_size: list
    classes: int


class _Best(TypedDict):
    step: int
    validation_accuracy: float


class _Result(TypedDict):
    dataset: str
    split: str
    accuracy: float
    correct: int
    total: int
    step: int
    checkpoint: str


def _containing(fields: type) -> Any:
    """Has pydantic check that an object contains these fields; it may contain others."""
    these_and_others = pydantic.with_config({"extra": "allow"})(fields)
    return pydantic.GetPydanticSchema(lambda _, handler: handler.generate_schema(these_and_others))


def _inside_the_folder(found: dict[str, Checksums | None]) -> dict[str, Checksums | None]:
    """Rejects a checkpoint whose name or files would lead outside the run's folder."""
    for name, checksums in found.items():
        if not checkpoints.NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of a checkpoint")
        for file in checksums or ():
            if not re.fullmatch(rf"{re.escape(name)}\.[\w-]+", file):
                raise ValueError(f"{file!r} is not the name of a file of {name}")
    return found


def _with_time_zone(text: str) -> str:
    if datetime.datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("a time without its zone")
    return text


@dataclasses.dataclass(kw_only=True)
class Record:
    """What is known about a run. Its fields are those of the file, which adds its format."""

    # The flags that determine the weights and the curves.
    flags: Annotated[dict[str, Any], _containing(_Flags)]
    # What identifies the data, and where it was found.
    dataset: Annotated[dict[str, Any], _containing(_Dataset)]
    data_dir: str
    # Each checkpoint's checksums, by its name, oldest first; None if unknown.
    checkpoints: Annotated[dict[str, Checksums | None], AfterValidator(_inside_the_folder)]
    # By checkpoint: loss and accuracy of the steps before it that no curve point includes yet.
    unfinished_points: dict[
        str, list[Annotated[list[float], Field(min_length=2, max_length=2)]]
    ] = dataclasses.field(default_factory=dict)
    # The checkpoint with the highest validation accuracy.
    best: Annotated[dict[str, Any], _containing(_Best)] | None = None
    # The last step that was evaluated, and the accuracy on the validation images after it.
    evaluated_step: int = 0
    validation_accuracy: float | None = None
    # The steps at which training diverged and the run was rolled back.
    rollbacks: list[int] = dataclasses.field(default_factory=list)
    # Pairs: a step, and how many workers took the steps after it. Empty: one took all of them.
    workers: list[Annotated[list[int], Field(min_length=2, max_length=2)]] = dataclasses.field(
        default_factory=list
    )
    # The finished run's result on the test images.
    result: Annotated[dict[str, Any], _containing(_Result)] | None = None
    # When the record was last written, in UTC.
    updated: Annotated[str, AfterValidator(_with_time_zone)] = "1970-01-01T00:00:00+00:00"
    # Versions and processor: with the same ones, the run is reproducible bit for bit.
    made_with: dict[str, Any] = dataclasses.field(default_factory=dict)

    def content(self) -> dict[str, Any]:
        """Returns the fields as they are stored in JSON."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(Record)}


def _in_this_format(content: Any, info: "ValidationInfo[pathlib.Path]") -> Any:
    """Adds what an earlier version did not write; the context is the run's folder."""
    if not isinstance(content, dict) or content.get("format") not in (1, FORMAT):
        raise ValueError(f"another format than {FORMAT}")
    if content["format"] == 1:
        names = [p.stem for p in info.context.glob("*.index") if checkpoints.NAME.fullmatch(p.stem)]
        content |= {"checkpoints": dict.fromkeys(names), "rollbacks": [], "unfinished_points": {}}
    if isinstance(content.get("dataset"), dict):
        content["dataset"] = FORM_BEFORE_IT_WAS_RECORDED | content["dataset"]
    return content


_RECORD = pydantic.TypeAdapter(Annotated[Record, BeforeValidator(_in_this_format)])


def read(path: pathlib.Path) -> Record:
    """Reads a record, and checks the type of each field; nothing in it is executed.

    Raises:
        InputError: there is none, or this suite did not write it.
    """
    try:
        return _RECORD.validate_json(path.read_bytes(), strict=True, context=path.parent)
    except FileNotFoundError:
        raise InputError(f"{path.parent}: expected a run of this suite, found no {FILE}") from None
    except OSError as error:
        raise InputError(f"{path}: expected a run's record, found: {error.strerror}") from None
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where, what = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
        found = f"no valid {where!r} in it: {what}" if where else what
        raise InputError(f"{path}: expected a run's record, found {found}") from None
