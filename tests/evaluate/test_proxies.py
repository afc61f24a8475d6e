"""What gathering along the flow is worth, on regions whose figures are known by hand."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.cam_entries import DOG, SIZE, cell, clip_of, manifest_of, write_cams, write_chain
from weclick.evaluate.proxies import Example, cam_examples, gathering_table
from weclick.store import Store


def moving_parts(frames: int = 3) -> Example:
    """An object of three pixels moves to the right by one a frame, and each frame shows one of them."""
    maps = []
    for t in range(frames):
        row = torch.zeros(1, 1, 8)
        row[0, 0, t + t % 3] = 1
        maps.append(row)
    flow = torch.zeros(2, 1, 8)
    flow[0] = -1
    truth = np.zeros((1, 8), np.uint8)
    truth[0, frames - 1 : frames + 2] = DOG
    return Example(maps, [flow] * (frames - 1), truth, [DOG], 1)


def rows_of(*clips, **more):
    table = gathering_table(clips, thresholds=(0.5,), **more)
    return {(row["aggregate"], row["frames"], row["warped"]): row for row in table}


def test_by_hand():
    rows = rows_of([moving_parts()], frames=(1, 2, 3), aggregates=("union",))
    assert list(rows) == [
        ("union", *key) for key in ((1, True), (2, True), (2, False), (3, True), (3, False))
    ]
    one, two, three = (rows["union", length, True] for length in (1, 2, 3))
    assert (one["iou"], one["precision"], one["recall"]) == (pytest.approx(1 / 3), 1, pytest.approx(1 / 3))
    assert (two["iou"], three["iou"]) == (pytest.approx(2 / 3), 1)
    left = rows["union", 3, False]  # columns 0, 2, 4 beside the true 2, 3, 4
    assert left["iou"] == pytest.approx(2 / 4)
    assert left["precision"] == left["recall"] == pytest.approx(2 / 3)
    assert {row["clips"] for row in rows.values()} == {1}


def test_frames_and_classes_count_equally_within_a_clip_and_clips_beside_each_other():
    whole = moving_parts()
    missed = dataclasses.replace(whole, truth=np.full((1, 8), DOG, np.uint8))
    nothing = dataclasses.replace(whole, truth=np.zeros((1, 8), np.uint8))
    rows = rows_of([whole, missed, nothing], [whole], [nothing], frames=(3,), aggregates=("union",))
    assert rows["union", 3, True]["iou"] == pytest.approx(((1 + 3 / 8) / 2 + 1) / 2)
    assert rows["union", 3, True]["clips"] == 2


def test_ignored_pixels_do_not_count():
    example = moving_parts()
    truth = example.truth.copy()
    truth[0, 4] = 255
    rows = rows_of([dataclasses.replace(example, truth=truth)], frames=(1, 2), aggregates=("union",))
    assert rows["union", 1, True]["precision"] is None, "what it found lies on an ignored pixel"
    assert rows["union", 1, True]["iou"] == 0
    assert rows["union", 2, True]["iou"] == pytest.approx(1 / 2)


def test_maps_are_cut_at_every_threshold():
    example = moving_parts()
    maps = [each + 0.4 * (each == 0) for each in example.maps]
    clip = [dataclasses.replace(example, maps=maps)]
    table = gathering_table([clip], frames=(1, 3), thresholds=(0.3, 0.7), aggregates=("mean",))
    iou = {(row["frames"], row["threshold"], row["warped"]): row["iou"] for row in table}
    assert iou[1, 0.3, True] == pytest.approx(3 / 8)
    assert iou[1, 0.7, True] == pytest.approx(1 / 3)
    assert iou[3, 0.7, True] == 1


def test_of_cached_maps(tmp_path):
    """Labelled frames with room for the longest run give an example; a clip without flow gives none."""
    store, clip, short = Store([tmp_path / "store"]), clip_of(), clip_of(name="yard")
    truth = np.zeros(SIZE, np.uint8)
    truth[8:16, 20:32] = DOG
    Image.fromarray(truth).save(tmp_path / "label.png")
    frames = list(clip.frames)
    frames[0] = dataclasses.replace(frames[0], label="label.png")
    frames[4] = dataclasses.replace(frames[4], label="label.png")
    clip = dataclasses.replace(clip, frames=tuple(frames))
    cams = {"park": write_cams(store, clip, {DOG: [cell(2, 1 + t + t % 3) for t in range(6)]})}
    flow = {"park": write_chain(store, clip)}
    manifest = manifest_of(clip, short, root=str(tmp_path))
    (examples,) = cam_examples(manifest, cams, flow, store, frames=3)
    (example,) = examples
    assert len(example.maps) == 3
    assert example.class_ids == [DOG]
    np.testing.assert_array_equal(example.truth, truth)
    rows = rows_of([example], frames=(1, 3), aggregates=("union",))
    assert rows["union", 3, True]["recall"] > 0.9
    assert rows["union", 1, True]["recall"] < 0.5
