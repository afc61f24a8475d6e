"""The toy street: exact flow and labels, and files that depend on nothing but their parameters."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from weclick.datasets.toy import draw as toy

SIZE = {"height": 64, "width": 128}


@pytest.fixture(scope="module")
def clip():
    return toy.render_clip(seed=3, split="train", clip_index=0, height=128, width=256, frames=5)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("toy")
    names = toy.generate(root, seed=1, **SIZE, clips={"train": 2, "val": 1}, frames=3)
    return root, names


def warp(image, flow, interpolation):
    y, x = np.mgrid[: flow.shape[0], : flow.shape[1]].astype(np.float32)
    return cv2.remap(
        image, x + flow[..., 0], y + flow[..., 1], interpolation, borderMode=cv2.BORDER_REPLICATE
    )


def warp_nearest(labels, flow):
    grid = np.mgrid[: flow.shape[0], : flow.shape[1]]
    y, x = (np.clip(np.rint(grid[i] + flow[..., 1 - i]).astype(int), 0, flow.shape[i] - 1) for i in (0, 1))
    return labels[y, x]


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def stamps(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_a_clip_has_the_documented_shapes(clip):
    assert (clip.images.shape, clip.images.dtype) == ((5, 128, 256, 3), np.uint8)
    assert (clip.labels.shape, clip.labels.dtype) == ((5, 128, 256), np.uint8)
    assert (clip.instances.shape, clip.instances.dtype) == ((5, 128, 256), np.int32)
    flow, visible = clip.flow(0, 1)
    assert (flow.shape, flow.dtype) == ((128, 256, 2), np.float32)
    assert (visible.shape, visible.dtype) == ((128, 256), np.bool_)


def test_same_parameters_give_the_same_clip_and_others_another():
    given = {**SIZE, "frames": 1}
    first = toy.render_clip(seed=5, split="val", clip_index=1, **given)
    again = toy.render_clip(seed=5, split="val", clip_index=1, **given)
    assert np.array_equal(first.images, again.images)
    assert np.array_equal(first.instances, again.instances)
    for other in (
        {"seed": 6, "split": "val", "clip_index": 1},
        {"seed": 5, "split": "train", "clip_index": 1},
    ):
        assert not np.array_equal(first.labels, toy.render_clip(**other, **given).labels)


def test_some_clips_show_nobody_or_no_car_and_else_stay_as_they_are():
    given = {**SIZE, "frames": 1, "seed": 0, "split": "train"}
    whole = [toy.render_clip(**given, clip_index=i) for i in range(8)]
    some = [toy.render_clip(**given, clip_index=i, absent=0.5) for i in range(8)]
    shown = [
        {*np.unique(clip.labels)} & {toy.CLASSES.index(name) for name in ("person", "car")} for clip in some
    ]
    assert all(len(numbers) == 2 for numbers in ({*np.unique(clip.labels)} & {7, 8} for clip in whole))
    assert len({frozenset(each) for each in shown}) > 2
    for before, after, seen in zip(whole, some, shown, strict=True):
        same = np.isin(after.labels, [*seen]) & (after.labels == before.labels)
        assert np.array_equal(after.instances[same], before.instances[same])
        if len(seen) == 2:
            assert np.array_equal(before.images, after.images)


def test_flow_of_a_frame_to_itself_is_zero_and_all_is_visible(clip):
    flow, visible = clip.flow(2, 2)
    assert np.abs(flow).max() < 1e-4
    assert visible.all()


@pytest.mark.parametrize(("t", "s"), [(2, 3), (3, 2), (0, 4), (4, 0)])
def test_flow_carries_images_and_labels(clip, t, s):
    flow, visible = clip.flow(t, s)
    carried = warp(clip.images[s], flow, cv2.INTER_LINEAR).astype(float)
    error = np.abs(carried - clip.images[t]).mean(axis=2)
    still = np.abs(clip.images[s].astype(float) - clip.images[t]).mean(axis=2)
    assert np.median(error[visible]) < 3.6  # two frames of noise, sigma 2.5 each
    assert error[visible].mean() < 6
    assert error[visible].mean() < 0.6 * still[visible].mean()
    same = warp_nearest(clip.labels[s], flow) == clip.labels[t]
    assert same[visible].mean() >= 0.98


def test_flow_and_its_way_back_cancel(clip):
    there, visible = clip.flow(1, 3)
    back, _ = clip.flow(3, 1)
    returned = there + warp_nearest(back, there)
    same_thing = warp_nearest(clip.surface_ids[3], there) == clip.surface_ids[1]
    assert np.hypot(*returned[visible & same_thing].T).mean() < 0.1


def test_hidden_pixels_are_few_and_fit_worse(clip):
    flow, visible = clip.flow(3, 0)
    y, x = np.mgrid[:128, :256]
    target = np.stack([x, y], axis=2) + flow
    inside = np.all((target >= 0) & (target <= (255, 127)), axis=2)
    hidden = inside & ~visible
    error = np.abs(warp(clip.images[0], flow, cv2.INTER_LINEAR).astype(float) - clip.images[3]).mean(axis=2)
    assert not visible[~np.all((target > -0.5) & (target < (255.5, 127.5)), axis=2)].any()
    assert 0.001 < hidden.mean() < 0.2
    assert error[hidden].mean() > 2 * error[visible].mean()


def test_the_sky_only_turns(clip):
    flow, _ = clip.flow(1, 2)
    sky = flow[clip.labels[1] == toy.CLASSES.index("sky")]
    assert np.ptp(sky, axis=0).max() < 0.5
    assert np.hypot(*sky.T).max() < 2


def test_motion_is_moderate(clip):
    speed = np.hypot(*clip.flow(1, 2)[0].transpose(2, 0, 1))
    assert 0.3 < np.median(speed) < 4
    assert np.percentile(speed, 98) < 16


def test_instances_agree_with_labels(clip):
    with_instances = [toy.CLASSES.index(name) for name in toy.INSTANCE_CLASSES]
    assert np.array_equal(clip.instances > 0, np.isin(clip.labels, with_instances))
    assert np.array_equal((clip.instances // 1000)[clip.instances > 0], clip.labels[clip.instances > 0])
    kept = np.intersect1d(clip.instances[0], clip.instances[-1])
    assert len(kept) > 4


@pytest.mark.parametrize("clip_index", [0, 1, 2])
def test_every_class_shows_and_some_things_are_large(clip_index):
    shown = toy.render_clip(seed=0, split="train", clip_index=clip_index, height=128, width=256, frames=1)
    assert set(np.unique(shown.labels)) == set(range(len(toy.CLASSES)))
    numbers, areas = np.unique(shown.instances, return_counts=True)
    assert np.sum(areas[numbers // 1000 == toy.CLASSES.index("car")] > 100) >= 2
    assert np.sum(areas[numbers // 1000 == toy.CLASSES.index("person")] > 40) >= 2


def test_layout_on_disk(dataset):
    root, names = dataset
    assert names == {"train": ["street_0000", "street_0001"], "val": ["street_val_0000"]}
    expected = {
        "leftImg8bit": ["000000_leftImg8bit", "000001_leftImg8bit", "000002_leftImg8bit"],
        "gtFine": [f"00000{t}_gtFine_{kind}Ids" for t in range(3) for kind in ("instance", "label")],
        "flow": ["000000_to_000001", "000001_to_000000", "000001_to_000002", "000002_to_000001"],
    }
    for kind, stems in expected.items():
        for split, clips in names.items():
            assert sorted(path.name for path in (root / kind / split).iterdir()) == clips
            for name in clips:
                files = sorted(path.name for path in (root / kind / split / name).glob("*.png"))
                assert files == [f"{name}_{stem}.png" for stem in stems]


def test_files_hold_the_rendered_clip(dataset):
    root, _ = dataset
    clip = toy.render_clip(seed=1, split="train", clip_index=1, **SIZE, frames=3)
    stem = "train/street_0001/street_0001_000001"
    image = np.asarray(Image.open(root / f"leftImg8bit/{stem}_leftImg8bit.png"))
    labels = Image.open(root / f"gtFine/{stem}_gtFine_labelIds.png")
    instances = np.asarray(Image.open(root / f"gtFine/{stem}_gtFine_instanceIds.png"))
    assert np.array_equal(image, clip.images[1])
    assert np.array_equal(np.asarray(labels), clip.labels[1])
    assert labels.getpalette()[: 3 * len(toy.PALETTE)] == [
        value for colour in toy.PALETTE for value in colour
    ]
    assert np.array_equal(instances, clip.instances[1])
    stored = cv2.imread(str(root / f"flow/{stem}_to_000002.png"), cv2.IMREAD_UNCHANGED)[..., ::-1]
    flow, visible = clip.flow(1, 2)
    assert stored.dtype == np.uint16
    assert np.abs((stored[..., :2].astype(np.float32) - 2**15) / 64 - flow).max() <= 1 / 128 + 1e-5
    assert np.array_equal(stored[..., 2], visible)


def test_generating_twice_touches_nothing(dataset):
    root, _ = dataset
    before = stamps(root)
    toy.generate(root, seed=1, **SIZE, clips={"train": 2, "val": 1}, frames=3)
    assert stamps(root) == before


def test_more_clips_leave_the_others_as_they_are_and_fewer_remove_the_rest(dataset, tmp_path):
    root, _ = dataset
    toy.generate(tmp_path, seed=1, **SIZE, clips={"train": 1, "val": 1}, frames=3)
    before = contents(tmp_path)
    toy.generate(tmp_path, seed=1, **SIZE, clips={"train": 2}, frames=3)
    after = contents(tmp_path)
    assert before.items() <= after.items()
    assert after == contents(root)
    toy.generate(tmp_path, seed=1, **SIZE, clips={"train": 1}, frames=3)
    assert contents(tmp_path) == before


def test_a_broken_or_different_clip_is_made_again(dataset, tmp_path):
    root, _ = dataset
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    (tmp_path / "leftImg8bit/train/street_0000/street_0000_000001_leftImg8bit.png").unlink()
    (tmp_path / "flow/train/street_0001/clip.json").write_text(json.dumps({"half": "written"}))
    toy.generate(tmp_path, seed=1, **SIZE, clips={"train": 2, "val": 1}, frames=3)
    assert contents(tmp_path) == contents(root)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"height": 31}, "height is 31, expected at least 32"),
        ({"width": 8}, "width is 8, expected at least 32"),
        ({"frames": 0}, "frames is 0, expected at least 1"),
        ({"seed": -1}, "seed is -1, expected at least 0"),
        ({"clips": {"train": -2}}, "clips\\['train'\\] is -2, expected at least 0"),
        ({"clips": {}}, "clips is empty"),
    ],
)
def test_bad_parameters_are_named(wrong, words, tmp_path: Path):
    good = {"seed": 0, **SIZE, "clips": {"train": 1}, "frames": 1}
    with pytest.raises(ValueError, match=words):
        toy.generate(tmp_path, **(good | wrong))
    assert not list(tmp_path.iterdir())


def test_a_frame_outside_the_clip_is_named(clip):
    with pytest.raises(ValueError, match="frame 5 is not in the clip, which has frames 0 to 4"):
        clip.flow(0, 5)
