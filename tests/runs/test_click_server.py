"""The server of `weclick click`: what it takes, what it refuses, and that no acknowledged click is lost."""

import http.client
import json
import re
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import cv2
import numpy as np
import pytest

from helpers.click_server import CLASSES, Server, scene, write_classes, write_images
from weclick.common.errors import InputError
from weclick.manifest.click_log import append_events, read_click_log
from weclick.runs.click import serve

pytest.importorskip("starlette", reason="the page needs the extra [click]")
pytest.importorskip("uvicorn", reason="the page needs the extra [click]")

H, W = 48, 64


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A server with two clips of three frames."""
    base = tmp_path_factory.mktemp("served")
    root = base / "data"
    write_classes(root)
    for clip in ("a", "b"):
        write_images(root / "frames" / clip, [scene(t, H, W) for t in range(3)])
    with Server(root, base / "state", "--who", "anna") as server:
        yield server


@pytest.fixture
def server(served):
    """The server, with an empty log."""
    (served.root / "clicks.jsonl").unlink(missing_ok=True)
    return served


def click(y=5, x=7, **change):
    return {"id": str(uuid4()), "clip": 0, "frame": 1, "y": y, "x": x, "class": 2} | change


def body(server, *wishes, who="anna", digest=None):
    digest = digest or server.json("/api/state")["digest"]
    return {"digest": digest, "who": who, "wishes": list(wishes)}


def post(server, *wishes, who="anna"):
    """Why each wish was refused; an empty text if it is on disk."""
    answers = server.json("/api/clicks", body(server, *wishes, who=who))["answers"]
    assert [answer["id"] for answer in answers] == [wish["id"] for wish in wishes]
    return [answer["refused"] for answer in answers]


def logged(server):
    path = server.root / "clicks.jsonl"
    return read_click_log(path) if path.exists() else ()


# ---- what it gives


def test_the_state_tells_clips_classes_and_the_queue(server):
    state = server.json("/api/state")
    assert [each["name"] for each in state["classes"]] == list(CLASSES)
    assert [tuple(each["color"]) for each in state["classes"]] == list(CLASSES.values())
    assert [(clip["name"], clip["frames"]) for clip in state["clips"]] == [("a", 3), ("b", 3)]
    assert sorted(map(tuple, state["queue"])) == [(c, f) for c in range(2) for f in range(3)]
    assert state["queue"][:2] == [[0, 1], [1, 1]]
    assert state["who"] == "anna"
    assert state["prediction"] is False


def test_a_frame_is_the_picture_of_its_index(server):
    for place, t in (("0/0", 0), ("1/2", 2)):
        status, headers, content = server.ask(f"/api/frame/{place}")
        assert (status, headers["content-type"]) == (200, "image/jpeg")
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_BGR)[..., ::-1]
        assert image.shape == (H, W, 3)
        assert np.abs(image.astype(int) - scene(t, H, W)).mean() < 4


@pytest.mark.parametrize("place", ["2/0", "0/3", "0/99999999999999999999", "-1/0", "a/b", "0", "0/1/2"])
def test_a_frame_that_is_not_there(server, place):
    for kind in ("frame", "ghosts", "prediction"):
        assert server.ask(f"/api/{kind}/{place}")[0] == 404


def test_without_a_student_a_prediction_says_what_to_do(server):
    status, _, content = server.ask("/api/prediction/0/0")
    assert status == 503
    assert "there is no student yet" in json.loads(content)["error"]


# ---- clicks


def test_a_click_is_on_disk_when_the_server_says_so(server):
    wish = click(who="mallory", tool="x", time="y")
    assert post(server, wish) == [""]
    (found,) = logged(server)
    assert (found.id, found.clip, found.frame, found.y, found.x) == (wish["id"], "a", "00001", 5, 7)
    assert (found.class_name, found.source, found.who) == ("car", "human", "anna")
    assert re.fullmatch(r"weclick click \d.*", found.tool)
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT[\d:]{8}\.\d{3}Z", found.time)


def test_a_click_that_waited_tells_when_it_was_made(server):
    post(server, click(), click(y=9, age_ms=3_600_000), click(y=11, age_ms=10**30), click(y=13, age_ms="x"))
    now, before, oldest, odd = (each.time for each in logged(server))
    assert oldest < before < now <= odd


def test_the_same_click_again_is_acknowledged_and_written_once(server):
    wish = click()
    assert post(server, wish, wish) == ["", ""]
    assert post(server, wish) == [""]
    assert len(logged(server)) == 1
    assert len((server.root / "clicks.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"y": H}, "outside of the frame, which is 48x64 px"),
        ({"x": W}, "outside of the frame"),
        ({"y": -1}, "whole px"),
        ({"x": 1.5}, "whole px"),
        ({"x": True}, "whole px"),
        ({"y": None}, "whole px"),
        ({"y": 10**30}, "whole px"),
        ({"clip": 2}, "no such frame"),
        ({"clip": "a"}, "no such frame"),
        ({"clip": "../a"}, "no such frame"),
        ({"frame": 3}, "no such frame"),
        ({"frame": None}, "no such frame"),
        ({"class": 4}, "no such class"),
        ({"class": "car"}, "no such class"),
        ({"class": -1}, "no such class"),
        ({"source": "import"}, "nothing else"),
        ({"source": ["human"]}, "nothing else"),
        ({"id": "1"}, "UUID"),
        ({"id": ["x"]}, "UUID"),
        ({"points": [[1, 2]]}, "1 points"),
        ({"points": [[1, 2], [3, W]]}, "outside"),
        ({"points": "ab"}, "whole px"),
        ({"points": {}}, "whole px"),
    ],
)
def test_what_is_no_click_is_refused_alone_and_in_words(server, change, why):
    good, bad = click(y=1), click(**change)
    answers = server.json("/api/clicks", body(server, bad, good))["answers"]
    assert why in answers[0]["refused"]
    assert answers[1] == {"id": good["id"], "refused": ""}
    assert [each.id for each in logged(server)] == [good["id"]]


def test_two_clicks_on_one_pixel_are_refused_unless_the_first_is_taken_back(server):
    first = click()
    assert post(server, first) == [""]
    assert "click of car on this very pixel" in post(server, click(**{"class": 1}))[0]
    assert "click of car" in post(server, click(), who="ben")[0]
    assert "click of road" in post(server, click(y=9, **{"class": 1}), click(y=9))[1]
    undo = {"id": str(uuid4()), "undo": first["id"]}
    assert post(server, undo, click(**{"class": 1})) == ["", ""]
    assert post(server, click(frame=2), click(clip=1)) == ["", ""]


def test_only_ones_own_click_can_be_taken_back(server):
    own, other = click(), click(y=9)
    post(server, own)
    post(server, other, who="ben")
    assert post(server, {"id": str(uuid4()), "undo": other["id"]}) == ["only ben can take this click back"]
    assert post(server, {"id": str(uuid4()), "undo": str(uuid4())}) == ["there is no such click"]
    assert post(server, {"id": str(uuid4()), "undo": own["id"]}) == [""]
    fresh = click(y=11)
    assert post(server, fresh, {"id": str(uuid4()), "undo": fresh["id"]}) == ["", ""]
    assert [each.id for each in logged(server)] == [other["id"]]


def test_a_scribble_is_written_with_its_points(server):
    wish = click(points=[[1, 2], [3, 4]])
    del wish["y"], wish["x"]
    assert post(server, wish) == [""]
    assert logged(server)[0].points == ((1, 2), (3, 4))


def test_others_see_a_click_within_a_second(server):
    before = server.json("/api/events")
    took = []

    def watch():
        found = server.json(f"/api/events?of={before['generation']}&since={len(before['events'])}")
        took.append((time.monotonic(), found["events"]))

    for append in (
        lambda: post(server, click()),
        lambda: append_events(server.root / "clicks.jsonl", [imported()]),
    ):
        took.clear()
        watcher = threading.Thread(target=watch)
        watcher.start()
        time.sleep(0.3)
        assert not took
        append()
        began = time.monotonic()
        watcher.join(10)
        assert took[0][0] - began < 1
        assert [event["class"] for event in took[0][1]] == [2]
        before = server.json("/api/events")


def imported(**change):
    event = {
        "id": str(uuid4()),
        "time": "2026-11-28T10:00:00Z",
        "clip": "b",
        "frame": "00000",
        "y": 1,
        "x": 2,
    }
    return event | {"class": "car", "source": "import", "who": "", "tool": "cvat"} | change


def test_clicks_on_what_is_not_here_are_counted_and_harm_nothing(server):
    append_events(
        server.root / "clicks.jsonl", [imported(clip="gone"), imported(), imported(**{"class": "x"})]
    )
    found = server.json("/api/events")
    assert (len(found["events"]), found["elsewhere"]) == (1, 2)


def test_a_damaged_log_is_told_and_nothing_is_written(server):
    post(server, click())
    path = server.root / "clicks.jsonl"
    path.write_text(path.read_text() + "nonsense\n")
    before = path.read_bytes()
    for status, _, content in (
        server.ask("/api/events"),
        server.ask("/api/clicks", body(server, click(y=30))),
    ):
        assert status == 422
        assert "line 2: is no line of a log of clicks" in json.loads(content)["error"]
    assert path.read_bytes() == before


def test_a_page_of_other_clips_or_classes_is_told_to_load_again(server):
    assert server.ask("/api/clicks", body(server, click(), digest="0" * 16))[0] == 409
    assert logged(server) == ()


# ---- what it refuses


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "127.0.0.2", "localhost:x", "[::2]", ""]
)
def test_a_foreign_host_is_refused(server, host):
    for path in ("/", "/page/main.js", "/api/state"):
        assert server.ask(path, host=host)[0] in (400, 403)


@pytest.mark.parametrize("host", ["localhost:1234", "127.0.0.1", "[::1]:8000", "LOCALHOST"])
def test_a_forwarded_port_is_served(server, host):
    assert server.ask("/api/state", host=host)[0] == 200
    sent = body(server, click())
    assert server.ask("/api/clicks", sent, host=host, origin=f"http://{host}")[0] == 200


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "http://127.0.0.1", "https://{host}", "http://{host}.evil.example", None],
)
def test_a_foreign_origin_writes_nothing(server, origin):
    given = origin and origin.format(host=server.host)
    status, _, content = server.ask("/api/clicks", body(server, click()), origin=given)
    assert status == 403
    assert "another page" in json.loads(content)["error"]
    if origin:
        assert server.ask("/api/state", origin=given)[0] == 403
    assert logged(server) == ()


def test_a_request_of_another_site_is_refused(server):
    assert server.ask("/api/state", sec_fetch_site="cross-site")[0] == 403
    assert server.ask("/page/main.js", sec_fetch_site="same-site")[0] == 403
    assert server.ask("/api/state", sec_fetch_site="same-origin")[0] == 200


@pytest.mark.parametrize("token", [None, "", "x" * 32, "ü"])
def test_without_the_token_nothing_is_told_or_written(server, token):
    for path in (
        "/api/state",
        "/api/events",
        "/api/frame/0/0",
        "/api/ghosts/0/0",
        "/api/prediction/0/0",
        "/api/x",
    ):
        assert server.ask(path, x_weclick_token=token)[0] == 401
    assert server.ask("/api/clicks", body(server, click()), x_weclick_token=token)[0] == 401
    assert server.ask(f"/api/state?token={server.token}", x_weclick_token=token)[0] == 401
    assert logged(server) == ()


def test_the_page_itself_holds_no_secret(server):
    for path in ("/", "/page/main.js", "/page/style.css", "/page/icon.svg"):
        status, headers, content = server.ask(path, x_weclick_token=None)
        assert status == 200
        assert server.token.encode() not in content
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"


def test_no_get_has_an_effect(server):
    told = json.dumps(body(server, click()))
    for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"):
        asked = server.ask("/api/clicks", told.encode(), method=method)
        assert asked[0] == 405, method
    for path in ("/api/state", "/api/events", "/api/frame/0/0", "/"):
        assert server.ask(path, told.encode(), method="POST")[0] == 405
    assert logged(server) == ()


@pytest.mark.parametrize(
    "path",
    [
        "/../../../../etc/passwd",
        "/page/../app.py",
        "/page/..%2fapp.py",
        "/page/%2e%2e/app.py",
        "/page//etc/passwd",
        "/page/..\\app.py",
        "/page/main.js%00.html",
        "/page/",
        "/page/__init__.py",
        "//evil.example/",
        "/api/frame/../../clicks.jsonl",
        "/api/frame/0/0/../../../clicks.jsonl",
        "/api/frame/..%2f..%2fclasses.yaml/0",
        "/clicks.jsonl",
        "/API/state",
    ],
)
def test_paths_with_tricks_lead_nowhere(server, path):
    connection = http.client.HTTPConnection(server.host, timeout=30)
    connection.putrequest("GET", path)
    connection.putheader("x-weclick-token", server.token)
    connection.endheaders()
    answer = connection.getresponse()
    content = answer.read()
    assert answer.status in (404, 405), content
    assert b"root:" not in content
    assert b"import" not in content
    connection.close()


def test_a_large_body_is_refused_with_and_without_a_length(server):
    large = b" " * 10**6
    with suppress(OSError):  # the server may close before all is sent
        assert server.ask("/api/clicks", large)[0] == 413
    assert (
        server.ask(
            "/api/clicks", None, method="POST", content_length=str(10**6), origin=f"http://{server.host}"
        )[0]
        == 413
    )
    connection = http.client.HTTPConnection(server.host, timeout=30)
    headers = {
        "x-weclick-token": server.token,
        "origin": f"http://{server.host}",
        "content-type": "application/json",
    }
    pieces = iter([b" " * 1000] * 100)
    connection.request("POST", "/api/clicks", pieces, headers, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()
    assert server.json("/api/state")


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"nonsense", 400),
        (b"[]", 400),
        (b"{}", 400),
        (b"[" * 60_000, 400),
        (b'{"digest": 1, "who": "a", "wishes": 5}', 400),
        (b'{"digest": 1, "who": "a", "wishes": [5]}', 400),
        (b'{"digest": 1, "who": "", "wishes": []}', 400),
        (b'{"digest": 1, "who": "a\\nb", "wishes": []}', 400),
        (b"\xff\xfe", 400),
    ],
)
def test_a_body_that_is_none(server, content, status):
    assert server.ask("/api/clicks", content)[0] == status


def test_only_json_is_taken(server):
    sent = body(server, click())
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None):
        assert server.ask("/api/clicks", sent, content_type=kind or "")[0] == 415
    assert logged(server) == ()


def test_it_listens_on_this_machine_alone(server):
    _, port = server.host.split(":")
    own = {each[4][0] for each in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    for address in own - {"127.0.0.1"}:
        with pytest.raises(OSError, match=r"refused|unreachable|timed out"):
            socket.create_connection((address, int(port)), timeout=5).close()


# ---- beginning and end


def test_the_token_stays_and_only_its_owner_reads_it(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    token = serve.own_token()
    assert len(token) == 32
    assert serve.own_token() == token
    path = tmp_path / "weclick" / "click_token"
    assert path.stat().st_mode & 0o077 == 0
    path.chmod(0o644)
    with pytest.raises(InputError, match="delete the file"):
        serve.own_token()
    path.unlink()
    assert serve.own_token() != token


def test_what_cannot_be_served_is_told_in_one_line(server, tmp_path):
    with pytest.raises(RuntimeError, match=r"there is no folder .*none; correct the path"):
        Server(tmp_path / "none", tmp_path)
    (tmp_path / "bare").mkdir()
    with pytest.raises(RuntimeError, match=r"classes file is missing"):
        Server(tmp_path / "bare", tmp_path)
    write_classes(tmp_path / "empty")
    with pytest.raises(RuntimeError, match=r"holds no clips"):
        Server(tmp_path / "empty", tmp_path)
    port = int(server.host.split(":")[1])
    with pytest.raises(RuntimeError, match=rf"port {port} of 127\.0\.0\.1 cannot be used"):
        Server(server.root, tmp_path, port=port)


@pytest.mark.parametrize("package", ["starlette", "uvicorn"])
def test_without_the_extra_the_error_names_it(tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    for name in [name for name in sys.modules if name.startswith("weclick.runs.click.app")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(InputError, match=r"pip install 'weclick\[click\]'"):
        serve.serve(tmp_path, results=tmp_path, per_clip=1, who=None, port=0, tell=print)


def test_a_kill_loses_no_acknowledged_click(tmp_path):
    """Four clients make 50 clicks each. The server is killed three times, and clients ask until answered."""
    root = tmp_path / "data"
    write_classes(root)
    write_images(root / "frames" / "a", [scene(0, 64, 256)])
    server = Server(root, tmp_path / "state")
    digest = server.json("/api/state")["digest"]
    acknowledged: list[list[str]] = [[] for _ in range(4)]

    def make_clicks(client):
        for i in range(50):
            wish = {"id": str(uuid4()), "clip": 0, "frame": 0, "y": client, "x": i, "class": 1}
            sent = {"digest": digest, "who": f"client {client}", "wishes": [wish]}
            while True:
                try:
                    status, _, content = server.ask("/api/clicks", sent)
                except (OSError, http.client.HTTPException):
                    time.sleep(0.05)
                    continue
                assert status == 200, content
                assert json.loads(content)["answers"] == [{"id": wish["id"], "refused": ""}]
                acknowledged[client].append(wish["id"])
                break

    clients = [threading.Thread(target=make_clicks, args=(i,)) for i in range(4)]
    for client in clients:
        client.start()
    for count in (40, 90, 140):
        while sum(map(len, acknowledged)) < count:
            time.sleep(0.002)
        server.kill(signal.SIGKILL)
        server.start()
    for client in clients:
        client.join(60)
    server.kill(signal.SIGTERM)
    expected = [each for client in acknowledged for each in client]
    assert len(expected) == 200
    lines = [json.loads(line) for line in (root / "clicks.jsonl").read_text().splitlines()]
    assert sorted(line["id"] for line in lines) == sorted(expected)
    assert {each.id for each in read_click_log(root / "clicks.jsonl")} == set(expected)


def test_the_server_ends_quietly(tmp_path):
    root = tmp_path / "data"
    write_classes(root)
    write_images(root / "frames" / "a", [scene(0, H, W)])
    server = Server(root, tmp_path / "state")
    generation = server.json("/api/events")["generation"]
    waiting = threading.Thread(target=lambda: _wait_for_events(server, generation))
    waiting.start()
    time.sleep(0.3)
    assert "Traceback" not in server.kill(signal.SIGINT)
    waiting.join(10)


def test_the_server_ends_quietly_and_soon_while_ghosts_are_thought_of(tmp_path):
    root, count = tmp_path / "data", 12
    write_classes(root)
    write_images(root / "frames" / "a", [scene(t, 540, 960) for t in range(count)])
    server = Server(root, tmp_path / "state")
    assert post(server, *(click(frame=t) for t in range(count))) == [""] * count
    answers = []
    asking = [
        threading.Thread(target=lambda at=at: answers.append(server.ask(f"/api/ghosts/0/{at}")[0]))
        for at in range(count)
    ]
    for each in asking:
        each.start()
    time.sleep(0.3)
    assert server.kill(signal.SIGINT) == ""
    for each in asking:
        each.join(10)
    assert 503 in answers, "the first one loads torch, so others wait in the queue"


def _wait_for_events(server, generation):
    assert server.json(f"/api/events?of={generation}&since=0")["events"] == []


def test_the_page_is_in_the_package():
    page = Path(serve.__file__).parent / "page"
    named = set(
        re.findall(r'(?:src|href)="/page/([^"]+)"', (page / "index.html").read_text(encoding="utf-8"))
    )
    for module in page.glob("*.js"):
        named |= set(re.findall(r'from "\./([^"]+)"', module.read_text(encoding="utf-8")))
    assert named == {path.name for path in page.iterdir()} - {"index.html"}
