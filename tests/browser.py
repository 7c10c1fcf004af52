"""A real browser without a window, driven through Chromium's DevTools protocol over two pipes.

https://chromedevtools.github.io/devtools-protocol/
"""

import base64
import itertools
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

# Chromium reads from descriptor 3, and writes to 4.
_BECOME = "import os, sys; os.dup2({}, 3); os.dup2({}, 4); os.execv(sys.argv[1], sys.argv[1:])"
# Some containers allow no sandbox, and the tests open no page but ours.
_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--remote-debugging-pipe",
    "--no-first-run",
)
_SECONDS = 30


def path() -> str | None:
    """Returns the path of a Chromium or Chrome, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page of it. Use as a context manager."""

    def __init__(self, profile: pathlib.Path, width: int = 1200, height: int = 900):
        """Starts the browser that `path` finds, with its profile in an empty folder."""
        commands, self._write = os.pipe()
        self._read, answers = os.pipe()
        become = _BECOME.format(commands, answers)
        options = [*_OPTIONS, f"--user-data-dir={profile}", f"--window-size={width},{height}"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", become, path(), *options, "about:blank"],
            pass_fds=(commands, answers),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        self._answers = open(self._read, "rb", 0)  # noqa: SIM115, closed in __exit__
        self._rest = b""
        self._numbers = itertools.count(1)
        self._session: str | None = None
        (page,) = [
            target
            for target in self.call("Target.getTargets")["targetInfos"]
            if target["type"] == "page"
        ]
        attached = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = attached["sessionId"]

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *exception: object) -> None:
        self._answers.close()
        os.close(self._write)  # It ends when nobody can command it any more.
        try:
            self._process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Calls a method of the protocol; returns its result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = self._answers.read(2**16)
            assert part, "the browser has ended"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def open(self, address: str) -> None:
        """Opens a page, and waits until it is loaded."""
        self.call("Page.navigate", url=address)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def value(self, expression: str) -> Any:
        """Returns the value of a JavaScript expression in the page."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, expression: str) -> None:
        """Waits until a JavaScript expression is true."""
        until = time.monotonic() + _SECONDS
        while not self.value(expression):
            assert time.monotonic() < until, f"never true: {expression}"
            time.sleep(0.02)

    def draw(
        self,
        selector: str,
        points: list[tuple[float, float]],
        then: Callable[[], None] = lambda: None,
    ) -> None:
        """Draws a stroke on an element with the mouse: points from (0, 0) to (1, 1).

        Before the last point is reached and the mouse let go, calls `then`.
        """
        box = self.value(
            f"(({{x, y, width, height}}) => [x, y, width, height])"
            f"(document.querySelector({selector!r}).getBoundingClientRect())"
        )
        places = [{"x": box[0] + x * box[2], "y": box[1] + y * box[3]} for x, y in points]
        of_left = {"button": "left", "buttons": 1, "clickCount": 1}
        self.call("Input.dispatchMouseEvent", type="mousePressed", **places[0], **of_left)
        for place in places[1:]:
            if place is places[-1]:
                then()
            self.call("Input.dispatchMouseEvent", type="mouseMoved", **place, **of_left)
        self.call("Input.dispatchMouseEvent", type="mouseReleased", **places[-1], **of_left)

    def press(self, key: str) -> None:
        """Presses a key, such as `c` or `ArrowUp`."""
        text = {"text": key} if len(key) == 1 else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def picture(self, path: pathlib.Path, **options: Any) -> None:
        """Writes a PNG of the page."""
        answer = self.call("Page.captureScreenshot", format="png", **options)
        path.write_bytes(base64.b64decode(answer["data"]))
