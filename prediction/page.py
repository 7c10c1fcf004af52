"""A page to draw on, for one person at this machine: `page.html` and what it asks for.

Only programs on this machine reach it, and of web pages only this one: another site that is open in
the same browser could send requests here too, even under a name of its own that leads to this
machine (DNS rebinding), but not with this host and this origin in their headers.
"""

import base64
import contextlib
import functools
import http.server
import json
import pathlib
import re
import socket
import socketserver
import sys
import urllib.parse
from http import HTTPStatus
from typing import Any

import numpy as np

from console.errors import InputError
from console.progress import doing, note
from mnist import synthetic
from prediction import preparation, sources
from prediction.inspection import Inspector, Look
from storage import finding
from storage.checkpoints import Checkpoint
from storage.run import Run
from training import evaluator

HTML = pathlib.Path(__file__).with_name("page.html")
HOST = "127.0.0.1"
LARGEST_DRAWING = 2**20  # bytes; the page's own have a hundredth
LARGEST_BATCH = 32
SECONDS = 10.0  # that a request may pause
SECONDS_OF_GRACE, BYTES_OF_GRACE = 1.0, 2**26  # of one that has been answered already

HEADERS = {
    "Cache-Control": "no-store",
    # The page has all it needs: nothing is loaded from elsewhere, and nobody shows it in a frame.
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data:; connect-src 'self'; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Page:
    """What the page asks for."""

    def __init__(self, inspector: Inspector, about: str):
        """Takes a restored inspector, and what the page says of its network."""
        self._inspector = inspector
        layers = [
            {
                "name": layer.name,
                "shape": layer.shape,
                "beta": _numbers(layer.beta),
                "scale": _numbers(layer.scale),
            }
            for layer in inspector.parameters()
        ]
        self.network = {"about": about, "classes": inspector.network.classes, "layers": layers}

    def look(self, drawing: bytes, batch: int, company: int) -> dict[str, Any]:
        """Returns what the network makes of a drawing, in a batch with other digits.

        Args:
            drawing: a picture file.
            batch: the images in the batch, the drawing included.
            company: a seed, which determines the others.

        Raises:
            InputError: it can't be read, or does not show one digit.
        """
        image = _prepared(drawing)
        others = _others(batch - 1, company)
        looks = self._inspector.look(np.concatenate([image[np.newaxis], others]))
        return {
            "image": _pixels(image),
            "company": [_pixels(other) for other in others],
            "population": _look(looks.population),
            "batch": _look(looks.batch),
        }


def _prepared(drawing: bytes) -> np.ndarray:
    """Brings a drawing to MNIST's form, uint8 [28, 28]."""
    try:
        found = preparation.to_mnist(sources.decoded(drawing, "the drawing"))
    except (sources.Unreadable, ValueError) as error:
        raise InputError(f"expected a picture, found: {error}") from error
    if found.found != preparation.ONE:
        raise InputError(f"{found.found}: {found.why}")
    return found.images[0]


@functools.lru_cache(maxsize=8)
def _others(count: int, company: int) -> np.ndarray:
    """Drawn digits, uint8 [count, 28, 28]."""
    if count == 0:
        return np.zeros([0, synthetic.FIELD, synthetic.FIELD], np.uint8)
    return synthetic.draw_digits(count, seed=company)[0]


def _pixels(image: np.ndarray) -> str:
    return base64.b64encode(image.tobytes()).decode()


def _look(look: Look) -> dict[str, Any]:
    return {
        "probabilities": _numbers(look.probabilities),
        "layers": [
            {name: list(map(_numbers, moments)) for name, moments in layer._asdict().items()}
            for layer in look.layers
        ],
    }


def _numbers(values: np.ndarray) -> list[float]:
    return values.astype(np.float64).round(4).tolist()


class Refused(Exception):
    """A request that is not answered as it asks: an HTTP status, and the reason."""

    def __init__(self, status: HTTPStatus, reason: str):
        super().__init__(reason)
        self.status = status


class Server(socketserver.ThreadingTCPServer):
    """Serves a page on this machine alone. Use as a context manager."""

    # A browser opens connections that it does not use yet: others don't wait for these.
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, page: Page, port: int = 0):
        """Opens the port, or a free one if it is 0.

        Raises:
            InputError: the port is taken, or not for this user.
        """
        self.page = page
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise InputError(
                f"--port: expected a free port, found that {port} can't be opened: {error.strerror}"
            ) from None
        self.hosts = [f"{name}:{self.server_address[1]}" for name in (HOST, "localhost")]
        self.address = f"http://{self.hosts[0]}/"

    def shutdown_request(self, request: Any) -> None:
        """Closes a connection once the client has, since it may still send what was refused.

        Otherwise the client would see that the connection is broken, and no answer.
        """
        with contextlib.suppress(OSError):
            request.shutdown(socket.SHUT_WR)
            request.settimeout(SECONDS_OF_GRACE)
            left = BYTES_OF_GRACE
            while left > 0 and (part := request.recv(2**16)):
                left -= len(part)
        self.close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says in one line what went wrong, unless the browser has hung up."""
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError):
            note(f"a request failed: {type(error).__name__}: {error}")


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers one request."""

    server: Server
    timeout = SECONDS
    server_version, sys_version = "predict.py", ""

    def do_GET(self) -> None:
        """Answers with the page, with what it says of the network, or of a drawing."""
        answers = {
            "/": ("GET", self._html),
            "/network": ("GET", self._network),
            "/look": ("POST", self._look),
        }
        try:
            self._check_sender()
            path = self.path.partition("?")[0]
            if path not in answers:
                raise Refused(HTTPStatus.NOT_FOUND, f"{path[:40]}: there is no such page")
            method, answer = answers[path]
            if self.command != method:
                raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, f"{path}: expected {method}")
            answer()
        except Refused as refused:
            self.send_error(refused.status, str(refused))
        except InputError as error:
            self.send_error(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))

    do_POST = do_GET

    def _check_sender(self) -> None:
        """Refuses what another site sends.

        Raises:
            Refused: it is not meant for this machine, or not from this page. Programs that are not
                browsers need not say where a request comes from.
        """
        hosts = self.server.hosts
        if self.headers.get_all("Host", []) not in [[host] for host in hosts]:
            raise Refused(HTTPStatus.FORBIDDEN, f"expected the host {hosts[0]}")
        origin = self.headers.get("Origin")
        if origin is not None and origin not in [f"http://{host}" for host in hosts]:
            raise Refused(HTTPStatus.FORBIDDEN, f"expected the origin http://{hosts[0]}")

    def _html(self) -> None:
        self._send(HTTPStatus.OK, "text/html; charset=utf-8", HTML.read_bytes())

    def _network(self) -> None:
        self._send_json(HTTPStatus.OK, self.server.page.network)

    def _look(self) -> None:
        batch = self._number("batch", 1, LARGEST_BATCH)
        company = self._number("company", 0, 2**31 - 1)
        self._send_json(HTTPStatus.OK, self.server.page.look(self._body(), batch, company))

    def _number(self, name: str, least: int, most: int) -> int:
        """A whole number in the query."""
        query = urllib.parse.parse_qs(self.path.partition("?")[2])
        text = query.get(name, [""])[0]
        if not re.fullmatch("[0-9]{1,10}", text) or not least <= int(text) <= most:
            expected = f"expected a whole number from {least} to {most}"
            raise Refused(HTTPStatus.BAD_REQUEST, f"{name}: {expected}, found {text[:40]!r}")
        return int(text)

    def _body(self) -> bytes:
        """The drawing."""
        # No other site can send this type without asking first, which nothing here answers.
        if self.headers.get_content_type() != "image/png":
            raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected the type image/png")
        text = self.headers.get("Content-Length", "")
        if not re.fullmatch("[0-9]{1,18}", text):
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "expected a Content-Length")
        length = int(text)
        if length > LARGEST_DRAWING:
            raise Refused(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"expected at most {LARGEST_DRAWING} bytes, found {length}",
            )
        body = self.rfile.read(length)
        if len(body) < length:
            raise Refused(HTTPStatus.BAD_REQUEST, f"expected {length} bytes, found {len(body)}")
        return body

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Sends what is wrong; `http.server` itself calls it too, such as for an unknown method."""
        self._send_json(code, {"error": message or HTTPStatus(code).phrase})

    def _send_json(self, status: int, answer: dict[str, Any]) -> None:
        self._send(status, "application/json", json.dumps(answer).encode())

    def _send(self, status: int, content_type: str, content: bytes) -> None:
        self.send_response(status)
        headers = {**HEADERS, "Content-Type": content_type, "Content-Length": str(len(content))}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        """The terminal is for what matters: a stroke is a request."""


def show(run: Run, checkpoint: Checkpoint, port: int) -> None:
    """Prints the address of a page for a run, and serves it until Ctrl-C.

    Args:
        run: whose network reads 28x28 pixels.
        checkpoint: its weights.
        port: of the address; 0 means a free one.

    Raises:
        InputError: the port is taken, or the checkpoint is missing or damaged.
        KeyboardInterrupt: Ctrl-C.
    """
    network = evaluator.network_of_run(run)
    about = f"{network.name}, trained on {run.dataset['name']}: {checkpoint}"
    with doing("building the graph"):
        inspector = Inspector(network)
    with inspector:
        # A run in training may have replaced it while the graph was built.
        inspector.restore(finding.find_again(run, checkpoint))
        with Server(Page(inspector, about), port) as server:
            print(server.address)
            note(f"draw there, in a browser on this machine: {about}; Ctrl-C ends it")
            server.serve_forever()
