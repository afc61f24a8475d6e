"""The page in a real browser: presses, keys, fingers, a server that goes away, other people, ghosts."""

import json
import signal
import time
from uuid import uuid4

import numpy as np
import pytest
import torch

from helpers.browser import BROWSER, WHY_NOT, Page
from helpers.click_server import CLASSES, Server, scene, write_classes, write_images
from helpers.pixel_code import places_to_press, seen_pixels, write_code
from weclick.manifest import Classes
from weclick.manifest.click_log import append_events, read_click_log
from weclick.models import build_model
from weclick.store.model_file import model_bytes

pytest.importorskip("starlette", reason="the page needs the extra [click]")
pytest.importorskip("uvicorn", reason="the page needs the extra [click]")
pytestmark = pytest.mark.skipif(BROWSER is None, reason=WHY_NOT)

H, W = 180, 320
CODE, STREET = 0, 1
"""Clips, in the order of their names."""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    base = tmp_path_factory.mktemp("page")
    root = base / "data"
    write_classes(root)
    write_code(root / "frames" / "code")
    write_images(root / "frames" / "street", [scene(t, H, W) for t in range(12)])
    student = base / "results" / "student" / "model.safetensors"
    student.parent.mkdir(parents=True)
    torch.manual_seed(0)
    model = build_model("deeplabv3plus", "mobilenetv2_compact", len(CLASSES), channels=16)
    student.write_bytes(model_bytes(model, Classes(tuple(CLASSES), tuple(CLASSES.values()))))
    words = ["--results", str(base / "results"), "--who", "anna", "--per-clip", "3"]
    with Server(root, base / "state", *words) as server:
        yield server


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Page(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def page(served, browser):
    """The page as a person finds it who has never clicked."""
    if served.is_gone:  # a test failed while the server was away
        served.start()
    browser.open(f"http://{served.host}/page/icon.svg", "document.documentElement.tagName === 'svg'")
    browser.ask("localStorage.clear()")  # a test may end before the page has heard that its click is saved
    (served.root / "clicks.jsonl").unlink(missing_ok=True)
    browser.resize(1400, 900)
    browser.complaints.clear()
    browser.requests.clear()
    browser.open(served.address)
    shown(browser, CODE, 4)
    go_to(browser, STREET, 6)
    yield browser
    assert browser.complaints == []
    assert all(each.startswith((f"http://{served.host}/", "about:")) for each in browser.requests)


def shown(page, clip, frame):
    page.wait(f"document.querySelector('#stage').dataset.shown === '{clip}/{frame}'")


def go_to(page, clip, frame):
    """By the choice of clips and the line of time."""
    page.choose("#clip", clip)
    page.wait(f"document.querySelector('#stage').dataset.shown.startsWith('{clip}/')")
    page.choose("#at", frame, "input")
    shown(page, clip, frame)


def stage_middle(page):
    left, top, right, bottom = page.box("#stage")
    return (left + right) / 2, (top + bottom) / 2


def saved(page):
    page.wait("document.querySelector('#saved-text').textContent === 'All saved'")


def text(page, selector):
    return page.ask(f"document.querySelector({json.dumps(selector)}).textContent")


def logged(server, count):
    """The clicks that count, once there are so many."""
    end, found = time.monotonic() + 20, ()
    while time.monotonic() < end:
        path = server.root / "clicks.jsonl"
        found = read_click_log(path) if path.exists() else ()
        if len(found) == count:
            return found
        time.sleep(0.02)
    raise AssertionError(f"{len(found)} clicks are there, expected {count}")


DRAWN = """(() => {
  const canvas = document.querySelector("#CANVAS");
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let count = 0;
  for (let i = 3; i < data.length; i += 4) count += data[i] > 0;
  return count;
})()"""


def drawn(page, canvas="points"):
    """How many pixels of a canvas are not clear."""
    return page.ask(DRAWN.replace("CANVAS", canvas))


def test_a_click_is_drawn_saved_counted_and_taken_back(page, served):
    x, y = stage_middle(page)
    page.press("3")
    assert drawn(page) == 0
    page.click(x, y)
    saved(page)
    (found,) = logged(served, 1)
    assert (found.clip, found.frame, found.class_name, found.who, found.source) == (
        "street",
        "00006",
        "car",
        "anna",
        "human",
    )
    assert (abs(found.y - H / 2) <= 1, abs(found.x - W / 2) <= 1) == (True, True)
    assert drawn(page) > 50
    page.wait("document.querySelector('#total').textContent === '1'")
    assert text(page, "#lacking") == "Without a click: background, road, swan."
    page.press("z")
    logged(served, 0)
    page.wait("document.querySelector('#total').textContent === '0'")
    assert drawn(page) == 0
    page.press("Z", shift=True)
    (again,) = logged(served, 1)
    assert (again.y, again.x, again.class_name) == (found.y, found.x, "car")
    assert again.id != found.id
    page.press("z", ctrl=True)
    logged(served, 0)
    page.press("z")
    assert "no click of yours" in text(page, "#toast")


def test_all_by_keys(page, served):
    """Class, cursor, place, next frame, back, steps: nobody needs a mouse."""
    page.press("2")
    page.press("ArrowRight")
    page.press("ArrowDown", shift=True)
    page.press("Enter")
    (found,) = logged(served, 1)
    assert found.class_name == "road"
    assert found.y == H // 2 + 1
    assert found.x > W // 2
    assert f"x {found.x}" in text(page, "#told") or f"{found.x}, {found.y}" in text(page, "#told")
    page.press(".")
    shown(page, STREET, 7)
    page.press(",")
    shown(page, STREET, 6)
    page.press("PageUp")
    shown(page, CODE, 4)
    page.press(" ")  # the queue's next frame, in the other clip, has the click
    shown(page, CODE, 1)
    page.press("b")
    shown(page, CODE, 4)
    page.press("?")
    assert page.ask("document.querySelector('#keys').open")
    listed = text(page, "#keys-list")
    for words in ("Undo", "Next frame", "ghost", "Choose a class"):
        assert words in listed
    page.press("z")  # the table is open, so no key acts
    page.press("Escape")
    page.wait("!document.querySelector('#keys').open")
    logged(served, 1)


def test_the_next_frame_is_one_without_a_click(page, served):
    seen = set()
    for _ in range(6):
        place = page.ask("document.querySelector('#stage').dataset.shown")
        seen.add(place)
        page.click(*stage_middle(page))
        page.press(" ")
        moved = f"document.querySelector('#stage').dataset.shown !== '{place}'"
        page.wait(f"{moved} || !document.querySelector('#toast').hidden")
    assert len(seen) == 6
    page.wait("document.querySelector('#toast').textContent.startsWith('Every frame of the queue')")
    logged(served, 6)


ALL = [pytest.param(ratio, zooms, 34, marks=pytest.mark.slow) for ratio in (1, 2, 3) for zooms in (0, 3, 6)]
"""306 presses."""


@pytest.mark.parametrize(("ratio", "zooms", "count"), [(1, 5, 12), (2, 0, 12), *ALL])
def test_presses_hit_the_pixel_that_is_seen(page, served, ratio, zooms, count):
    page.resize(*((900, 500) if ratio < 3 else (640, 460)), ratio)
    go_to(page, CODE, 0)
    page.press("0")
    for _ in range(zooms):
        page.press("+")
    pixels, certain = seen_pixels(page, CODE)
    presses = places_to_press(page, pixels, certain, count, np.random.default_rng(ratio))
    assert len(presses) == count
    for sy, sx, _, _ in presses:
        page.click((sx + 0.5) / ratio, (sy + 0.5) / ratio)
    assert [(each.y, each.x) for each in logged(served, count)] == [(y, x) for *_, y, x in presses]


def test_touch_taps_drags_and_pinches(page, served):
    page.resize(420, 900, 2, touch=True)
    go_to(page, STREET, 6)
    x, y = stage_middle(page)
    page.touch("Start", (x, y))
    page.touch("End")
    (found,) = logged(served, 1)
    assert abs(found.y - H / 2) <= 1

    def middle():
        page.touch("Start", (x, y))
        page.touch("End")

    page.touch("Start", (x, y))
    page.touch("Move", (x - 30, y))
    page.touch("Move", (x - 60, y))
    page.touch("End")
    middle()
    right = logged(served, 2)[1]
    assert right.x > found.x + 20
    page.touch("Start", (x - 20, y + 30), (x + 20, y + 30))
    page.touch("Move", (x - 40, y + 30), (x + 40, y + 30))
    page.touch("End")
    page.touch("Start", (x + 50, y))
    page.touch("End")
    third = logged(served, 3)[2]
    assert 50 < (third.x - right.x) * 420 / W * 2.2 < 110
    page.resize(1400, 900)


def test_a_drag_moves_the_frame_and_the_wheel_zooms(page, served):
    x, y = stage_middle(page)
    page.click(x, y)
    page.mouse("Pressed", x, y)
    page.mouse("Moved", x + 20, y + 5)
    page.mouse("Moved", x + 40, y + 5)
    page.mouse("Released", x + 40, y + 5)
    page.click(x + 45, y + 5)
    first, second = logged(served, 2)
    assert abs(second.x - first.x) <= 3
    assert abs(second.y - first.y) <= 1
    page.call("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=-400)
    page.click(x + 100, y + 60)
    page.click(x + 150, y + 60)
    third, fourth = logged(served, 4)[2:]
    assert 0 < fourth.x - third.x < 50 * W / 1000


def test_a_scribble_is_one_polyline(page, served):
    x, y = stage_middle(page)
    page.press("s")
    page.mouse("Pressed", x - 100, y)
    for i in range(1, 6):
        page.mouse("Moved", x - 100 + 40 * i, y + 10 * i)
    page.mouse("Released", x + 100, y + 50)
    (found,) = logged(served, 1)
    assert len(found.points) >= 5
    assert found.points[0] == (found.y, found.x)
    assert drawn(page) > 200
    page.press("s")
    page.press("z")
    logged(served, 0)
    assert drawn(page) == 0


def test_while_the_server_is_away_the_page_keeps_clicks(page, served):
    x, y = stage_middle(page)
    page.click(x, y)
    saved(page)
    served.kill(signal.SIGKILL)
    for i in range(1, 4):
        page.click(x + 40 * i, y)
    page.press("z")
    page.wait("document.querySelector('#saved-text').textContent.startsWith('4 unsaved')")
    page.wait("document.querySelector('#saved-text').textContent.includes('The server is away')")
    assert drawn(page) > 100
    page.complaints.clear()  # the browser writes each refused connection to its console
    served.start()
    saved(page)
    assert len(logged(served, 3)) == 3
    lines = (served.root / "clicks.jsonl").read_text().splitlines()
    assert len(lines) == len({json.loads(line)["id"] for line in lines}) == 5
    page.complaints.clear()


def test_a_page_that_is_closed_before_the_server_returns_loses_nothing(page, served):
    x, y = stage_middle(page)
    served.kill(signal.SIGKILL)
    page.click(x, y)
    page.wait("document.querySelector('#saved-text').textContent.startsWith('1 unsaved')")
    page.call("Page.navigate", url="about:blank")
    served.start()
    page.open(served.address)
    saved(page)
    assert logged(served, 1)[0].clip == "street"
    page.wait("Object.keys(localStorage).filter((key) => /:.*:/.test(key)).length === 0")
    page.complaints.clear()


def test_others_clicks_appear_within_a_second_and_are_not_ones_own(page, served):
    digest = served.json("/api/state")["digest"]
    wish = {"id": str(uuid4()), "clip": STREET, "frame": 6, "y": 20, "x": 30, "class": 3}
    served.json("/api/clicks", {"digest": digest, "who": "ben", "wishes": [wish]})
    page.wait("document.querySelector('#total').textContent === '1'", patience_s=1)
    assert drawn(page) > 50
    page.press("z")
    assert "no click of yours" in text(page, "#toast")
    logged(served, 1)
    page.click(*stage_middle(page))
    page.wait("document.querySelector('#people').textContent.includes('ben 1')")


def test_a_click_that_the_server_refuses_disappears_with_a_reason(page, served):
    """Another person was quicker on this very pixel."""
    event = {
        "id": str(uuid4()),
        "time": "2026-11-28T10:00:00Z",
        "clip": "street",
        "frame": "00006",
        "y": H // 2,
        "x": W // 2,
    }
    left, top, right, bottom = page.box("#picture")
    scale = min((right - left - 24) / W, (bottom - top - 24) / H)
    x, y = ((left + right + scale) / 2, (top + bottom + scale) / 2)
    # the page hears of it only afterwards
    page.call(
        "Network.emulateNetworkConditions",
        offline=True,
        latency=0,
        downloadThroughput=-1,
        uploadThroughput=-1,
    )
    append_events(
        served.root / "clicks.jsonl",
        [event | {"class": "swan", "source": "human", "who": "ben", "tool": "t"}],
    )
    page.click(x, y)
    page.call(
        "Network.emulateNetworkConditions",
        offline=False,
        latency=0,
        downloadThroughput=-1,
        uploadThroughput=-1,
    )
    page.wait("document.querySelector('#toast').textContent.includes('Not taken: there is a click of swan')")
    logged(served, 1)
    page.wait("document.querySelector('#total').textContent === '1'")
    page.complaints.clear()


def test_a_ghost_follows_the_flow_and_becomes_a_click_by_a_key(page, served):
    x, y = stage_middle(page)
    page.press("4")
    page.click(x, y)
    (first,) = logged(served, 1)
    page.press(".")
    page.press(".")
    shown(page, STREET, 8)
    page.wait(
        "document.querySelector('#ghosts-text').textContent === 'Ghosts 1'", patience_s=120
    )  # loads torch
    assert drawn(page) > 20
    page.press("g")
    ghost = logged(served, 2)[1]
    assert (ghost.source, ghost.frame, ghost.class_name) == ("ghost", "00008", "swan")
    assert abs(ghost.x - (first.x + 6)) <= 1  # the scene moves by 3 px a frame
    assert abs(ghost.y - first.y) <= 1
    assert page.ask("document.querySelector('#ghosts').disabled")


def test_the_present_net_is_laid_over_the_frame(page):
    assert drawn(page, "guess") == 0
    page.press("p")
    page.wait("document.querySelector('#prediction').ariaPressed === 'true'")
    end = time.monotonic() + 120
    while drawn(page, "guess") == 0 and time.monotonic() < end:
        time.sleep(0.1)
    assert drawn(page, "guess") > 10_000
    page.press("p")
    assert drawn(page, "guess") == 0


def test_frames_that_nobody_waits_for_are_dropped(page):
    """Many steps at once end on the last frame, and only few of those in between were asked for."""
    page.open(page.ask("location.href"))
    page.wait("document.querySelector('#stage').dataset.shown")
    go_to(page, STREET, 0)
    for _ in range(11):
        page.press(".")
    shown(page, STREET, 11)


NAMELESS = """[...document.querySelectorAll("button, input, select, [role]")].filter((each) =>
  !each.ariaLabel && !each.textContent.trim() && !each.labels?.length && !each.getAttribute("aria-labelledby")
  && !["status", "alert"].includes(each.role)).map((each) => each.outerHTML.slice(0, 80))"""
"""What a screen reader could not name."""


@pytest.mark.parametrize("width", [1400, 420])
def test_it_fits_the_screen_and_says_what_everything_is(page, width):
    page.resize(width, 900)
    assert page.ask("document.documentElement.scrollWidth") == width
    nameless = page.ask(NAMELESS)
    assert nameless == []
    small = page.ask(
        "[...document.querySelectorAll('#actions button, #classes button, #time button')]"
        ".filter((e) => e.getBoundingClientRect().height < 30).length"
    )
    assert small == 0


def test_light_and_dark_follow_the_system(page):
    grounds = []
    for dark in (False, True):
        page.dark(dark)
        grounds.append(page.ask("getComputedStyle(document.body).backgroundColor"))
    page.dark(False)
    assert grounds == ["rgb(251, 250, 248)", "rgb(20, 22, 26)"]
