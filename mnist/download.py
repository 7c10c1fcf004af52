"""Find the four MNIST files on disk and download those that are missing.

A file gets its name only after the SHA-256 of its content has been checked. Until then it is a
hidden `.part` file in the same folder, so that whatever happens (a cut-off download, a full disk,
Ctrl-C, a killed process), a file with the name of a data file is that data file.

Every wait is bounded, even if a server barely responds, and without a network the user learns
within seconds that the files can be put in place by hand.
"""

import hashlib
import http.client
import os
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent import futures
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from console.errors import CommandError, InputError
from mnist.idx import StrPath, chunks, open_decompressed

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)


class Content(NamedTuple):
    """What a file holds once decompressed: its size in bytes and its SHA-256."""

    size: int
    sha256: str


FILES = {
    "train-images-idx3-ubyte": Content(
        47040016, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
    ),
    "train-labels-idx1-ubyte": Content(
        60008, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
    ),
    "t10k-images-idx3-ubyte": Content(
        7840016, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
    ),
    "t10k-labels-idx1-ubyte": Content(
        10008, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
    ),
}

# Compression can make a file slightly longer; a download that exceeds this is not the right file.
GZIP_OVERHEAD_BYTES = 1 << 16
PIECE_BYTES = 1 << 16
SLOWEST_BYTES_PER_SECOND = 10_000
FIRST_PAUSE_SECONDS = 0.5
# No download is silent for this long: the process that wrote such a .part file is gone.
STALE_SECONDS = 3600


class DownloadError(CommandError):
    """No mirror provided a file. The message has each mirror's reason and what the user can do."""

    def __init__(self, message: str, reason: str):
        """Takes the message, and the reason in a few words."""
        super().__init__(message)
        self.reason = reason


class _MirrorError(Exception):
    """A mirror did not provide a file, and would not if asked again."""


class _PassingError(_MirrorError):
    """A mirror did not provide a file, but might if asked again."""


class _UnreachableError(_MirrorError):
    """A mirror cannot be reached, for this file or any other."""


def find(data_dir: StrPath, name: str) -> Path | None:
    """Return the path of a file of `FILES` in a folder, or None if it is not there.

    Accepts NAME.gz and NAME, and both with a dot before `idx`, as in `train-images.idx3-ubyte`,
    the spelling that some archives unpack to.
    """
    return next(iter(_spellings_in(data_dir, name)), None)


def _spellings_in(data_dir: StrPath, name: str) -> list[Path]:
    spellings = (name, name.replace("-idx", ".idx"))
    paths = [Path(data_dir, f"{spelling}{end}") for spelling in spellings for end in (".gz", "")]
    # Unlike Path.is_file, this does not raise if the folder can't be searched.
    return [path for path in paths if os.path.isfile(path)]


def sha256_of_decompressed(path: StrPath, limit: int = sys.maxsize) -> str:
    """Return the SHA-256, in hexadecimal, of a raw or gzip file's first `limit` content bytes.

    For the real MNIST it equals that in `FILES`, however the file was compressed. Raises
    InputError, naming the file, if it cannot be read or decompressed.
    """
    digest = hashlib.sha256()
    with open_decompressed(path) as stream:
        for piece in chunks(stream, limit):
            digest.update(piece)
    return digest.hexdigest()


def fetch_missing(
    data_dir: StrPath, mirrors: Sequence[str] = MIRRORS, timeout: float = 10.0, retries: int = 2
) -> list[Path]:
    """Download those of the four files that `data_dir` lacks, and return the paths of all four.

    The order is train images, train labels, test images, test labels. The folder is created if
    missing. Existing files are read only if others are missing, so that MNIST's are not put beside
    those of another data set.

    `mirrors` are the URLs of folders, tried in order for each file; the environment variable
    MNIST_MIRROR, if set, replaces them with the one URL that it holds. `timeout` is how many
    seconds a server may take to answer, be silent, or be slower than 10 kB/s. `retries` is how
    often to retry a mirror after a failure that may be temporary, such as a lost connection.

    Raises DownloadError if no mirror provides a file, and InputError if the folder cannot be
    created or written to, has some files that are not MNIST's and lacks others, or has a file twice
    with different contents. Files downloaded
    before the error stay, so that the next call needs fewer.
    """
    folder = Path(data_dir)
    _check_for_contradictions(folder)
    _check_that_mnist_is_what_is_missing(folder)
    downloader = _Downloader(folder, _chosen(mirrors), timeout, retries)
    with _made_folder(folder):
        return [find(folder, name) or downloader.fetch(name) for name in FILES]


def _check_for_contradictions(folder: Path) -> None:
    """Raise InputError if a file is there in several spellings that differ in content."""
    for name in FILES:
        found = _spellings_in(folder, name)
        if len(found) > 1 and len(set(map(sha256_of_decompressed, found))) > 1:
            raise InputError(
                f"{folder}: expected one file {name}, found {' and '.join(p.name for p in found)} "
                "with different contents: remove those of the other set"
            )


def _check_that_mnist_is_what_is_missing(folder: Path) -> None:
    """Raise InputError if some files are missing and one that exists is not MNIST's."""
    paths = {name: find(folder, name) for name in FILES}
    missing = [name for name, path in paths.items() if path is None]
    for name, path in paths.items():
        if missing and path and sha256_of_decompressed(path) != FILES[name].sha256:
            raise InputError(
                f"{folder}: expected {', '.join(missing)} too, since {path.name} is not MNIST's: "
                "put them there, raw or as .gz"
            )


def _chosen(mirrors: Sequence[str]) -> Sequence[str]:
    """Return the mirrors to use: behind a firewall, the user's own instead of the public ones."""
    own = os.environ.get("MNIST_MIRROR")
    return [own] if own else mirrors


@contextmanager
def _made_folder(folder: Path) -> Iterator[None]:
    """Create a folder for the `with` block, and remove it afterwards if it is still empty.

    Network errors have their own types (see `_MirrorError`), so an OSError in here comes from the
    disk: the folder is not writable, or the disk is full.
    """
    try:
        made = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        try:
            yield
        finally:
            for path in made:
                # rmdir refuses a folder that is not empty, which protects the data.
                with suppress(OSError):
                    path.rmdir()
    except OSError as error:
        raise InputError(
            f"{folder}: expected a folder that can be written to, found: {error.strerror}"
        ) from error


class _Downloader:
    """Downloads files into one folder, and remembers which mirrors are not worth asking again."""

    def __init__(self, folder: Path, mirrors: Sequence[str], timeout: float, retries: int):
        self.folder = folder
        self.reachable = list(mirrors)
        self.timeout = timeout
        self.retries = retries
        self.reasons: dict[str, str] = {}

    def fetch(self, name: str) -> Path:
        """Download one file from the first mirror that has it, and return its path."""
        target = self.folder / f"{name}.gz"
        _remove_stale_parts(target)
        for mirror in tuple(self.reachable):
            try:
                return self._fetch_from(mirror, target, FILES[name])
            except _UnreachableError as error:
                self.reachable.remove(mirror)
                self.reasons[mirror] = str(error)
            except _MirrorError as error:
                self.reasons[mirror] = str(error)
        tried = "; ".join(f"{mirror}: {reason}" for mirror, reason in self.reasons.items())
        raise DownloadError(
            f"cannot download {target.name} ({tried}): put the four MNIST files into "
            f"{self.folder} by hand, or use --dataset=synthetic",
            self._reasons(),
        )

    def _reasons(self) -> str:
        """Return each reason once, since without a network it is the same for all mirrors."""
        mirrors_by_reason: dict[str, list[str]] = {}
        for mirror, reason in self.reasons.items():
            mirrors_by_reason.setdefault(reason, []).append(mirror)
        if len(mirrors_by_reason) == 1 < len(self.reasons):
            return next(iter(mirrors_by_reason))
        return "; ".join(f"{' and '.join(m)}: {reason}" for reason, m in mirrors_by_reason.items())

    def _fetch_from(self, mirror: str, target: Path, content: Content) -> Path:
        """Download one file from one mirror, retrying after a failure that may be temporary."""
        url = f"{mirror.rstrip('/')}/{target.name}"
        for attempt in range(self.retries):
            try:
                return _fetch_once(url, target, content, self.timeout)
            except _PassingError:
                time.sleep(FIRST_PAUSE_SECONDS * 2**attempt)
        return _fetch_once(url, target, content, self.timeout)


def _remove_stale_parts(target: Path) -> None:
    """Remove what killed processes left of this file, but not downloads in progress."""
    for part in target.parent.glob(f".{target.name}.*.part"):
        if time.time() - part.stat().st_mtime > STALE_SECONDS:
            part.unlink(missing_ok=True)


def _fetch_once(url: str, target: Path, content: Content, timeout: float) -> Path:
    """Download to a temporary file, check it, and only then give it its name."""
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        _download(url, part, content.size + GZIP_OVERHEAD_BYTES, timeout)
        _check(part, content)
        return part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _check(part: Path, content: Content) -> None:
    """Raise unless a downloaded file decompresses to the expected content."""
    try:
        found = sha256_of_decompressed(part, content.size + 1)
    except InputError as error:
        raise _MirrorError("sent a damaged gzip file") from error
    if found != content.sha256:
        raise _MirrorError(f"sent wrong content: expected SHA-256 {content.sha256}, found {found}")


def _download(url: str, part: Path, limit: int, timeout: float) -> None:
    """Download a URL of at most `limit` bytes into a file, and sync it to disk."""
    # The file first, so that an unwritable folder is noticed before the network is used.
    with open(part, "wb") as file, _open(url, timeout) as response:
        name = url.rpartition("/")[2]
        if not sys.stderr.isatty():
            print(f"downloading {part.with_name(name)}", file=sys.stderr)  # instead of the bar
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() else None
        # Without a terminal (disable=None) there is no bar; `fetch` prints a line instead.
        with tqdm(
            desc=name, total=total, unit="B", unit_scale=True, leave=False, disable=None
        ) as bar:
            for piece in _pieces(response, total, limit, timeout):
                file.write(piece)
                bar.update(len(piece))
        file.flush()
        os.fsync(file.fileno())


def _pieces(
    response: http.client.HTTPResponse, total: int | None, limit: int, timeout: float
) -> Iterator[bytes]:
    """Yield a response piece by piece; raise if it is cut off, too long or too slow."""
    start = time.monotonic()
    received = 0
    while piece := _read_piece(response):
        received += len(piece)
        if received > limit:
            raise _MirrorError(f"sent more than the {limit} bytes that the file can have")
        # The socket's timeout restarts with every byte, so it never ends a slow drip.
        if received < SLOWEST_BYTES_PER_SECOND * (time.monotonic() - start - timeout):
            raise _MirrorError(f"too slow: sent {received} bytes in more than {timeout:g} s")
        yield piece
    if total is not None and received < total:
        raise _PassingError(f"cut off after {received} of {total} bytes")


def _read_piece(response: http.client.HTTPResponse) -> bytes:
    """Read what has arrived, waiting only if nothing has; b"" at the end."""
    try:
        return response.read1(PIECE_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise _PassingError(_one_line(error)) from error


def _open(url: str, timeout: float) -> http.client.HTTPResponse:
    """Request a URL, and distinguish the ways in which that can fail."""
    try:
        return _answer_within(timeout, url)
    except urllib.error.HTTPError as error:
        error.close()
        may_pass = error.code >= 500 or error.code in (408, 429)
        kind = _PassingError if may_pass else _MirrorError
        raise kind(_one_line(error)) from error
    except (TimeoutError, futures.TimeoutError) as error:  # two types before Python 3.11
        raise _UnreachableError(f"no answer within {timeout:g} s") from error
    except urllib.error.URLError as error:
        raise _UnreachableError(_one_line(error.reason)) from error
    except (http.client.InvalidURL, ValueError) as error:
        raise _UnreachableError(_one_line(error)) from error
    except (OSError, http.client.HTTPException) as error:
        raise _PassingError(_one_line(error)) from error


def _answer_within(timeout: float, url: str) -> http.client.HTTPResponse:
    """Request a URL and return the response, or raise what `urlopen` raises, or TimeoutError.

    The timeout of `urlopen` itself restarts for every address of a host and for every byte of a
    header, and does not cover the name lookup. A thread can be abandoned in any of these.
    """
    answer: futures.Future[http.client.HTTPResponse] = futures.Future()

    def ask() -> None:
        try:
            answer.set_result(urllib.request.urlopen(url, timeout=timeout))
        except Exception as error:  # not swallowed: result() raises it
            answer.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()
    return answer.result(timeout)


def _one_line(error: object) -> str:
    """Return an error's message in one line; some have several, as for a redirect loop."""
    return " ".join(str(error).split()) or type(error).__name__
