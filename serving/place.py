"""An export's folder: there as a whole, or not at all."""

import contextlib
import os
import pathlib
import shutil
from collections.abc import Iterator

from console.errors import InputError
from console.files import flush_folder, make_folder, writing
from serving import record


def folder_of(
    output_dir: str, run: str, name: str, precision: str, step: int, *, folded: bool
) -> pathlib.Path:
    """Returns where an export goes: `exports/cnn-bn/tflite-int8`, for example.

    A SavedModel goes into a folder named after the step, since TensorFlow Serving takes the highest
    number that it finds for the newest version.
    """
    parts = [name] + [precision] * (precision != "float32") + ["unfolded"] * (not folded)
    folder = pathlib.Path(output_dir, run, "-".join(parts))
    return folder / str(step) if name == "saved_model" else folder


def check(folder: pathlib.Path, *, overwrite: bool) -> None:
    """Makes the folder that an export's folder goes into, and checks what is in its place.

    Raises:
        InputError: nothing can be written there; there is an export already, and it may not be
            replaced; or there is something else.
    """
    if folder.exists() or folder.is_symlink():
        if not record.path_in(folder).is_file():
            raise InputError(f"{folder}: expected an export or nothing, found something else")
        if not overwrite:
            raise InputError(
                f"{folder}: there is an export already; --overwrite replaces it, "
                "--output_dir=FOLDER keeps both"
            )
    make_folder(folder.parent)


@contextlib.contextmanager
def replacing(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields an empty folder, which takes the place of `folder` at the end of the block.

    If the block fails, all is as before.

    Raises:
        CommandError: the file system refuses.
    """
    unfinished, former = (_beside(folder, f"{os.getpid()}.{kind}") for kind in ("part", "former"))
    with writing(folder):
        _remove_strays(folder)
        unfinished.mkdir()
    try:
        yield unfinished
        with writing(folder):
            if folder.exists():
                folder.rename(former)
            unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        if former.exists() and not folder.exists():
            former.rename(folder)
        raise
    flush_folder(folder.parent)
    shutil.rmtree(former, ignore_errors=True)


def _beside(folder: pathlib.Path, suffix: str) -> pathlib.Path:
    return folder.parent / f".{folder.name}.{suffix}"


def _remove_strays(folder: pathlib.Path) -> None:
    """Deletes what processes left that were killed; brings back what one of them had replaced."""
    for stray in folder.parent.glob(_beside(folder, "[0-9]*.*").name):
        _, process, kind = stray.name.rsplit(".", 2)
        if _is_running(int(process)):
            continue
        if kind == "former" and not folder.exists():
            stray.rename(folder)
        elif kind in ("part", "former"):
            shutil.rmtree(stray)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # Another user's.
    return True
