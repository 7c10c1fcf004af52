"""Downloads from real servers on this machine, most of which misbehave."""

import gzip
import hashlib
import itertools
import os
import random
import re
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.errors import CommandError, InputError
from mnist import download

ROOT = Path(__file__).parent.parent
NAMES = list(download.FILES)
FIRST = NAMES[0]
# Incompressible and larger than one piece, so that a download can be stopped in its middle.
CONTENTS = {name: random.Random(name).randbytes(150_000) for name in NAMES}
PACKED = {name: gzip.compress(content) for name, content in CONTENTS.items()}
BOMB = gzip.compress(bytes(20_000_000))


class Mirror:
    """A web server with the four files; it records requests, and a test can change `behave`."""

    def __init__(self):
        self.requests = []
        self.behave = good
        self.closing = threading.Event()
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path.rpartition("/")[2].removesuffix(".gz")
                mirror.requests.append(name)
                with suppress(ConnectionError):  # a client that gave up
                    mirror.behave(self, name, mirror)

            def log_message(self, *args):
                """Keep quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/mnist/"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self):
        """Stop the server, and whatever still waits in it."""
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()


def send(handler, body, status=200, announced=None, **headers):
    """Answer a request; `announced` is the Content-Length if it is not the true one."""
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body) if announced is None else announced))
    for key, value in headers.items():
        handler.send_header(key, value)
    handler.end_headers()
    handler.wfile.write(body)


def good(handler, name, mirror):
    """Send the requested file."""
    send(handler, PACKED[name])


def not_found(handler, name, mirror):
    """Answer 404, with a page."""
    send(handler, b"<html>not here</html>", 404)


def overloaded(handler, name, mirror):
    """Answer 503."""
    send(handler, b"", 503)


def html_page(handler, name, mirror):
    """Send a log-in page instead of the file, as a hotel's network does."""
    send(handler, b"<html>log in</html>")


def other_content(handler, name, mirror):
    """Send an intact gzip file with one byte changed in its content."""
    *content, last = CONTENTS[name]
    send(handler, gzip.compress(bytes([*content, last ^ 1])))


def damaged(handler, name, mirror):
    """Send a truncated gzip file, and announce its truncated length."""
    send(handler, PACKED[name][:-100])


def bomb(handler, name, mirror):
    """Send a small file that decompresses to a large one."""
    send(handler, BOMB)


def cut_off(handler, name, mirror):
    """Close the connection in the middle of the file."""
    send(handler, PACKED[name][:1000], announced=len(PACKED[name]))


def hang_up(handler, name, mirror):
    """Close the connection without an answer."""


def silent(handler, name, mirror):
    """Never answer."""
    mirror.closing.wait()


def stalling(handler, name, mirror):
    """Send half of the file, then nothing."""
    send(handler, PACKED[name][:75_000], announced=len(PACKED[name]))
    mirror.closing.wait()


def dripping(handler, name, mirror):
    """Send the file byte by byte, too slowly to be of use but never silent."""
    send(handler, b"", announced=len(PACKED[name]))
    for byte in PACKED[name]:
        handler.wfile.write(bytes([byte]))
        if mirror.closing.wait(0.02):
            return


def dripping_header(handler, name, mirror):
    """Send a header that does not end, byte by byte."""
    handler.wfile.write(b"HTTP/1.0 200 OK\r\nX-Slow: ")
    while not mirror.closing.wait(0.02):
        handler.wfile.write(b"x")


def endless(handler, name, mirror):
    """Send more and more, without announcing a length."""
    handler.send_response(200)
    handler.end_headers()
    while not mirror.closing.is_set():
        handler.wfile.write(bytes(10_000))


def redirecting(handler, name, mirror):
    """Redirect once to another path of the same server."""
    if "/moved/" in handler.path:
        send(handler, PACKED[name])
    else:
        send(handler, b"", 302, Location=f"{mirror.url}moved/{name}.gz")


def redirecting_forever(handler, name, mirror):
    """Redirect to the same address."""
    send(handler, b"", 302, Location=handler.path)


def once(first):
    """Return a behaviour that is `first` at the first request and good from then on."""
    behaviours = itertools.chain([first], itertools.repeat(good))
    return lambda *args: next(behaviours)(*args)


@pytest.fixture(autouse=True)
def small_files(monkeypatch):
    """Make the four files small and retries quick, and keep the environment out."""
    for name, content in CONTENTS.items():
        digest = hashlib.sha256(content).hexdigest()
        monkeypatch.setitem(download.FILES, name, download.Content(len(content), digest))
    monkeypatch.setattr(download, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("MNIST_MIRROR", raising=False)


@pytest.fixture
def mirrors():
    """Return two servers, both good until a test changes that."""
    servers = [Mirror(), Mirror()]
    yield servers
    for server in servers:
        server.close()


@pytest.fixture
def data_dir(tmp_path):
    """Return the path of a folder that does not exist yet."""
    return tmp_path / "new" / "data"


def fetch(data_dir, *mirrors, timeout=5.0):
    """Fetch from servers, and check that the result is complete and nothing else is left."""
    paths = download.fetch_missing(data_dir, [mirror.url for mirror in mirrors], timeout)
    assert [download.sha256_of_decompressed(path) for path in paths] == [
        content.sha256 for content in download.FILES.values()
    ]
    assert sorted(data_dir.iterdir()) == sorted(paths)
    return paths


def failure(data_dir, *mirrors, timeout=5.0):
    """Return the message of a failed fetch from servers, which must leave nothing behind."""
    with pytest.raises(download.DownloadError) as caught:
        download.fetch_missing(data_dir, [mirror.url for mirror in mirrors], timeout)
    assert not data_dir.parent.exists()
    message = str(caught.value)
    assert "\n" not in message
    return message


def unused_url():
    """Return a URL where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/"


class TestFind:
    """Files that the user already has, wherever they came from."""

    @pytest.mark.parametrize(
        "spelling",
        [
            "train-images-idx3-ubyte.gz",
            "train-images-idx3-ubyte",
            "train-images.idx3-ubyte.gz",
            "train-images.idx3-ubyte",
        ],
    )
    def test_spellings(self, tmp_path, spelling):
        (tmp_path / spelling).touch()
        assert download.find(tmp_path, FIRST) == tmp_path / spelling
        assert [download.find(str(tmp_path), name) for name in NAMES[1:]] == [None] * 3

    def test_folder_of_that_name_is_not_the_file_but_may_be_beside_it(self, tmp_path):
        (tmp_path / FIRST).mkdir()
        assert download.find(tmp_path, FIRST) is None
        (tmp_path / "train-images.idx3-ubyte").touch()
        assert download.find(tmp_path, FIRST) == tmp_path / "train-images.idx3-ubyte"

    def test_no_folder(self, data_dir):
        assert download.find(data_dir, FIRST) is None


class TestSha256:
    """The hash of the content, not of how it was compressed."""

    @pytest.mark.parametrize("pack", [bytes, gzip.compress, lambda data: gzip.compress(data, 1)])
    def test_raw_or_gzip(self, tmp_path, pack):
        (tmp_path / "file").write_bytes(pack(CONTENTS[FIRST]))
        digest = download.sha256_of_decompressed(tmp_path / "file")
        assert digest == download.FILES[FIRST].sha256

    def test_damaged_file(self, tmp_path):
        (tmp_path / "file").write_bytes(PACKED[FIRST][:-1])
        with pytest.raises(InputError, match="file: expected a complete gzip file"):
            download.sha256_of_decompressed(tmp_path / "file")


class TestSuccess:
    """The four files are there afterwards."""

    def test_all_from_the_first_mirror(self, data_dir, mirrors):
        assert fetch(data_dir, *mirrors) == [data_dir / f"{name}.gz" for name in NAMES]
        assert [mirror.requests for mirror in mirrors] == [NAMES, []]

    def test_mirror_without_slash_and_folder_as_string(self, data_dir, mirrors):
        download.fetch_missing(str(data_dir), [mirrors[0].url.rstrip("/")])
        assert mirrors[0].requests == NAMES

    def test_only_what_is_missing(self, tmp_path, mirrors):
        (tmp_path / NAMES[1]).write_bytes(CONTENTS[NAMES[1]])
        (tmp_path / "t10k-labels.idx1-ubyte").write_bytes(CONTENTS[NAMES[3]])
        assert fetch(tmp_path, *mirrors) == [
            tmp_path / f"{FIRST}.gz",
            tmp_path / NAMES[1],
            tmp_path / f"{NAMES[2]}.gz",
            tmp_path / "t10k-labels.idx1-ubyte",
        ]
        assert mirrors[0].requests == [FIRST, NAMES[2]]

    def test_nothing_missing_needs_no_network(self, tmp_path, mirrors):
        for name in NAMES:
            (tmp_path / f"{name}.gz").write_bytes(PACKED[name])
        fetch(tmp_path, *mirrors)
        assert mirrors[0].requests == []

    def test_redirect_is_followed(self, data_dir, mirrors):
        mirrors[0].behave = redirecting
        fetch(data_dir, *mirrors)
        assert mirrors[1].requests == []

    @pytest.mark.parametrize("hiccup", [overloaded, cut_off, hang_up])
    def test_passing_failure_is_retried(self, data_dir, mirrors, hiccup):
        mirrors[0].behave = once(hiccup)
        fetch(data_dir, *mirrors)
        assert [mirror.requests for mirror in mirrors] == [[FIRST, *NAMES], []]

    def test_mirror_of_the_environment_replaces_all(self, data_dir, mirrors, monkeypatch):
        monkeypatch.setenv("MNIST_MIRROR", mirrors[1].url)
        fetch(data_dir, mirrors[0])
        assert [mirror.requests for mirror in mirrors] == [[], NAMES]


class TestSecondMirror:
    """When the first mirror fails, the second steps in."""

    @pytest.mark.parametrize("behave", [not_found, html_page, other_content, damaged, bomb])
    def test_permanent_failure_is_not_retried(self, data_dir, mirrors, behave):
        mirrors[0].behave = behave
        fetch(data_dir, *mirrors)
        assert [mirror.requests for mirror in mirrors] == [NAMES, NAMES]

    @pytest.mark.parametrize("behave", [overloaded, cut_off, hang_up])
    def test_passing_failure_is_retried_twice(self, data_dir, mirrors, behave):
        mirrors[0].behave = behave
        fetch(data_dir, *mirrors)
        assert mirrors[0].requests == [name for name in NAMES for _ in range(3)]
        assert mirrors[1].requests == NAMES

    def test_unreachable_mirror(self, data_dir, mirrors):
        download.fetch_missing(data_dir, [unused_url(), mirrors[1].url])
        assert mirrors[1].requests == NAMES

    def test_silent_mirror_is_asked_once_for_all_files(self, data_dir, mirrors):
        mirrors[0].behave = silent
        fetch(data_dir, *mirrors, timeout=0.3)
        assert [mirror.requests for mirror in mirrors] == [[FIRST], NAMES]


class TestFailure:
    """No mirror helps: one line says why, and nothing is left behind."""

    @pytest.mark.parametrize(
        ("behave", "reason"),
        [
            (not_found, "HTTP Error 404: Not Found"),
            (overloaded, "HTTP Error 503: Service Unavailable"),
            (html_page, "sent wrong content: expected SHA-256 "),
            (other_content, "sent wrong content: expected SHA-256 "),
            (bomb, "sent wrong content: expected SHA-256 "),
            (damaged, "sent a damaged gzip file"),
            (cut_off, f"cut off after 1000 of {len(PACKED[FIRST])} bytes"),
            (hang_up, "Remote end closed connection without response"),
            (endless, f"sent more than the {150_000 + download.GZIP_OVERHEAD_BYTES} bytes"),
            (redirecting_forever, "HTTP Error 302: The HTTP server returned a redirect error"),
        ],
    )
    def test_reason_is_told(self, data_dir, mirrors, behave, reason):
        mirrors[0].behave = behave
        message = failure(data_dir, mirrors[0])
        assert message.startswith(f"cannot download {FIRST}.gz ({mirrors[0].url}: {reason}")

    @pytest.mark.parametrize(
        ("behave", "reason"),
        [
            (silent, "no answer within 0.3 s"),
            (dripping_header, "no answer within 0.3 s"),
            # On a busy machine even the beginning of the answer may be late.
            (stalling, "timed out|no answer within 0.3 s"),
            (dripping, "too slow: sent |no answer within 0.3 s"),
        ],
    )
    def test_slow_server_is_given_up(self, data_dir, mirrors, behave, reason):
        mirrors[0].behave = behave
        start = time.monotonic()
        message = failure(data_dir, mirrors[0], timeout=0.3)
        assert time.monotonic() - start < 10
        assert re.search(rf"\({re.escape(mirrors[0].url)}: ({reason})", message)

    def test_every_mirror_and_the_way_out_are_named(self, data_dir, mirrors):
        mirrors[0].behave, mirrors[1].behave = not_found, html_page
        message = failure(data_dir, *mirrors)
        assert f"{mirrors[0].url}: HTTP Error 404" in message
        assert f"{mirrors[1].url}: sent wrong content" in message
        assert message.endswith(
            f"put the four MNIST files into {data_dir} by hand, or use --dataset=synthetic"
        )
        assert download.DownloadError.exit_code == CommandError.exit_code

    def test_no_network_fails_fast(self, data_dir):
        urls = [unused_url(), unused_url()]
        start = time.monotonic()
        with pytest.raises(download.DownloadError) as caught:
            download.fetch_missing(data_dir, urls)
        assert time.monotonic() - start < 2
        assert str(caught.value).count("Connection refused") == 2
        assert not data_dir.exists()

    @pytest.mark.parametrize("url", ["no-scheme", "http://", "http://a host/", "http://h:port/"])
    def test_mirror_that_is_no_url(self, data_dir, monkeypatch, url):
        monkeypatch.setenv("MNIST_MIRROR", url)
        assert f"({url}: " in failure(data_dir)

    def test_what_was_complete_stays_and_is_not_fetched_again(self, data_dir, mirrors):
        mirrors[0].behave = lambda handler, name, mirror: (good if name == FIRST else cut_off)(
            handler, name, mirror
        )
        with pytest.raises(download.DownloadError, match=f"cannot download {NAMES[1]}.gz"):
            download.fetch_missing(data_dir, [mirrors[0].url])
        assert [path.name for path in data_dir.iterdir()] == [f"{FIRST}.gz"]
        fetch(data_dir, mirrors[1])
        assert mirrors[1].requests == NAMES[1:]

    @settings(max_examples=30, deadline=None)
    @given(body=st.binary(max_size=100) | st.binary(max_size=100).map(gzip.compress))
    def test_no_other_bytes_are_ever_put_in_place(self, tmp_path_factory, body):
        mirror = Mirror()
        mirror.behave = lambda handler, name, mirror: send(handler, body)
        try:
            failure(tmp_path_factory.mktemp("any") / "new" / "data", mirror)
        finally:
            mirror.close()


class TestFolder:
    """A folder that cannot be used is named, for the user to fix."""

    @pytest.mark.parametrize("below", ["", "data"])
    def test_file_in_place_of_the_folder(self, tmp_path, mirrors, below):
        (tmp_path / "file").touch()
        folder = tmp_path / "file" / below
        with pytest.raises(InputError, match="expected a folder that can be written to") as caught:
            download.fetch_missing(folder, [mirrors[0].url])
        assert str(caught.value).startswith(f"{folder}: ")
        assert mirrors[0].requests == []

    @pytest.mark.skipif(getattr(os, "geteuid", lambda: 0)() == 0, reason="root may write anywhere")
    def test_no_permission(self, tmp_path, mirrors):
        tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
        for folder in (tmp_path, tmp_path / "data"):
            with pytest.raises(InputError, match=f"{folder}: .*, found: Permission denied"):
                download.fetch_missing(folder, [mirrors[0].url])
        assert mirrors[0].requests == []

    def test_folder_that_was_there_stays(self, tmp_path, mirrors):
        mirrors[0].behave = not_found
        with pytest.raises(download.DownloadError):
            download.fetch_missing(tmp_path, [mirrors[0].url])
        assert list(tmp_path.iterdir()) == []


class TestProgress:
    """A bar for people, one line per file for logs."""

    def test_one_line_a_file_without_a_terminal(self, data_dir, mirrors, capsys):
        mirrors[0].behave = not_found
        fetch(data_dir, *mirrors)
        lines = [f"downloading {data_dir / name}.gz" for name in NAMES]
        assert capsys.readouterr() == ("", "\n".join([*lines, ""]))

    def test_bar_on_a_terminal(self, data_dir, mirrors, monkeypatch):
        fcntl = pytest.importorskip("fcntl", reason="needs pseudo-terminals")
        termios = pytest.importorskip("termios")
        screen, terminal = os.openpty()
        # A new pseudo-terminal is 0 columns wide, too narrow for a bar.
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
        with open(screen, "rb", buffering=0) as output, open(terminal, "w") as stderr:
            monkeypatch.setattr(sys, "stderr", stderr)
            fetch(data_dir, mirrors[0])
            shown = output.read(10_000).decode()
        assert f"{FIRST}.gz:   0%" in shown
        assert "downloading" not in shown


CHILD = """
import signal, sys
from mnist import download
signal.signal(signal.SIGINT, signal.default_int_handler)
download.fetch_missing(sys.argv[1], [sys.argv[2]], timeout=60)
"""


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
class TestInterrupted:
    """No incomplete file ever has the name of a data file."""

    def interrupt(self, data_dir, mirror, signal_number):
        """Send a signal to a process whose download stalls halfway; return it and its stderr."""
        mirror.behave = stalling
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, data_dir, mirror.url],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        part = data_dir / f".{FIRST}.gz.{child.pid}.part"
        deadline = time.monotonic() + 15
        while not (part.exists() and part.stat().st_size > 0):
            assert time.monotonic() < deadline, "the download did not begin"
            time.sleep(0.01)
        child.send_signal(signal_number)
        return child, child.communicate(timeout=15)[1]

    def test_by_the_user(self, data_dir, mirrors):
        child, stderr = self.interrupt(data_dir, mirrors[0], signal.SIGINT)
        assert child.returncode != 0
        assert "KeyboardInterrupt" in stderr
        assert not data_dir.exists()

    def test_killed(self, data_dir, mirrors):
        child, _ = self.interrupt(data_dir, mirrors[0], signal.SIGKILL)
        (left,) = data_dir.iterdir()
        assert left.name == f".{FIRST}.gz.{child.pid}.part"
        assert [download.find(data_dir, name) for name in NAMES] == [None] * 4

        two_hours_ago = time.time() - 7200
        os.utime(left, (two_hours_ago, two_hours_ago))
        fetch(data_dir, mirrors[1])  # which also checks that nothing is left

    def test_part_of_a_running_download_is_left_alone(self, tmp_path, mirrors):
        part = tmp_path / f".{FIRST}.gz.1.part"
        part.touch()
        download.fetch_missing(tmp_path, [mirrors[0].url])
        assert part.exists()
