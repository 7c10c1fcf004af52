"""The page to draw on, as a user has it: the command, its address, a real browser."""

import json
import signal
import time
import urllib.request

import pytest

from tests import browser
from tests.helpers import run_command, start_command

ONE = [(0.5, 0.15 + 0.07 * i) for i in range(11)]
SEVEN = [(0.3 + 0.04 * i, 0.2) for i in range(10)] + [
    (0.7 - 0.03 * i, 0.2 + 0.07 * i) for i in range(10)
]


@pytest.fixture
def page_of(trained_runs):
    """Starts the command for a run; returns the process and the address that it prints."""
    folder, _ = trained_runs
    started = []

    def start(run):
        process = start_command("predict.py", "--page", f"--run={run}", cwd=folder)
        started.append(process)
        while not process.printed()[0].endswith("/\n"):
            assert process.poll() is None, process.printed()[1]
            time.sleep(0.02)
        return process, process.printed()[0].strip()

    yield start
    for process in started:
        process.kill()


def test_it_prints_an_address_of_this_machine_and_ends_with_ctrl_c(page_of, trained_runs):
    process, address = page_of("mlp-nobn")
    host, port = address.removeprefix("http://").rstrip("/").split(":")
    assert host == "127.0.0.1"
    with urllib.request.urlopen(f"{address}network") as answer:
        network = json.load(answer)
    assert network["layers"] == []
    assert "checkpoints/mlp-nobn/model.ckpt-40" in network["about"]

    flags = ("--page", "--run=mlp-bn", f"--port={port}")
    taken = run_command("predict.py", *flags, cwd=trained_runs[0])
    about_data, refused = taken.stderr.splitlines()
    assert "not on MNIST" in about_data
    assert refused.startswith("predict.py: --port: ") and port in refused
    assert (taken.returncode, taken.stdout) == (2, "")

    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    stdout, stderr = process.printed()
    assert stdout == f"{address}\n"
    _about_data, hint, last = stderr.splitlines()
    assert "Ctrl-C ends it" in hint
    assert last == "predict.py: stopped by Ctrl-C"


@pytest.fixture
def chromium(tmp_path):
    if browser.path() is None:
        pytest.skip(f"needs a browser on the PATH: {', '.join(browser.NAMES)}")
    with browser.Browser(tmp_path / "profile") as opened:
        yield opened


def shares(page):
    return page.value(
        "[...document.querySelectorAll('.percent')].map((e) => parseFloat(e.innerText))"
    )


def draw(page, stroke):
    page.press("c")
    page.wait("!isAsking && seen === null")
    page.draw("#paper", stroke)
    page.wait("!isAsking && seen !== null")
    assert page.value("seen.error") is None
    return shares(page)


def test_in_a_browser_one_draws_a_digit_and_leaves_is_training_on(page_of, chromium):
    _, address = page_of("small-bn")
    chromium.open(address)
    chromium.wait("network !== null")
    one = draw(chromium, ONE)
    assert len(one) == 10 and sum(one) == pytest.approx(100, abs=0.5)
    answer = chromium.value("document.querySelector('#answer').innerText")
    assert answer.split() == [str(one.index(max(one))), f"{max(one):.1f}", "%"]
    assert one.index(max(one)) == 1
    seven = draw(chromium, SEVEN)
    assert seven != one
    assert chromium.value("document.querySelectorAll('#layers figure').length") == 3

    # With the statistics of a batch of one, the answer is the same for every drawing.
    chromium.press("b")
    assert "is_training" in chromium.value("document.querySelector('#why').innerText")
    in_batch = shares(chromium)
    assert in_batch != seven
    assert draw(chromium, ONE) == in_batch
    # In company, it depends on the others.
    chromium.press("n")
    chromium.wait("!isAsking && seen.company.length === 1")
    beside_one = shares(chromium)
    chromium.press("o")
    chromium.wait("!isAsking && document.querySelectorAll('#company canvas').length === 2")
    assert len({tuple(each) for each in (in_batch, beside_one, shares(chromium))}) == 3
    chromium.press("b")
    assert shares(chromium) == one

    # Cleared in mid-stroke, it stays clear.
    chromium.draw("#paper", SEVEN, then=lambda: chromium.press("c"))
    chromium.wait("!isAsking && seen === null && strokes.length === 0")

    # By keyboard alone: a vertical stroke, then undone.
    chromium.press("c")
    chromium.value("document.querySelector('#paper').focus()")
    for key in (" ", *["ArrowDown"] * 24, " "):
        chromium.press(key)
    chromium.wait("!isAsking && seen !== null")
    by_keys = shares(chromium)
    assert by_keys.index(max(by_keys)) == 1
    chromium.press("u")
    chromium.wait("!isAsking && seen === null")
    assert chromium.value("document.querySelector('#answer').innerText") == ""


def test_in_a_browser_a_network_without_batch_norm_says_so(page_of, chromium):
    _, address = page_of("small-nobn")
    chromium.open(address)
    chromium.wait("network !== null")
    one = draw(chromium, ONE)
    assert one.index(max(one)) == 1
    assert "without batch norm" in chromium.value("document.querySelector('#norm').innerText")
    chromium.press("b")
    assert shares(chromium) == one
