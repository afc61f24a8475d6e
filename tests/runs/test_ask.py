"""`weclick ask`: what it proposes, its list, and the accuracy that the random answers give."""

import json
from uuid import uuid4

import numpy as np
import pytest
import torch

from helpers.click_server import CLASSES, scene, write_classes, write_images, write_video
from weclick.clicks.asking import AskOptions
from weclick.common.errors import InputError, MissingFileError
from weclick.evaluate.shares import wilson
from weclick.manifest import Classes
from weclick.manifest.click_log import append_events, read_click_log
from weclick.models import build_model
from weclick.models.inference import predict
from weclick.runs.ask.answers import checked_ask, honest_accuracy, is_void, void_places
from weclick.runs.ask.ask_list import AskList, NamedAsk, read_asks, write_asks
from weclick.runs.ask.look import frames_to_look_at, looked_at
from weclick.runs.click.media import Media
from weclick.store.model_file import load_model, model_bytes

H, W = 48, 64
NET = "0123456789ab"


def click(name, *, kind="random", predicted="car", net=NET, y=1, x=2):
    told = {"id": str(uuid4()), "time": "2026-11-28T10:00:00.000Z", "clip": "a", "frame": "00000"}
    what = {"class": name, "source": "human", "who": "anna", "tool": "test"}
    return told | {"y": y, "x": x} | what | {"ask": {"kind": kind, "predicted": predicted, "net": net}}


def void(*, kind="random", y=5, x=6):
    key = str(uuid4())
    where = {"clip": "a", "frame": "00000", "y": y, "x": x}
    asked = {"kind": kind, "predicted": "car", "net": NET, **where}
    return {"id": key, "time": "2026-11-28T10:00:00.000Z", "undo": key, "who": "anna", "ask": asked}


def undo(event):
    return {"id": str(uuid4()), "time": "2026-11-28T10:00:00.000Z", "undo": event["id"], "who": "anna"}


# ---- answers


def test_the_honest_accuracy_counts_random_answers_alone():
    wrong_then_undone = click("road", x=9)
    events = [
        click("car", x=1),
        click("car", x=2),
        click("road", x=3),
        click("road", kind="margin", x=4),
        wrong_then_undone,
        undo(wrong_then_undone),
        void(),
        void(kind="margin"),
        click("car", net="ffffffffffff", x=7),
        {**click("car", x=8), "ask": "of another program"},
    ]
    first, second = honest_accuracy(events)
    assert (first.net, first.answers, first.hits, first.void) == (NET, 3, 2, 1)
    assert first.accuracy == pytest.approx(2 / 3)
    assert (first.low, first.high) == wilson(2, 3)
    assert (second.net, second.answers, second.hits, second.void) == ("ffffffffffff", 1, 1, 0)


def test_without_an_answer_nothing_is_claimed():
    (only,) = honest_accuracy([void()])
    assert (only.accuracy, only.answers, only.void) == (None, 0, 1)
    assert honest_accuracy([]) == []


def test_logs_with_answers_are_logs_of_clicks(tmp_path):
    """Whoever reads clicks sees the answers as clicks, and "cannot tell" not at all."""
    plain = {key: value for key, value in click("road", x=3).items() if key != "ask"}
    events = [click("car"), void(), plain]
    append_events(tmp_path / "clicks.jsonl", events)
    found = read_click_log(tmp_path / "clicks.jsonl")
    assert [(each.class_name, each.source) for each in found] == [("car", "human"), ("road", "human")]
    assert void_places(events) == {("a", "00000", 5, 6)}
    assert [is_void(event) for event in [*events, undo(events[0])]] == [False, True, False, False]


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "other"},
        {"net": "x"},
        {"net": 5},
        {"predicted": ""},
        {"predicted": "a\nb"},
        {"y": -1},
        {"x": 1.5},
    ],
)
def test_what_asked_is_checked(change):
    good = void()["ask"]
    assert checked_ask({**good, "strange": 1}, with_place=True) == good
    with pytest.raises(ValueError, match="what asked it"):
        checked_ask({**good, **change}, with_place=True)
    with pytest.raises(ValueError, match="what asked it"):
        checked_ask("random", with_place=False)


def test_names_that_a_mac_gives_can_be_asked_about():
    """Names of screen recordings hold a narrow no-break space (U+202F), which is not printable."""
    asked = void()["ask"] | {"clip": "Recording 3.00.00\u202fPM", "predicted": "traffic\u00a0sign"}
    assert checked_ask(asked, with_place=True) == asked


# ---- the list


def test_a_list_is_read_as_it_was_written(tmp_path):
    asks = (
        NamedAsk("a", "00001", 3, 4, "margin", "car", 0.25),
        NamedAsk("b", "00000", 0, 0, "random", "road", 1.0),
    )
    asked = AskList(NET, 5, AskOptions(balanced=True), 7, asks)
    write_asks(asked, tmp_path / "asks.json")
    assert read_asks(tmp_path / "asks.json") == asked


def test_a_list_that_is_none_says_so(tmp_path):
    path = tmp_path / "asks.json"
    with pytest.raises(MissingFileError, match="weclick ask --root"):
        read_asks(path)
    for content in ("{", "[]", '{"asks": []}'):
        path.write_text(content)
        with pytest.raises(InputError, match=r"asks\.json.*weclick ask --root"):
            read_asks(path)


# ---- what is looked at


def test_margins_are_those_of_the_prediction_at_full_size():
    torch.manual_seed(0)
    logits = 3 * torch.randn(1, 4, 6, 8)
    looked = looked_at(logits, (H, W), 500, np.random.default_rng(0))
    whole = torch.nn.functional.interpolate(logits, size=(H, W), mode="bilinear", align_corners=False)
    first, second = whole[0].softmax(0).topk(2, 0).values.numpy()
    y, x = looked.yx.T
    assert np.allclose(looked.margin, (first - second)[y, x], atol=1e-5)
    assert (looked.predicted == whole[0].argmax(0).numpy()[y, x]).all()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A clip of images, a video, and a student that is not sure."""
    base = tmp_path_factory.mktemp("ask")
    write_classes(base / "data")
    write_images(base / "data" / "frames" / "a", [scene(t, H, W) for t in range(4)])
    write_video(base / "data" / "videos" / "b.mp4", 50, H, W)
    torch.manual_seed(0)
    model = build_model("deeplabv3plus", "mobilenetv2_compact", len(CLASSES), channels=16)
    student = base / "results" / "student" / "model.safetensors"
    student.parent.mkdir(parents=True)
    student.write_bytes(model_bytes(model, Classes(tuple(CLASSES), tuple(CLASSES.values()))))
    return base


def test_frames_of_videos_are_looked_at_every_half_second(root):
    media = Media(root / "data", per_clip=1)
    assert frames_to_look_at(media, 0.5, 99) == [
        *((0, i) for i in range(4)),
        (1, 6),
        (1, 18),
        (1, 30),
        (1, 42),
    ]
    assert len(frames_to_look_at(media, 0.0, 99)) == 54
    assert len(frames_to_look_at(media, 0.0, 9)) == 9
    for longer_than_the_video in (10.0, 1e300, float("inf")):
        assert frames_to_look_at(media, longer_than_the_video, 99)[4:] == [(1, 25)]


def test_the_verb_proposes_places_with_what_the_student_says_of_them(root, verb):
    data, path = root / "data", root / "data" / "asks.json"
    words = ["ask", "--root", data, "--results", root / "results", "--device", "cpu", "--seed", 3]
    status, said = verb(*words, "--count", 16)
    assert status == 0
    assert "places on" in said.out
    asked = read_asks(path)
    assert sum(ask.kind == "random" for ask in asked.asks) == 4
    assert {ask.clip for ask in asked.asks} == {"a", "b"}
    assert "and Q ask them" in said.out
    model, _ = load_model(root / "results" / "student" / "model.safetensors")
    for t in range(4):
        ids = predict(model, scene(t, H, W)).numpy()
        for ask in asked.asks:
            if (ask.clip, ask.frame) == ("a", f"{t:05d}"):
                assert ask.margin < 0.01 or list(CLASSES)[ids[ask.y, ask.x]] == ask.predicted

    answer = asked.asks[0]._asdict()
    told = {**click("car", kind=answer["kind"]), **{key: answer[key] for key in ("clip", "frame", "y", "x")}}
    append_events(data / "clicks.jsonl", [told, click("car"), void()])
    status, said = verb(*words, "--count", 16)
    assert (status, "honest accuracy 100.0 %" in said.out) == (0, True)
    places = {ask[:4] for ask in read_asks(path).asks}
    assert not places & {tuple(told[key] for key in ("clip", "frame", "y", "x")), ("a", "00000", 5, 6)}


def test_a_list_elsewhere_does_not_claim_that_the_page_asks_it(root, verb, tmp_path):
    path = tmp_path / "x.json"
    words = ["--root", root / "data", "--results", root / "results", "--device", "cpu", "--count", 1]
    status, said = verb("ask", *words, "--output", path)
    assert (status, len(read_asks(path).asks)) == (0, 1)
    assert f"{path}: written; the page asks what is in {root / 'data' / 'asks.json'}" in said.out


def test_a_device_that_is_none_is_no_fault_of_the_student(root, verb):
    """Nobody is to delete a network over a wrong key."""
    status, said = verb("ask", "--root", root / "data", "--results", root / "results", "--device", "tpu")
    assert status == 1
    assert "device is 'tpu', expected auto, cpu or cuda" in said.err


def test_without_a_student_it_says_what_to_do_and_writes_nothing(root, verb, tmp_path):
    status, said = verb(
        "ask", "--root", root / "data", "--results", tmp_path, "--output", tmp_path / "x.json"
    )
    assert status == 1
    assert "there is no student yet" in said.err
    assert "weclick run CONFIG" in said.err  # without one, the toy street's student is trained
    assert not (tmp_path / "x.json").exists()


def test_the_schema_knows_every_option(tmp_path):
    write_asks(AskList(NET, 1, AskOptions(), 0, ()), tmp_path / "asks.json")
    raw = json.loads((tmp_path / "asks.json").read_text())
    raw["options"]["strange"] = 1
    (tmp_path / "asks.json").write_text(json.dumps(raw))
    with pytest.raises(InputError, match="strange"):
        read_asks(tmp_path / "asks.json")
