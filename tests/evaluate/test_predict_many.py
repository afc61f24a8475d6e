"""Many sources in one call: batches, what goes wrong with some, and figures as JSON Lines."""

import json
import re
from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from helpers.found_instances import untrained
from helpers.sent import noise_frames, send_video
from helpers.small_network import write_network
from weclick.cli import app
from weclick.common.batches import in_batches
from weclick.common.errors import InputError, MissingFileError
from weclick.common.rle import decode_masks
from weclick.common.schemas import schema_fault
from weclick.evaluate.apply import predict_files
from weclick.evaluate.engines import torch_engine
from weclick.evaluate.jobs import jobs_of
from weclick.evaluate.own_files import is_own
from weclick.evaluate.predicted import Pace
from weclick.evaluate.segmenting import Segmenter
from weclick.evaluate.sources import find_sources
from weclick.geometry import StackOptions
from weclick.manifest import Classes
from weclick.manifest.images import read_ids
from weclick.manifest.video import video_info, video_times, video_writer
from weclick.models import build_model
from weclick.store.model_file import Motion, load_model, model_bytes

CLASSES = Classes(("road", "car", "sky"), ((128, 64, 128), (0, 0, 142), (70, 130, 180)))
TWO_SIZES = [*noise_frames(5), *noise_frames(3, 48, 64), *noise_frames(1)]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_network(tmp_path_factory.mktemp("network") / "model.safetensors", CLASSES)


@pytest.fixture(scope="module")
def two_streams(tmp_path_factory):
    torch.manual_seed(0)
    model = build_model(
        "two_stream", "mobilenetv2_compact", 3, channels=8, head_norm="group", stack_length=2, dropout=0
    )
    motion = Motion(StackOptions(length=2, first=-1, scale_px=4), {"name": "dis"}, 4)
    path = tmp_path_factory.mktemp("two") / "model.safetensors"
    path.write_bytes(model_bytes(model, CLASSES, motion=motion))
    return path


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    path = tmp_path_factory.mktemp("detector") / "model.safetensors"
    path.write_bytes(model_bytes(untrained(3), CLASSES))
    return path


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def film(path, images):
    with video_writer(path, Fraction(10)) as write:
        for image in images:
            write(image)
    return path


def predicted(given, checkpoint, out, **how):
    how = {"masks": True, "overlay": False, "opacity": 0.5, "device": "cpu"} | how
    return predict_files(given, checkpoint, out, **how)


def run(*words):
    return CliRunner().invoke(app, ["predict", *map(str, words), "--device", "cpu"])


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def lines(path):
    head, *frames = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    assert not schema_fault(head, "predictions", "head")
    for frame in frames:
        assert not schema_fault(frame, "predictions", "frame")
    return head, frames


# --- what goes wrong with some ----------------------------------------------------------------------------


@pytest.fixture
def mixed(tmp_path):
    """Good and bad sources of all kinds."""
    film(tmp_path / "good.mp4", noise_frames(4))
    whole = film(tmp_path / "whole.mp4", noise_frames(12)).read_bytes()
    (tmp_path / "whole.mp4").unlink()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.mp4").write_text("no video")
    for name in ("a", "b", "c"):
        save(tmp_path / f"photos/{name}.png", noise_frames(1)[0])
    (tmp_path / "photos/b.png").write_bytes((tmp_path / "photos/b.png").read_bytes()[:300])
    return tmp_path


def test_bad_sources_are_told_at_the_end_and_the_others_are_done(mixed, checkpoint):
    given = [mixed / name for name in ("none.mp4", "cut.mp4", "photos", "text.mp4", "good.mp4")]
    done = run(*given, "--checkpoint", checkpoint, "--output", mixed / "out", "--json")
    assert done.exit_code == 1
    assert files(mixed / "out") == [
        "json/good.jsonl",
        "json/photos.jsonl",
        *(f"masks/good/0000{t}.png" for t in range(4)),
        *(f"masks/photos/{name}.png" for name in "ac"),
        "overlay/good.mp4",
        *(f"overlay/photos/{name}.jpg" for name in "ac"),
    ]
    assert "6 frames to" in done.output
    told = str(done.exception)
    assert told.startswith("4 sources could not be predicted:\n")
    for name in (
        "none.mp4: there is no such",
        "cut.mp4: cannot be",
        "b.png: cannot be read",
        "text.mp4: can",
    ):
        assert name in told
    assert [frame["name"] for frame in lines(mixed / "out/json/photos.jsonl")[1]] == ["photos/a", "photos/c"]


def test_one_bad_source_is_the_error_itself(mixed, checkpoint):
    done = predicted([mixed / "none", mixed / "good.mp4"], checkpoint, mixed / "out")
    assert isinstance(done.fault, MissingFileError)
    assert done.frames == 4
    with pytest.raises(MissingFileError, match="none: there is no such"):
        predicted([mixed / "none"], checkpoint, mixed / "out")


def test_a_video_that_breaks_in_the_middle_leaves_what_was_there_before(tmp_path, checkpoint):
    sent = send_video(tmp_path / "v.mjpeg", noise_frames(8), "mjpeg")
    assert predicted(sent, checkpoint, tmp_path / "out", overlay=True, json=True).fault is None
    before = {name: (tmp_path / "out" / name).read_bytes() for name in files(tmp_path / "out")}
    wider = send_video(tmp_path / "wider", noise_frames(2, 64, 96), "mjpeg").read_bytes()
    sent.write_bytes(send_video(tmp_path / "other", noise_frames(9)[4:], "mjpeg").read_bytes() + wider)
    with pytest.raises(InputError, match=r"a frame is 64x96 px \(HxW\), but the video began with 64x64"):
        predicted(sent, checkpoint, tmp_path / "out", overlay=True, json=True)
    assert {name: (tmp_path / "out" / name).read_bytes() for name in files(tmp_path / "out")} == before


def test_masks_of_an_earlier_and_longer_video_do_not_stay(tmp_path, checkpoint):
    film(tmp_path / "v.mp4", noise_frames(5))
    predicted(tmp_path / "v.mp4", checkpoint, tmp_path / "out")
    (tmp_path / "out/masks/v/notes.txt").write_text("mine")
    save(tmp_path / "out/masks/v/00099.png", noise_frames(1)[0])  # not predict's
    film(tmp_path / "v.mp4", noise_frames(2))
    predicted(tmp_path / "v.mp4", checkpoint, tmp_path / "out")
    assert files(tmp_path / "out/masks/v") == ["00000.png", "00001.png", "00099.png", "notes.txt"]


def test_a_list_stands_for_its_lines(tmp_path, checkpoint, monkeypatch):
    film(tmp_path / "one two.mp4", noise_frames(1))
    save(tmp_path / "photo.png", noise_frames(1)[0])
    (tmp_path / "list.txt").write_text("# a note\n\none two.mp4\n  photo.png\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    done = run("@list.txt", "--checkpoint", checkpoint, "--save", "masks")
    assert done.exit_code == 0, done.output
    assert files(tmp_path / "predictions") == ["masks/one two/00000.png", "masks/photo.png"]
    with pytest.raises(MissingFileError, match=r"more\.txt: there is no such list of sources"):
        predicted("@more.txt", checkpoint, tmp_path / "out")
    (tmp_path / "list.txt").write_text("#\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"list\.txt: lists no source"):
        predicted("@list.txt", checkpoint, tmp_path / "out")


def test_what_makes_no_sense_together_is_told(tmp_path, checkpoint):
    save(tmp_path / "a.png", noise_frames(1)[0])
    assert "writes nothing; add --json" in str(run(tmp_path / "a.png", "--save", "none").exception)
    done = run(tmp_path / "a.png", "--checkpoint", checkpoint, "--drop", "--output", tmp_path / "out")
    assert "--drop and --wait are of streams" in str(done.exception)


# --- batches ----------------------------------------------------------------------------------------------


def test_batches_come_as_soon_as_they_are_full():
    taken = []
    given = ((taken.append(n), n)[1] for n in (1, 1, 1, 2, 2, 1))
    for batch in in_batches(given, 2, lambda n: n):
        taken.append(batch)
    assert taken == [1, 1, [1, 1], 1, 2, [1], 2, [2, 2], 1, [1]]


@pytest.mark.parametrize("kind", ["checkpoint", "two_streams"])
def test_batches_give_the_logits_of_single_frames(request, kind):
    path = request.getfixturevalue(kind)
    images = noise_frames(7) if kind == "two_streams" else TWO_SIZES
    model, card = load_model(path, with_motion=True)
    sizes = []
    engine = torch_engine(model, card, path, "cpu")
    logits = lambda images, stacks: (sizes.append(len(images)), engine.logits(images, stacks))[1]  # noqa: E731
    segmenter = Segmenter(engine._replace(logits=logits), path, "cpu")
    single = list(segmenter(enumerate(images)))
    assert set(sizes) == {1}
    sizes.clear()
    together = list(segmenter(enumerate(images), 3))
    assert sizes == ([3, 3, 1] if kind == "two_streams" else [3, 2, 3, 1])
    assert [each.frame for each in together] == list(range(len(images)))
    for one, other, image in zip(single, together, images, strict=True):
        torch.testing.assert_close(other.coarse, one.coarse, atol=1e-4, rtol=1e-4)
        assert (other.class_ids == one.class_ids).mean() > 0.999
        np.testing.assert_array_equal(other.image, image)
    assert len(np.unique([each.class_ids[:40, :40] for each in single])) > 1, "else any network would do"


def test_batches_write_the_same_files(tmp_path, checkpoint):
    film(tmp_path / "in/v.mp4", noise_frames(5))
    for n, image in enumerate(TWO_SIZES):
        save(tmp_path / f"in/photos/{n}.png", image)
    one = predicted(tmp_path / "in", checkpoint, tmp_path / "one")
    four = predicted(tmp_path / "in", checkpoint, tmp_path / "four", batch_size=4)
    assert one.frames == four.frames == 14
    assert files(tmp_path / "one") == files(tmp_path / "four")
    for name in files(tmp_path / "one"):
        assert (read_ids(tmp_path / "one" / name) == read_ids(tmp_path / "four" / name)).mean() > 0.999


def test_a_detector_finds_the_same_in_batches(tmp_path, detector):
    film(tmp_path / "v.mp4", noise_frames(5))
    found = {}
    for size in (1, 3):
        predicted(tmp_path / "v.mp4", detector, tmp_path / f"{size}", json=True, min_score=0, batch_size=size)
        found[size] = lines(tmp_path / f"{size}/json/v.jsonl")[1]
    for one, other in zip(found[1], found[3], strict=True):
        scores = [[each["score"] for each in frame["objects"]] for frame in (one, other)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-4)
        assert one["percent"] == pytest.approx(other["percent"], abs=0.2)
    assert sum(len(frame["objects"]) for frame in found[1]) > 0


# --- JSON Lines and pace ----------------------------------------------------------------------------------


def test_shares_and_times_stand_in_the_lines(tmp_path, checkpoint):
    times = [0, 1, 5, 6]
    send_video(tmp_path / "v.mkv", noise_frames(4), "matroska", times=times)
    done = predicted(tmp_path / "v.mkv", checkpoint, tmp_path / "out", overlay=True, json=True)
    head, frames = lines(tmp_path / "out/json/v.jsonl")
    assert head["classes"] == list(CLASSES.names)
    assert head["source"] == str(tmp_path / "v.mkv")
    assert [frame["frame"] for frame in frames] == [0, 1, 2, 3]
    assert [frame["time_s"] for frame in frames] == pytest.approx([t / 10 for t in times])
    for frame in frames:
        ids = read_ids(tmp_path / f"out/masks/{frame['name']}.png")
        shares = {name: 100 * (ids == k).mean() for k, name in enumerate(CLASSES.names)}
        assert frame["percent"] == pytest.approx(shares, abs=1e-4)
        assert (frame["height_px"], frame["width_px"]) == ids.shape
        assert "objects" not in frame
    mean = np.mean([frame["percent"]["car"] for frame in frames]) / 100
    assert mean == pytest.approx(done.share[1], abs=1e-5)
    assert video_times(tmp_path / "out/overlay/v.mp4") == pytest.approx([t / 10 for t in times])


def test_objects_stand_in_the_lines(tmp_path, detector):
    film(tmp_path / "v.mp4", noise_frames(3))
    save(tmp_path / "photos/a.png", noise_frames(1)[0])
    given = [tmp_path / "v.mp4", tmp_path / "photos"]
    predicted(given, detector, tmp_path / "out", json=True, min_score=0)
    _, (photo,) = lines(tmp_path / "out/json/photos/a.jsonl")
    assert photo["objects"]
    for each in photo["objects"]:
        (mask,) = decode_masks([each["segmentation"]], (64, 64), "a")
        assert mask.sum() == each["area"]
        assert each["class"] in CLASSES.names
        assert each["track"] is None
    assert sum(photo["percent"].values()) <= 100.001
    _, frames = lines(tmp_path / "out/json/v.jsonl")
    assert all(isinstance(each["track"], int) for frame in frames for each in frame["objects"])
    assert files(tmp_path / "out") == ["instances.json", "json/photos/a.jsonl", "json/v.jsonl", "tracks.json"]


def test_files_of_somebody_else_are_not_replaced_by_lines(tmp_path, checkpoint):
    save(tmp_path / "a.png", noise_frames(1)[0])
    (tmp_path / "out/json").mkdir(parents=True)
    (tmp_path / "out/json/a.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match=r"json/a\.jsonl: would be replaced, but predict did not write it"):
        predicted(tmp_path / "a.png", checkpoint, tmp_path / "out", json=True)
    (tmp_path / "out/json/a.jsonl").unlink()
    for _ in range(2):
        predicted(tmp_path / "a.png", checkpoint, tmp_path / "out", json=True)


def test_lines_of_folders_and_videos_keep_apart(tmp_path):
    film(tmp_path / "in/cam.mp4", noise_frames(1))
    film(tmp_path / "in/in.mp4", noise_frames(1))
    for name in ("0.png", "1.png", "cam/0.png", "cam/1.png", "alone/0.png"):
        save(tmp_path / "in" / name, noise_frames(1)[0])
    jobs = jobs_of(find_sources([tmp_path / "in"], is_own=is_own))
    assert {job.name: len(job.sources) for job in jobs} == {
        "in_images": 2,
        "cam.mp4": 1,
        "in": 1,
        "alone/0": 1,
        "cam": 2,
    }


def test_the_last_line_tells_the_pace(tmp_path, checkpoint):
    film(tmp_path / "v.mp4", noise_frames(6))
    done = run(tmp_path / "v.mp4", "--checkpoint", checkpoint, "--output", tmp_path / "out")
    told = done.output.splitlines()[-1]
    assert re.search(
        r"^6 frames to \S+ in [\d.]+ s on cpu: [\d.,]+ frames/s "
        r"\(decoding [\d.,]+, network [\d.,]+, writing [\d.,]+\), [\d.,]+ times real time \(10 frames/s\)$",
        told,
    ), told


def test_the_ratio_to_real_time_is_that_of_what_was_filmed():
    pace = Pace(frames=100, seconds=10, decoding_seconds=1, network_seconds=4, writing_seconds=2)
    assert pace.real_time is None
    assert str(pace) == "10 frames/s (decoding 100, network 25, writing 50)"
    pace.count_video(50, Fraction(25), 1.0)
    assert str(pace).endswith(", 2 times real time (25 frames/s)")
    pace.count_video(50, Fraction(10), 1.0)
    pace.dropped = 3
    assert pace.real_time == pytest.approx(3.5)
    assert str(pace).endswith("writing 50), 3.5 times real time, 3 frames dropped")


def test_the_rate_of_a_video_is_kept(tmp_path, checkpoint):
    send_video(tmp_path / "v.mp4", noise_frames(5), "mp4", rate=30)
    predicted(tmp_path / "v.mp4", checkpoint, tmp_path / "out", masks=False, overlay=True, batch_size=2)
    assert video_info(tmp_path / "out/overlay/v.mp4")[:4] == (5, 64, 64, Fraction(30))
