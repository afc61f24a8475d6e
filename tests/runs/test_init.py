"""`weclick init`: a folder of one's own becomes a data set with a configuration that is valid."""

import json
import os
import pty
import re
import subprocess
import sys
import uuid
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import yaml
from jsonschema import Draft202012Validator
from PIL import Image

from helpers.phone import write_phone_video
from weclick.common.config import load_config
from weclick.common.schemas import load_schema, schema_path
from weclick.common.stages import METHODS
from weclick.datasets import open_dataset
from weclick.manifest.click_log import CLICK_LOG
from weclick.runs.init.bases import BASES, MACHINES, base_of, shrink_for

WEIGHTS_HERE = "shared/"
SIDE_PX = 48


def draw(folder, clip, frames=4, labels=()):
    """A clip of noise, and labels of two classes on some of its frames."""
    rng = np.random.default_rng(0)
    for t in range(frames):
        path = folder / clip / f"{t:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (SIDE_PX, SIDE_PX, 3), np.uint8)).save(path)
    for t in labels:
        path = folder.parent / "labels" / clip / f"{t:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.eye(SIDE_PX, dtype=np.uint8)).save(path)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def init(verb, here):
    """Runs `weclick init` without a terminal; gives status, output and errors."""

    def call(*words):
        status, said = verb("init", *words)
        return status, said.out, said.err

    return call


def written(path="weclick.yaml"):
    """The configuration, after an editor has looked at it; the named schema is the one it is checked by."""
    text = Path(path).read_text(encoding="utf-8")
    (schema,) = re.findall(r"^# yaml-language-server: \$schema=(\S+)$", text, re.M)
    assert (Path(path).parent / schema).resolve() == schema_path("config").resolve()
    Draft202012Validator(load_schema("config")).validate(yaml.safe_load(text))
    return load_config(path)


def listed(config):
    """Targets and scored frames of its data set, as the workflow lists them."""
    dataset = open_dataset(config["data"], config["clicks"]["mix"], config["tags"])
    targets = [(c.id, t) for c in dataset.clips("train") for t in c.targets]
    return targets, [(c.id, t) for c in dataset.clips("val") for t in c.scored]


def test_loose_clips_become_a_data_set_of_links(init, here):
    draw(here / "films", "park")
    draw(here / "films", "zoo")
    status, out, err = init("films", "--classes", "background, Straße", "--size", "small")
    assert (status, err) == (0, "")
    config = written()
    assert config["data"]["root"] == "data/films"
    assert (here / "data/films/frames").resolve() == here / "films"
    assert sorted(path.name for path in (here / "films").iterdir()) == ["park", "zoo"]
    assert [clip.id for clip in open_dataset(config["data"]).list_clips("val")] == ["park", "zoo"]
    assert open_dataset(config["data"]).classes.names == ("background", "Straße")
    assert "2 clips, 8 frames of up to 48 × 48 px, 0 labels, clicks on 0 frames" in out
    assert "weclick click --root data/films " in out
    assert "weclick run weclick.yaml " in out


def test_a_table_of_tags_beside_loose_clips_counts(init, here):
    draw(here / "films", "park")
    table = here / "films/tags.csv"
    table.write_text("clip,frame,class\npark,,car\n", encoding="utf-8")
    words = ("films", "--classes", "background,car", "--method", "maskconsist", "--size", "small")
    status, out, _ = init(*words)
    assert status == 0
    assert "tags (file)" in out
    assert "tags.csv" not in out, "nobody is asked to write one"
    assert "weclick predict new.mp4 --checkpoint results/detector/model.safetensors " in out
    assert (here / "data/films/tags.csv").resolve() == table
    assert len(listed(written())[0]) == 4, "all frames of the tagged clip"
    (here / "data/films/tags.csv").unlink()
    (here / "data/films/tags.csv").write_text("clip,frame,class\n", encoding="utf-8")
    assert init(*words, "--output", "mine.yaml")[1:] != ("", ""), "a table of the data set's own stays"
    assert (here / "data/films/tags.csv").read_text(encoding="utf-8") == "clip,frame,class\n"


@pytest.mark.parametrize(
    ("made", "root", "clips"),
    [
        ("films/a.png", "frames", ["films"]),
        ("films/car/x.mp4", "videos", ["car/x"]),
        ("films/x.MP4", "videos", ["x"]),
    ],
)
def test_other_folders_of_videos_and_images(init, here, made, root, clips):
    frames = np.random.default_rng(0).integers(0, 256, (3, 64, 48, 3), np.uint8)
    path = here / made
    path.parent.mkdir(parents=True)
    if path.suffix == ".png":
        Image.fromarray(frames[0]).save(path)
    else:
        write_phone_video(path, frames)
    assert init("films", "--classes", "background,car", "--data", "d")[0] == 0
    config = written()
    assert (here / "d" / root).is_dir()
    assert [clip.id for clip in open_dataset(config["data"]).list_clips("val")] == clips


def test_labels_of_few_clips_are_shared_between_learning_and_scores(init, here):
    draw(here / "mine/frames", "park", 9, labels=(0, 4, 8))
    draw(here / "mine/frames", "zoo", 9, labels=(4, 8))
    status, out, _ = init("mine", "--classes", "a,b")
    assert status == 0
    assert "weclick click" not in out
    config = written()
    assert config["data"]["root"] == "mine"
    assert config["supervision"] == "clicks"
    targets, scored = listed(config)
    assert set(targets) | set(scored) == {("park", 0), ("park", 4), ("park", 8), ("zoo", 4), ("zoo", 8)}
    assert min(len(targets), len(scored)) == 2


def test_of_many_clips_whole_ones_are_held_out(init, here):
    for number in range(6):
        draw(here / "mine/frames", f"{number:02}", 2, labels=(0, 1))
    assert init("mine", "--classes", "a,b", "--labels", "masks")[0] == 0
    config = written()
    assert config["supervision"] == "masks"
    assert config["data"]["val_clips"] == ["02"], "a name of digits stays a name"
    targets, scored = listed(config)
    assert {clip for clip, _ in scored} == {"02"}
    assert len(targets) == 10


def test_peoples_clicks_are_found_and_do_not_hide_masks(init, here):
    draw(here / "mine/frames", "park", 4, labels=(0, 2))
    log = Path("mine") / CLICK_LOG
    who = {"time": "2026-11-28T10:00:00.123Z", "source": "human", "who": "anna", "tool": "a test"}
    place = {"clip": "park", "y": 3, "x": 3, "class": "a"}
    lines = [
        json.dumps({"id": str(uuid.UUID(int=t)), **who, **place, "frame": f"{t:03}"}) + "\n" for t in (0, 1)
    ]
    log.write_text("".join(lines), encoding="utf-8")
    status, out, err = init("mine", "--classes", "a,b")
    assert status == 0, err
    assert "2 labels, clicks on 2 frames" in out
    assert listed(written()) == ([("park", 0), ("park", 1)], [("park", 2)])
    assert init("mine", "--supervision", "masks", "--force")[0] == 0
    config = written()
    assert config["clicks"]["mix"] == "masks"
    assert listed(config) == ([("park", 0)], [("park", 2)])


def test_tags_alone_choose_the_method_that_learns_from_them(init, here):
    draw(here / "mine/frames", "park")
    Path("mine/tags.csv").write_text("clip,frame,class\npark,,car\n", encoding="utf-8")
    assert init("mine", "--classes", "background,car")[0] == 0
    config = written()
    assert (config["method"], config["tags"]["source"], config["cams"]["source"]) == (
        "two_stream",
        "file",
        "tags",
    )
    assert config["student"]["crop"] == [32, 32], "the whole frame at the scale 0.5"
    assert listed(config)[0] == [("park", 0)]
    (here / "mine/iconic/car").mkdir(parents=True)
    assert init("mine", "--force")[0] == 0
    assert written()["cams"]["source"] == "iconic"


@pytest.mark.parametrize(("method", "machine"), BASES)
def test_every_method_and_machine_gives_a_valid_configuration(init, here, method, machine):
    draw(here / "mine/frames", "park")
    status, out, err = init("mine", "--classes", "background,car", "--method", method, "--size", machine)
    assert (status, err) == (0, "")
    assert ("$EDITOR mine/tags.csv" in out) == (method != "weclick")
    assert written()["method"] == method
    assert WEIGHTS_HERE not in Path("weclick.yaml").read_text(encoding="utf-8")


def test_every_method_has_settings_for_every_machine():
    assert {*product(METHODS, MACHINES)} == BASES.keys()


def test_objects_on_a_small_machine_learn_from_whole_frames(init, here):
    draw(here / "mine/frames", "park")
    words = ("mine", "--classes", "background,car", "--method", "maskconsist", "--size", "small")
    assert init(*words)[0] == 0
    config = written()
    assert (config["instances"]["exp_times"], config["detector"]["backbone"]) == (3, "mobilenetv2_compact")
    assert config["classifier"]["crop"] == [80, 80], "its tags are those of the whole frame, scaled by 1.5"
    assert config["detector"]["crop"] == [48, 48]


def test_large_frames_are_shrunk_for_a_small_machine():
    assert [shrink_for(base_of("weclick", machine), (1920, 1080)) for machine in MACHINES] == [4, 1]
    assert shrink_for(base_of("weclick", "gpu"), (2160, 3840)) == 2
    assert shrink_for(base_of("weclick", "small"), (90, 160)) == 1


def test_nothing_that_is_there_is_replaced_without_force(init, here):
    draw(here / "mine/frames", "park")
    Path("weclick.yaml").write_text("mine\n", encoding="utf-8")
    status, _, err = init("mine", "--classes", "a,b")
    assert (status, Path("weclick.yaml").read_text(encoding="utf-8")) == (1, "mine\n")
    assert "weclick.yaml: is there already; --force replaces it" in err
    assert not Path("mine/classes.yaml").exists()
    assert init("mine", "--classes", "a,b", "--force")[0] == 0
    before = Path("mine/classes.yaml").read_text(encoding="utf-8")
    status, _, err = init("mine", "--classes", "b,a", "--output", "other.yaml")
    assert status == 1
    assert "has the classes a, b, but --classes names b, a" in err
    assert Path("mine/classes.yaml").read_text(encoding="utf-8") == before
    assert not Path("other.yaml").exists()
    assert init("mine", "--output", "config/other.yaml")[0] == 0, "the classes are there"
    assert written("config/other.yaml") == written()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "FOLDER is missing, and there is no terminal to ask on"),
        (["none"], "none: there is no such folder"),
        (["empty"], "empty: holds neither videos"),
        (["mine"], "--classes is missing, and there is no terminal to ask on"),
        (["mine", "--classes", "car,,car"], "expected 1 to 254 different names"),
        (["mine", "--classes", "a,b", "--method", "click"], "--method is 'click', expected weclick, f2f"),
        (["mine", "--classes", "a,b", "--method", "f2f", "--labels", "masks"], "f2f learns from proxies"),
        (["mine", "--classes", "a,b", "--size", "large"], "--size is 'large', expected small, gpu"),
        (["loose", "--data", "loose", "--classes", "a,b"], "move them into loose/frames"),
    ],
)
def test_what_is_missing_or_wrong_is_one_line_and_nothing_is_written(init, here, words, told):
    draw(here / "mine/frames", "park")
    draw(here / "loose", "park")
    Path("empty").mkdir()
    status, _, err = init(*words)
    assert status == 1
    assert told in err
    assert err.startswith("weclick: error: ")
    assert not Path("weclick.yaml").exists()
    assert not list(here.rglob("classes.yaml"))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--size", "large"], "--size is 'large'"),
        (["--method", "click"], "--method is 'click'"),
        (["--method", "f2f", "--labels", "masks"], "f2f learns from proxies"),
        (["--labels", "mask"], "--supervision is 'mask', but method weclick"),
    ],
)
def test_options_are_checked_before_videos_are_looked_at(init, here, words, told):
    (here / "films").mkdir()
    (here / "films/no.mp4").write_text("no video")
    assert told in init("films", "--classes", "a,b", *words)[2]
    assert [path.name for path in here.iterdir()] == ["films"]


def test_of_what_goes_wrong_later_nothing_stays_either(init, here):
    (here / "films").mkdir()
    (here / "films/no.mp4").write_text("no video")
    told = init("films", "--classes", "a,b", "--data", "deep/down")[2]
    assert "no.mp4: cannot be opened as a video" in told
    assert [path.name for path in here.iterdir()] == ["films"]
    draw(here / "mine/frames", "park", 2, labels=(0,))
    (here / "mine/labels/park/001.png").write_bytes(b"")
    (here / "weclick.yaml").mkdir()
    for more in ((), ("--force",)):  # a folder is no file that could be replaced
        assert init("mine", "--classes", "a,b", *more)[0] == 1
        assert not Path("mine/classes.yaml").exists()


def test_classes_that_were_replaced_come_back_if_something_goes_wrong(init, here):
    draw(here / "mine/frames", "park")
    assert init("mine", "--classes", "a,b")[0] == 0
    before = Path("mine/classes.yaml").read_text(encoding="utf-8")
    Path("weclick.yaml").unlink()
    Path("weclick.yaml").mkdir()
    assert init("mine", "--classes", "b,a", "--force")[0] == 1
    assert Path("mine/classes.yaml").read_text(encoding="utf-8") == before


def test_on_a_terminal_it_asks_for_what_is_missing(here):
    draw(here / "films", "park", 2)
    said = on_a_terminal(["films"], ["background,car", "no_method", "weclick", "small"])
    assert "Classes, with commas between them" in said
    assert said.count("from tags (weclick, f2f, two_stream, maskconsist) [weclick]") == 2, "it asks again"
    assert "weclick.yaml: written" in said
    assert written()["student"]["backbone"] == "mobilenetv2_compact"
    assert "weclick learns from clicks or masks, the others from tags" in said
    assert "'no_method' is none of weclick, f2f" in said
    assert "Method" not in on_a_terminal(["films", "--yes", "--force"], [])


def on_a_terminal(words, answers):
    """What `weclick init` shows on a terminal on which somebody types."""
    ours, its = pty.openpty()
    command = [str(Path(sys.executable).parent / "weclick"), "init", *words]
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its) as process:
        os.close(its)
        os.write(ours, "".join(f"{answer}\n" for answer in answers).encode())
        said = b""
        try:
            while read := os.read(ours, 4096):
                said += read
        except OSError:  # how Linux says that nobody has the terminal open any more
            pass
        os.close(ours)
    assert process.returncode == 0, said.decode()
    return said.decode()
