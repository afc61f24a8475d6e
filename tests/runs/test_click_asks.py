"""The page's ask mode: what the server tells and takes, and the way through it in a real browser."""

import json
from uuid import uuid4

import pytest

from helpers.browser import BROWSER, WHY_NOT, Page
from helpers.click_server import Server, scene, write_classes, write_images
from weclick.clicks.asking import AskOptions
from weclick.manifest.click_log import ClickLog, append_events, read_click_log
from weclick.runs.ask.answers import honest_accuracy, is_void
from weclick.runs.ask.ask_list import AskList, NamedAsk, write_asks

pytest.importorskip("starlette", reason="the page needs the extra [click]")
pytest.importorskip("uvicorn", reason="the page needs the extra [click]")

H, W = 180, 320
NET = "0123456789ab"
ASKS = (
    NamedAsk("a", "00001", 40, 60, "margin", "car", 0.1),
    NamedAsk("a", "00001", 150, 300, "random", "road", 0.9),
    NamedAsk("b", "00002", 10, 20, "random", "swan", 0.9),
    NamedAsk("b", "00000", 90, 160, "margin", "swan", 0.2),
)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    base = tmp_path_factory.mktemp("asks")
    root = base / "data"
    write_classes(root)
    for clip in ("a", "b"):
        write_images(root / "frames" / clip, [scene(t, H, W) for t in range(3)])
    with Server(root, base / "state", "--who", "anna", "--results", str(base / "results")) as server:
        yield server


@pytest.fixture
def server(served):
    """The server, with an empty log and a list of four places."""
    (served.root / "clicks.jsonl").unlink(missing_ok=True)
    write_list(served)
    return served


def write_list(server, asks=ASKS, net=NET):
    write_asks(AskList(net, 6, AskOptions(), 0, tuple(asks)), server.root / "asks.json")


def wish(asked, number, **change):
    """The answer to an ask of the server."""
    where = {key: asked[key] for key in ("clip", "frame", "y", "x", "ask")}
    return {"id": str(uuid4()), "class": number, **where, **change}


def cannot_tell(clip, frame, y, x, **change):
    key = str(uuid4())
    asked = {"kind": "random", "predicted": "road", "net": NET, "clip": clip, "frame": frame, "y": y, "x": x}
    return {"id": key, "undo": key, "ask": {**asked, **change}}


def post(server, *wishes, who="anna"):
    digest = server.json("/api/state")["digest"]
    answers = server.json("/api/clicks", {"digest": digest, "who": who, "wishes": list(wishes)})["answers"]
    return [answer["refused"] for answer in answers]


def events(server):
    log = ClickLog(server.root / "clicks.jsonl")
    log.read_on()
    return log.events


# ---- the server


def test_the_list_is_told_by_indexes_without_what_is_answered(server):
    told = server.json("/api/asks")
    assert [(ask["clip"], ask["frame"], ask["y"], ask["x"]) for ask in told["asks"]] == [
        (0, 1, 40, 60),
        (0, 1, 150, 300),
        (1, 2, 10, 20),
        (1, 0, 90, 160),
    ]
    assert told["asks"][0]["ask"] == {"kind": "margin", "predicted": "car", "net": NET}
    assert (told["made"], told["older"], told["honest"]) == (True, False, None)

    first, second, third, _ = told["asks"]
    right = wish(second, 1)
    assert post(server, wish(first, 2), right, wish(third, 0), cannot_tell("b", "00000", 90, 160)) == [""] * 4
    told = server.json("/api/asks")
    assert told["asks"] == []
    assert (told["honest"]["answers"], told["honest"]["hits"], told["honest"]["void"]) == (2, 1, 1)
    assert told["honest"]["low"] < 0.5 < told["honest"]["high"]
    assert [event["class"] for event in events(server) if "class" in event] == ["car", "road", "background"]

    assert post(server, {"id": str(uuid4()), "undo": right["id"]}) == [""]
    told = server.json("/api/asks")
    assert [ask["y"] for ask in told["asks"]] == [150]
    assert (told["honest"]["answers"], told["honest"]["hits"]) == (1, 0)


def test_a_cannot_tell_is_taken_back_by_whoever_said_it(server):
    mark = cannot_tell("b", "00002", 10, 20)
    assert post(server, mark) == [""]
    assert len(server.json("/api/asks")["asks"]) == 3
    back = {"id": str(uuid4()), "undo": mark["id"]}
    assert "only anna can" in post(server, back, who="bob")[0]
    assert post(server, back) == [""]
    told = server.json("/api/asks")
    assert [ask["y"] for ask in told["asks"]] == [40, 150, 10, 90]
    assert told["honest"] is None or told["honest"]["void"] == 0


def test_a_list_that_is_missing_new_or_broken(server):
    (server.root / "asks.json").unlink()
    told = server.json("/api/asks")
    assert (told["asks"], told["made"]) == ([], False)
    assert told["todo"].startswith("weclick ask --root")
    write_list(server, [*ASKS[:1], NamedAsk("gone", "00000", 1, 1, "margin", "car", 0.1)])
    assert len(server.json("/api/asks")["asks"]) == 1
    (server.root / "asks.json").write_text("{}")
    status, _, content = server.ask("/api/asks")
    assert status == 422
    assert "is no list of places" in json.loads(content)["error"]


def test_places_that_no_answer_can_be_right_at_are_not_asked(server):
    """Frames became smaller, or a class got another name, since the list was made."""
    outside, renamed = (ASKS[0]._replace(y=H), ASKS[0]._replace(predicted="lorry"))
    write_list(server, [outside, renamed, ASKS[1]])
    assert [(ask["y"], ask["x"]) for ask in server.json("/api/asks")["asks"]] == [(150, 300)]


def test_a_list_of_an_older_student_is_told(server):
    student = server.root.parent / "results" / "student" / "model.safetensors"
    student.parent.mkdir(parents=True, exist_ok=True)
    student.write_bytes(b"a newer one")
    assert server.json("/api/asks")["older"] is True
    student.unlink()


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (cannot_tell("c", "00000", 1, 1), "no such frame"),
        (cannot_tell("a", "00009", 1, 1), "no such frame"),
        (cannot_tell("a", "00000", -1, 1), "no such frame"),
        (cannot_tell("a", "00000", 1, 1, net="x"), "no such frame"),
        (cannot_tell("a", "00000", 1, 1, kind="x"), "no such frame"),
        ({"id": "0" * 8, "undo": "0" * 8, "ask": cannot_tell("a", "00000", 1, 1)["ask"]}, "UUID"),
    ],
)
def test_a_cannot_tell_that_says_nothing_is_refused(server, bad, why):
    (refused,) = post(server, bad)
    assert why in refused
    assert events(server) == []


def test_a_click_with_a_strange_question_is_refused_and_unknown_keys_are_dropped(server):
    ask = server.json("/api/asks")["asks"][0]
    strange, longer = wish(ask, 2, ask={"kind": "x"}), wish(ask, 2, ask={**ask["ask"], "more": "x" * 99})
    refused = post(server, strange, longer)
    assert "expected a kind" in refused[0]
    assert refused[1] == ""
    assert [event["ask"] for event in events(server)] == [ask["ask"]]


def test_a_question_that_another_program_wrote_does_no_harm(server):
    where = {"clip": "a", "frame": "00000", "y": 1, "x": 1}
    what = {"class": "car", "source": "human", "who": "", "tool": "", "ask": ["what?"]}
    line = {"id": str(uuid4()), "time": "2026-11-28T10:00:00.000Z", **where, **what}
    append_events(server.root / "clicks.jsonl", [line])
    assert "ask" not in server.json("/api/events")["events"][0]
    assert len(server.json("/api/asks")["asks"]) == 4


# ---- the page


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if BROWSER is None:
        pytest.skip(WHY_NOT)
    with Page(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def page(server, browser):
    browser.open(f"http://{server.host}/page/icon.svg", "document.documentElement.tagName === 'svg'")
    browser.ask("localStorage.clear()")
    browser.resize(1400, 900)
    browser.complaints.clear()
    browser.open(server.address)
    browser.wait("document.querySelector('#stage').dataset.shown")
    yield browser
    assert browser.complaints == []


def asked(page, clip, frame, y, x):
    """The ring is on a pixel of a frame."""
    page.wait(f"document.querySelector('#stage').dataset.shown === '{clip}/{frame}'")
    page.wait("!document.querySelector('#asked').hidden")
    stage, ring = page.box("#stage"), page.box("#asked")
    scale = min((stage[2] - stage[0] - 24) / W, (stage[3] - stage[1] - 24) / H)
    middle = (stage[0] + stage[2]) / 2, (stage[1] + stage[3]) / 2
    assert abs(ring[0] - (middle[0] + (x + 0.5 - W / 2) * scale)) < 1.5
    assert abs(ring[1] - (middle[1] + (y + 0.5 - H / 2) * scale)) < 1.5


def text(page, selector):
    return page.ask(f"document.querySelector({json.dumps(selector)}).textContent")


def saved(page, server, count):
    page.wait("document.querySelector('#saved-text').textContent === 'All saved'")
    assert len(events(server)) == count
    return events(server)


def test_class_keys_answer_one_place_after_the_other(page, server):
    page.wait("document.querySelector('#ask-text').textContent === 'Answer 4 questions'")
    page.press("q")
    asked(page, 0, 1, 40, 60)
    assert "4 left" in text(page, "#asking-text")
    page.press("3")
    asked(page, 0, 1, 150, 300)
    page.press(" ")  # later
    asked(page, 1, 2, 10, 20)
    page.press("x")
    asked(page, 1, 0, 90, 160)
    page.press("p")
    assert "hidden while you answer" in text(page, "#toast")
    page.press("4")
    asked(page, 0, 1, 150, 300)
    page.press("z")  # takes the swan back
    asked(page, 1, 0, 90, 160)
    page.press("1")
    asked(page, 0, 1, 150, 300)
    page.press("2")
    page.wait("document.querySelector('#asking').hidden")
    found = saved(page, server, 6)
    clicks = read_click_log(server.root / "clicks.jsonl")
    assert [(each.frame, each.y, each.x, each.class_name) for each in clicks] == [
        ("00001", 40, 60, "car"),
        ("00000", 90, 160, "background"),
        ("00001", 150, 300, "road"),
    ]
    assert [event["ask"]["y"] for event in found if is_void(event)] == [10]
    (honest,) = honest_accuracy(found)
    assert (honest.answers, honest.hits, honest.void) == (1, 1, 1)
    page.wait("document.querySelector('#honest').textContent.startsWith('Honest accuracy 100 % (')")
    page.press("3")  # a class key chooses again
    page.wait("document.querySelector('#classes button:nth-child(3)').ariaChecked === 'true'")
    page.press("q")
    assert "Every proposed place has an answer" in text(page, "#toast")
    saved(page, server, 6)


def test_a_cannot_tell_is_undone_and_redone(page, server):
    page.press("q")
    asked(page, 0, 1, 40, 60)
    page.press("3")
    asked(page, 0, 1, 150, 300)
    page.press("x")
    asked(page, 1, 2, 10, 20)
    page.press("z")
    asked(page, 0, 1, 150, 300)
    assert "4 left" not in text(page, "#asking-text")  # the car stays
    assert "3 left" in text(page, "#asking-text")
    page.press("y")
    asked(page, 1, 2, 10, 20)
    page.press("z")
    page.press("z")  # the car, too
    asked(page, 0, 1, 40, 60)
    found = saved(page, server, 6)
    assert read_click_log(server.root / "clicks.jsonl") == ()
    assert [is_void(event) for event in found] == [False, True, False, True, False, False]
    assert honest_accuracy(found) == []


def test_it_can_be_left_and_the_ring_follows_the_view(page, server):
    page.press("q")
    asked(page, 0, 1, 40, 60)
    before = page.box("#asked")
    page.press("+")
    page.wait(f"document.querySelector('#asked').getBoundingClientRect().left !== {before[0]}")
    page.press("0")
    asked(page, 0, 1, 40, 60)
    page.press(".")
    page.wait("document.querySelector('#stage').dataset.shown === '0/2'")
    assert page.ask("document.querySelector('#asked').hidden")
    page.press("3")  # of a frame that is not in view: it comes back first
    asked(page, 0, 1, 40, 60)
    assert events(server) == []
    page.press("q")
    assert page.ask("document.querySelector('#asked').hidden && document.querySelector('#asking').hidden")
    page.press("3")
    assert events(server) == []


def test_mouse_and_fingers_do_without_keys_and_arrows_answer_nothing(page, server):
    page.resize(420, 900)
    left, top, right, bottom = page.box("#ask")
    page.ask("document.querySelector('#ask').scrollIntoView()")
    left, top, right, bottom = page.box("#ask")
    page.click((left + right) / 2, (top + bottom) / 2)
    page.wait("!document.querySelector('#asked').hidden")
    assert page.ask("document.documentElement.scrollWidth") == 420
    page.ask("document.querySelector('#classes button').focus()")
    page.press("ArrowDown")
    assert events(server) == []
    left, top, right, bottom = page.box("#cannot-tell")
    page.click((left + right) / 2, (top + bottom) / 2)
    (void,) = saved(page, server, 1)
    assert is_void(void)


def test_without_a_list_it_says_how_to_make_one(page, server):
    (server.root / "asks.json").unlink()
    page.press("q")
    page.wait("document.querySelector('#toast').textContent.includes('weclick ask --root')")
    assert page.ask("document.querySelector('#asking').hidden")
