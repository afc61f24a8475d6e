"""The flow that a network of two streams looks at where it is used: stored, or estimated on the way."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from helpers.flow_clips import SIZE, manifest_of, options, write_clip
from weclick.cli import app
from weclick.common.errors import InputError
from weclick.evaluate.apply import predict_files
from weclick.evaluate.flow_in_loop import InLoop, clips_of, estimator_of
from weclick.evaluate.motion import stored_stacks
from weclick.evaluate.sources import Source
from weclick.flow.stage import compute_flow
from weclick.geometry import StackOptions
from weclick.manifest import Classes
from weclick.manifest.images import read_ids
from weclick.manifest.needs import stack
from weclick.manifest.read import read_clip
from weclick.manifest.video import video_writer
from weclick.models import build_model
from weclick.models.inference import predict
from weclick.store import Store
from weclick.store.model_file import Motion, load_model, model_bytes

CLASSES = Classes(("road", "car"), ((128, 64, 128), (0, 0, 142)))
DIS = {"name": "dis", "preset": "medium", "finest_scale": None, "opencv": "5.0"}
FRAMES = 5


def motion(**changed) -> Motion:
    return Motion(StackOptions(**{"length": 4, "first": -2, **changed}), DIS, 4)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A clip whose frames all have their stacks in a store."""
    root = tmp_path_factory.mktemp("clip")
    made = write_clip(root / "data", "park", seed=3, frames=FRAMES)
    manifest, store = manifest_of(root / "data", made), Store([root / "store"])

    def pairs(clip):
        everywhere = type(clip)(**{**vars(clip), "targets": tuple(range(FRAMES))})
        return stack(everywhere, -2, 4)

    keys = compute_flow(manifest, pairs, options=options(masks=[]), store=store)
    return manifest, store, keys


def checkpoint(folder, **changed):
    torch.manual_seed(0)
    model = build_model(
        "two_stream", "mobilenetv2_compact", 2, channels=8, head_norm="group", stack_length=4, dropout=0
    )
    with torch.no_grad():  # so that the picture depends on the motion
        for part in model.motion.parameters():
            part.mul_(1.5)
    path = folder / "model.safetensors"
    path.write_bytes(model_bytes(model, CLASSES, motion=motion(**changed)))
    return path


# --- stored -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [{}, {"motion": "residual"}, {"edge": "zero"}])
def test_flow_of_the_loop_is_that_of_the_store_up_to_its_rounding(clip, how):
    manifest, store, keys = clip
    stored = stored_stacks(motion(**how), store, keys, manifest.clips)
    frames = ((str(t), image) for t, image in enumerate(read_clip(manifest, manifest.clips[0])))
    seen = list(InLoop(motion(**how), ("dis", {}), 1, "cpu")(frames))
    assert [name for name, _, _ in seen] == [str(t) for t in range(FRAMES)]
    for t, (_, _, found) in enumerate(seen):
        expected = stored(manifest.clips[0], t)
        assert found.shape == expected.shape == (8, *SIZE)
        tolerance = 0.05 if how.get("motion") else 4 / 64 / 8  # RANSAC of rounded flow differs a little
        torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)


def test_a_part_of_a_clip_has_the_stacks_of_the_whole(clip):
    manifest, store, keys = clip
    whole = manifest.clips[0]
    stored = stored_stacks(motion(), store, keys, manifest.clips)
    torch.testing.assert_close(stored(whole.restrict([3]), 0), stored(whole, 3))


def test_flow_that_is_missing_is_told(clip):
    manifest, store, keys = clip
    whole = manifest.clips[0]
    with pytest.raises(InputError, match="has no flow in the index for the stack of frame 00002"):
        stored_stacks(motion(), store, {}, [whole])(whole, 2)
    apart = replace(whole, frames=tuple(replace(each, number=2 * each.number) for each in whole.frames))
    assert not stored_stacks(motion(), store, {}, [apart])(apart, 2).any()
    raft = replace(motion(), estimator={"name": "raft"})
    with pytest.raises(InputError, match="holds flow of dis, but the network has learned from flow of raft"):
        stored_stacks(raft, store, keys, [whole])(whole, 2)


def test_a_network_of_images_gets_no_stack(clip):
    manifest, store, keys = clip
    assert stored_stacks(None, store, keys, manifest.clips)(manifest.clips[0], 2) is None


# --- on the way -------------------------------------------------------------------------------------------


class Counted:
    """Frames that say how many of them were asked for."""

    def __init__(self, count):
        self.count, self.taken = count, 0

    def __iter__(self):
        rng = np.random.default_rng(0)
        for t in range(self.count):
            self.taken += 1
            yield str(t), rng.integers(0, 256, (40, 48, 3), np.uint8)


@pytest.mark.parametrize(
    ("first", "length", "ahead"), [(-4, 10, 6), (-2, 2, 0), (0, 1, 1), (3, 2, 5), (-5, 2, 0)]
)
def test_no_more_frames_wait_than_the_stack_reaches_ahead(first, length, ahead):
    frames = Counted(12)
    look = InLoop(motion(first=first, length=length), ("dis", {"preset": "ultrafast"}), 1, "cpu")
    for t, _ in enumerate(look(frames)):
        assert frames.taken == min(t + 1 + ahead, 12)
    assert t == 11


@pytest.mark.parametrize("count", [0, 1, 2])
def test_short_clips_have_stacks_too(count):
    found = list(InLoop(motion(), ("dis", {}), 1, "cpu")(Counted(count)))
    assert [tuple(each.shape) for _, _, each in found] == [(8, 40, 48)] * count
    assert count != 1 or not found[0][2].any()


def test_images_of_one_folder_and_size_are_a_clip(tmp_path):
    for name, size in {"a/0": 32, "a/1": 32, "a/2": 40, "b/0": 40}.items():
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.zeros((size, size, 3), np.uint8)).save(path)
    named = [
        Source(tmp_path / f"{name}{end}", name, end == ".mp4")
        for name, end in (("a/0", ".png"), ("a/1", ".png"), ("a/2", ".png"), ("a/v", ".mp4"), ("b/0", ".png"))
    ]
    assert [[source.name for source in clip] for clip in clips_of(named)] == [
        ["a/0", "a/1"],
        ["a/2"],
        ["a/v"],
        ["b/0"],
    ]


def test_a_video_is_predicted_without_any_cache(clip, tmp_path):
    manifest, store, keys = clip
    path, images = checkpoint(tmp_path), list(read_clip(manifest, manifest.clips[0]))
    folder = tmp_path / "data" / "park"
    folder.mkdir(parents=True)
    for t, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{t:05d}.png")
    with video_writer(tmp_path / "park.mp4", Fraction(10)) as write:
        for image in images:
            write(image[:62, :98])
    common = {"masks": True, "overlay": True, "opacity": 0.5, "device": "cpu"}
    assert predict_files(tmp_path / "park.mp4", path, tmp_path / "of_video", **common).frames == FRAMES
    assert len(list((tmp_path / "of_video/masks/park").glob("*.png"))) == FRAMES
    assert (tmp_path / "of_video/overlay/park.mp4").stat().st_size
    predict_files(folder, path, tmp_path / "of_frames", **common)
    model, _ = load_model(path, with_motion=True)
    stored = stored_stacks(motion(), store, keys, manifest.clips)
    for t, image in enumerate(images):
        ids = read_ids(tmp_path / f"of_frames/masks/{t:05d}.png")
        expected = predict(model, image, stack=stored(manifest.clips[0], t)).numpy()
        assert (ids == expected).mean() > 0.99
        assert len(np.unique(expected)) == 2


def test_images_are_taken_in_the_order_of_their_numbers(tmp_path):
    for t in range(12):
        Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / f"{t}.png")
    named = [Source(tmp_path / f"{t}.png", str(t), False) for t in sorted(map(str, range(12)))]
    assert [source.name for source in next(clips_of(named))] == [str(t) for t in range(12)]


def test_a_network_of_images_takes_no_flow(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(model_bytes(build_model("deeplabv3plus", "mobilenetv2_compact", 2, channels=8), CLASSES))
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "a.png")
    words = ["predict", str(tmp_path / "a.png"), "--checkpoint", str(path), "--flow", "dis"]
    result = CliRunner().invoke(app, [*words, "--output", str(tmp_path / "out"), "--device", "cpu"])
    assert isinstance(result.exception, InputError)
    assert "looks at images alone; leave --flow out" in str(result.exception)


def test_flow_with_weights_is_asked_for():
    learned = Motion(StackOptions(), {"name": "flownet2", "sha256": "0" * 64}, 4)
    with pytest.raises(InputError, match="--flow flownet2:weights=FILE, or take another flow: --flow dis"):
        estimator_of(learned, None)
    assert estimator_of(learned, ("dis", {})) == ("dis", {})
    assert estimator_of(motion(), None) == ("dis", {"preset": "medium", "finest_scale": None})
