"""The page's server: what it answers, and whom it refuses. Real sockets, a real network."""

import base64
import http.client
import io
import json
import socket
import threading

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from PIL import Image, ImageDraw

import model
from console.errors import InputError
from prediction import page
from prediction.inspection import Inspector
from storage.checkpoints import MODEL, Checkpoint
from tests.helpers import PROJECT

NETWORK = model.Network("mlp", True, 0.9, 1e-5, "float32")
PNG = {"Content-Type": "image/png"}


def drawing(side=280, is_empty=False):
    """A PNG of a vertical stroke, black on white."""
    picture = Image.new("L", (side, side), "white")
    if not is_empty:
        x, width = side // 2, side // 12
        ImageDraw.Draw(picture).line([(x, side // 6), (x, 5 * side // 6)], 0, width)
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A page of a network that has learned nothing."""
    graph = model.training_graph(NETWORK, model.Recipe(0, 1, "adam", 1e-3, "constant"))
    with tf.Session(graph=graph.graph) as session, graph.graph.as_default():
        session.run(graph.initializer)
        folder = tmp_path_factory.mktemp("page")
        path = tf.train.Saver().save(session, str(folder / MODEL), global_step=0)
    with Inspector(NETWORK) as inspector:
        inspector.restore(Checkpoint.at(path))
        with page.Server(page.Page(inspector, "an untrained network")) as server:
            thread = threading.Thread(target=server.serve_forever, args=[0.02])
            thread.start()
            yield server
            server.shutdown()
            thread.join()


@pytest.fixture
def ask(server):
    """Sends a request; returns the status, and the JSON or the text of the answer."""

    def ask(method, path, body=None, **headers):
        connection = http.client.HTTPConnection(*server.server_address, timeout=30)
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        is_json = answer.headers.get_content_type() == "application/json"
        return answer.status, json.loads(content) if is_json else content.decode()

    return ask


def test_it_serves_the_page_which_needs_nothing_from_elsewhere(ask):
    status, html = ask("GET", "/")
    assert status == 200
    assert html == (PROJECT / "prediction/page.html").read_text()
    assert "//" not in html.replace("// ", "").replace("http://www.w3.org/2000/svg", "")


def test_it_answers_with_what_the_network_saw_and_made_of_it(ask):
    _, network = ask("GET", "/network")
    assert network["about"] == "an untrained network"
    assert [layer["name"] for layer in network["layers"]] == ["dense1", "dense2", "dense3"]

    status, alone = ask("POST", "/look?batch=1&company=0", drawing(), **PNG)
    assert status == 200
    image = np.frombuffer(base64.b64decode(alone["image"]), np.uint8).reshape(28, 28)
    assert image[:, 14].max() > 200 and image[:, :8].max() == 0
    assert alone["company"] == []
    _, together = ask("POST", "/look?batch=8&company=3", drawing(), **PNG)
    assert len(together["company"]) == 7
    for looks in (alone, together):
        for look in (looks["population"], looks["batch"]):
            assert sum(look["probabilities"]) == pytest.approx(1, abs=1e-3)
            assert [len(layer["after"][0]) for layer in look["layers"]] == [100, 100, 100]
    # Company matters under the statistics of the batch, and only there.
    assert together["population"] == alone["population"]
    assert together["batch"]["probabilities"] != alone["batch"]["probabilities"]
    for layer, learned in zip(alone["batch"]["layers"], network["layers"], strict=True):
        assert layer["after"][0] == learned["beta"]


@pytest.mark.parametrize(
    ("status", "method", "path", "headers"),
    [
        (403, "GET", "/", {"Host": "digits.example"}),
        (403, "GET", "/network", {"Host": "127.0.0.1"}),
        (403, "POST", "/look?batch=1&company=0", {"Origin": "http://digits.example"}),
        (403, "POST", "/look?batch=1&company=0", {"Origin": "null"}),
        (404, "GET", "/../page.py", {}),
        (404, "GET", "//digits.example/", {}),
        (405, "GET", "/look", {}),
        (405, "POST", "/", {}),
        (415, "POST", "/look?batch=1&company=0", {"Content-Type": "text/plain"}),
        (501, "DELETE", "/", {}),
        (501, "OPTIONS", "/look", {}),
        (400, "POST", "/look", {}),
        (400, "POST", "/look?batch=0&company=0", {}),
        (400, "POST", "/look?batch=33&company=0", {}),
        (400, "POST", "/look?batch=1e9&company=0", {}),
        (400, "POST", "/look?batch=1&company=-1", {}),
        (413, "POST", "/look?batch=1&company=0", {}),
        (411, "POST", "/look?batch=1&company=0", {"Content-Length": "-1"}),
    ],
)
def test_other_hosts_other_sites_and_other_requests_are_refused(
    ask, capfd, status, method, path, headers
):
    body = bytes(page.LARGEST_DRAWING + 1) if status == 413 else drawing()
    found, answer = ask(method, path, body, **{**PNG, **headers})
    assert (found, list(answer)) == (status, ["error"])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"not a picture", id="text"),
        pytest.param(drawing()[:300], id="cut off"),
        pytest.param(drawing().replace(b"IDAT", b"IDLE"), id="damaged"),
        pytest.param(drawing(4097)[:100], id="too many pixels"),
        pytest.param(drawing(is_empty=True), id="nothing drawn"),
    ],
)
def test_what_is_not_a_drawing_gets_an_answer_and_the_server_goes_on(ask, capfd, content):
    status, answer = ask("POST", "/look?batch=1&company=0", content, **PNG)
    assert (status, list(answer)) == (422, ["error"])
    assert "\n" not in answer["error"]
    assert ask("POST", "/look?batch=1&company=0", drawing(), **PNG)[0] == 200
    assert capfd.readouterr() == ("", "")


def test_a_browser_that_hangs_up_or_says_nothing_keeps_nobody_waiting(server, ask, capfd):
    silent = socket.create_connection(server.server_address)
    hasty = socket.create_connection(server.server_address)
    hasty.sendall(
        f"POST /look?batch=1&company=0 HTTP/1.1\r\nHost: {server.hosts[0]}\r\n"
        "Content-Type: image/png\r\nContent-Length: 1000\r\n\r\n".encode()
    )
    hasty.close()
    assert ask("GET", "/network")[0] == 200
    silent.close()
    assert capfd.readouterr() == ("", "")


def test_a_port_that_is_taken_is_said_in_one_line(server):
    with pytest.raises(InputError, match="--port: expected a free port, found"):
        page.Server(server.page, server.server_address[1])
