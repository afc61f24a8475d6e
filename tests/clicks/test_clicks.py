"""Clicks: one point per object, compared with a plain reference; tables in and out; clicks made by people."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from jsonschema import Draft202012Validator
from PIL import Image
from skimage.measure import label, regionprops
from skimage.segmentation import relabel_sequential

from helpers.places import SHARED
from weclick.clicks import (
    POINT,
    ClickTable,
    clicks_digest,
    clicks_from_labels,
    generate_clicks,
    read_clicks,
    scaled_min_pixels,
    write_clicks,
    write_json,
)
from weclick.common.schemas import load_schema
from weclick.datasets import build_manifest, open_dataset
from weclick.manifest import Classes, Clip, Frame, Manifest

REAL = SHARED / "data" / "camvid"
OPTIONS = {"min_pixels": 4, "min_pixels_at": None, "point": "centroid"}


def objects_of(labels: np.ndarray, ignore: int = 255) -> list:
    """The 8-connected components of one class as scikit-image finds them, each with area and centroid."""
    shifted = np.where(labels == ignore, 0, labels.astype(np.int64) + 1)  # 0 is the background of `label`
    return regionprops(label(shifted, background=0, connectivity=2))


def label_map(*rows: str) -> np.ndarray:
    """Digits are class ids, a dot is ignored."""
    return np.array([[255 if c == "." else int(c) for c in row] for row in rows], np.uint8)


def points(clicks: np.ndarray) -> list[tuple[int, int, int]]:
    return [(int(click["y"]), int(click["x"]), int(click["class_id"])) for click in clicks]


label_maps = arrays(
    np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=13), elements=st.sampled_from([0, 1, 7, 254, 255])
)
"""Of any size from 1x1 px; few classes, so that many pixels touch one of their own."""


class TestComponents:
    @settings(max_examples=150, deadline=None)
    @given(label_maps, st.integers(1, 6), st.sampled_from(["centroid", "random"]))
    def test_each_object_that_scikit_image_finds_has_one_click(self, labels, min_pixels, point):
        clicks = clicks_from_labels(labels, min_pixels=min_pixels, seed=3, point=point)
        objects = [each for each in objects_of(labels) if each.area >= min_pixels]
        assert len(clicks) == len(objects)
        for each in objects:
            pixels = set(map(tuple, each.coords.tolist()))
            (own,) = [click for click in clicks if (click["y"], click["x"]) in pixels]
            assert own["area"] == each.area
            assert own["class_id"] == labels[own["y"], own["x"]] == labels[tuple(each.coords[0])]
            centre = tuple(int(np.floor(mean + 0.5)) for mean in each.centroid)
            if point == "centroid" and centre in pixels:
                assert (own["y"], own["x"]) == centre
        assert clicks.tolist() == sorted(clicks.tolist(), key=lambda click: (click[2], *click[:2]))
        assert clicks.dtype == POINT

    @settings(max_examples=60, deadline=None)
    @given(label_maps, st.sampled_from([0, 1, 7, 255]))
    def test_whatever_value_is_ignored(self, labels, ignore):
        clicks = clicks_from_labels(labels, min_pixels=1, ignore=ignore, seed=3)
        found = sorted((int(labels[tuple(o.coords[0])]), int(o.area)) for o in objects_of(labels, ignore))
        assert sorted((int(click["class_id"]), int(click["area"])) for click in clicks) == found

    def test_centroid_is_rounded_half_up(self):
        assert points(clicks_from_labels(label_map("00", "00"), min_pixels=1, seed=0)) == [(1, 1, 0)]

    def test_diagonal_neighbours_are_one_component(self):
        clicks = clicks_from_labels(label_map("0..", ".0.", "..0"), min_pixels=3, seed=0)
        assert points(clicks) == [(1, 1, 0)]

    @pytest.mark.parametrize(
        "rows", [("00000", "0...0", "0...0", "0...0", "00000"), ("0...0", "0...0", "0...0", "00000")]
    )
    def test_a_centroid_outside_becomes_a_pixel_of_the_object(self, rows):
        labels = label_map(*rows)
        drawn = {points(clicks_from_labels(labels, min_pixels=1, seed=seed))[0][:2] for seed in range(200)}
        assert drawn == set(zip(*(axis.tolist() for axis in np.nonzero(labels == 0)), strict=True))
        once, again = (clicks_from_labels(labels, min_pixels=1, seed=7) for _ in range(2))
        assert once.tolist() == again.tolist()

    def test_other_objects_do_not_move_a_click(self):
        ring = label_map("........", "..11111.", "..1...1.", "..1...1.", "..11111.")
        crowd = ring.copy()
        crowd[0], crowd[1:, 0] = 0, 2
        for seed in range(20):
            alone = clicks_from_labels(ring, min_pixels=1, seed=seed)
            together = clicks_from_labels(crowd, min_pixels=1, seed=seed)
            assert points(alone) == points(together[together["class_id"] == 1])

    def test_random_points_lie_anywhere_in_the_object(self):
        labels = label_map("000", "000")
        drawn = {
            points(clicks_from_labels(labels, min_pixels=1, seed=seed, point="random"))[0]
            for seed in range(100)
        }
        assert len(drawn) == 6

    def test_another_ignored_value(self):
        clicks = clicks_from_labels(label_map("01"), min_pixels=1, ignore=0, seed=0)
        assert points(clicks) == [(0, 1, 1)]

    def test_nothing_to_click(self):
        clicks = clicks_from_labels(label_map("..", ".."), seed=0)
        assert (len(clicks), clicks.dtype) == (0, POINT)

    @pytest.mark.parametrize("labels", [np.zeros((2, 2), np.int64), np.zeros((2, 2, 3), np.uint8)])
    def test_wrong_labels(self, labels):
        with pytest.raises(ValueError, match=r"expected uint8 of shape \(H, W\)"):
            clicks_from_labels(labels, seed=0)

    def test_wrong_instances(self):
        with pytest.raises(ValueError, match=r"instances are of shape \(3, 3\), expected .* \(2, 2\)"):
            clicks_from_labels(np.zeros((2, 2), np.uint8), instances=np.zeros((3, 3), np.int32), seed=0)


class TestInstances:
    labels = label_map("11110000", "11110000", "11110022")
    instances = np.zeros((3, 8), np.int32)
    instances[:, :2], instances[:, 2:4] = 1000, 1001

    def click(self, instances: np.ndarray, **options) -> list[tuple[int, int, int]]:
        options = {"instance_classes": (1,), "min_pixels": 2, "seed": 0} | options
        return points(clicks_from_labels(self.labels, instances=instances, **options))

    def test_touching_objects_have_a_click_each(self):
        assert self.click(self.instances) == [(1, 5, 0), (1, 1, 1), (1, 3, 1), (2, 7, 2)]

    def test_without_instance_classes_they_are_one_component(self):
        assert self.click(self.instances, instance_classes=()) == [(1, 5, 0), (1, 2, 1), (2, 7, 2)]

    def test_no_instance_is_too_small(self):
        assert self.click(self.instances, min_pixels=7)[1:] == [(1, 1, 1), (1, 3, 1)]

    def test_a_torn_object_has_one_click(self):
        torn = np.where(self.labels == 1, 1000, 0).astype(np.int32)
        torn[:, 1] = 1001
        assert len(self.click(torn)) == 4

    def test_groups_go_by_components(self):
        group = np.where(self.instances == 1001, 24, self.instances)
        assert self.click(group) == self.click(self.instances)
        assert (1, 3, 1) not in self.click(group, min_pixels=7)

    @settings(max_examples=100, deadline=None)
    @given(data=st.data())
    def test_objects_are_the_instances_and_beside_them_components(self, data):
        """By scikit-image: an instance is one region even where it is torn; all else goes by components."""
        labels = data.draw(label_maps)
        values = st.sampled_from([0, 7, 1000, 1001, 70_000])
        instances = data.draw(arrays(np.int32, labels.shape, elements=values))
        clicks = clicks_from_labels(
            labels, instances=instances, instance_classes=(1, 254), min_pixels=3, seed=0
        )
        told_apart = np.isin(labels, (1, 254)) & (instances >= 1000)
        named = regionprops(relabel_sequential(np.where(told_apart, instances * 256 + labels, 0))[0])
        others = [each for each in objects_of(np.where(told_apart, 255, labels)) if each.area >= 3]
        expected = sorted((int(labels[tuple(o.coords[0])]), int(o.area)) for o in (*named, *others))
        assert sorted((int(click["class_id"]), int(click["area"])) for click in clicks) == expected

    def test_only_the_order_of_instance_values_counts(self):
        """Small ones are numbered by a table, large ones by sorting."""
        labels, instances = np.zeros((6, 9), np.uint8), np.full((6, 9), 1000, np.int32)
        instances[:, 3:6], instances[:3, 6:] = 1001, 1007
        far = np.where(instances == 1007, 2**30, instances)
        both = [
            clicks_from_labels(labels, instances=each, instance_classes=[0], seed=3, point="random")
            for each in (instances, far)
        ]
        assert len(both[0]) == 3
        np.testing.assert_array_equal(*both)

    def test_instance_values_outside_their_classes_do_not_count(self):
        stray = self.instances.copy()
        stray[0, 5] = 7000
        assert self.click(stray) == self.click(self.instances)


@pytest.mark.parametrize(
    ("at", "size", "expected"),
    [([1024, 2048], (360, 480), 42), (None, (360, 480), 512), ([1024, 2048], (1024, 2048), 512)],
)
def test_threshold_is_scaled_by_area(at, size, expected):
    assert scaled_min_pixels(512, at, size) == expected


@pytest.fixture
def manifest(tmp_path) -> Manifest:
    """Two clips of two frames of 4x8 px; the first frame of each is a target."""
    labels = {"a0": ("00001111",) * 4, "a1": ("........",) * 4, "b0": ("0.111.0.",) * 4}
    for name, rows in labels.items():
        Image.fromarray(label_map(*rows)).save(tmp_path / f"{name}.png")
    clips = tuple(
        Clip(
            clip,
            (Frame("f0", 0, "-", label=f"{clip}0.png"), Frame("f1", 1, "-", label="a1.png")),
            targets=(0, 1) if clip == "a" else (0,),
            height_px=4,
            width_px=8,
        )
        for clip in "ab"
    )
    classes = Classes(("road", "car"), ((128, 64, 128), (0, 0, 142)))
    return Manifest("made_up", str(tmp_path), "train", 0, 1, classes, clips)


class TestGenerate:
    def test_all_targets_of_all_clips(self, manifest):
        table = generate_clicks(manifest, options=OPTIONS, seed=0)
        assert points(table.of("a", "f0")) == [(2, 2, 0), (2, 6, 1)]
        assert points(table.of("b", "f0")) == [(2, 0, 0), (2, 6, 0), (2, 3, 1)]
        assert len(table.of("a", "f1")) == len(table.of("b", "f1")) == 0
        assert len(table) == 5
        assert table.counts().tolist() == [3, 2]

    def test_min_pixels_are_scaled_to_the_frame(self, manifest):
        options = OPTIONS | {"min_pixels": 20, "min_pixels_at": [8, 16]}  # 5 px at 4x8
        assert len(generate_clicks(manifest, options=options, seed=0).of("b", "f0")) == 1

    def test_a_seed_moves_random_points_and_reruns_agree(self, manifest):
        options = OPTIONS | {"point": "random"}
        one, again, other = (
            clicks_digest(generate_clicks(manifest, options=options, seed=seed)) for seed in (0, 0, 1)
        )
        assert one == again != other

    def test_images_are_seeded_apart(self, manifest):
        twins = replace(manifest, clips=(manifest.clips[0], replace(manifest.clips[0], id="c")))
        table = generate_clicks(twins, options=OPTIONS | {"point": "random"}, seed=0)
        assert points(table.of("a", "f0")) != points(table.of("c", "f0"))

    def test_a_label_of_another_size(self, manifest):
        clips = tuple(replace(clip, width_px=9) for clip in manifest.clips)
        with pytest.raises(ValueError, match=r"a0.png: is 4x8 px \(HxW\), its frame 4x9"):
            generate_clicks(replace(manifest, clips=clips), options=OPTIONS, seed=0)

    def test_not_one_click(self, manifest):
        with pytest.raises(ValueError, match=r"has 3 targets, but not one click; lower clicks.min_pixels"):
            generate_clicks(manifest, options=OPTIONS | {"min_pixels": 99}, seed=0)


class TestPeople:
    def imported(self, manifest: Manifest, *rows: str) -> ClickTable:
        Path(manifest.root, "clicks.csv").write_text(
            "\n".join(("clip,frame,y,x,class", *rows)) + "\n", encoding="utf-8"
        )
        return generate_clicks(replace(manifest, click_file="clicks.csv"), options=OPTIONS, seed=0)

    def test_take_the_place_of_labels(self, manifest):
        table = self.imported(
            manifest, "a,f0,3,7,car", "a,0,0.5,1.4,0", "b,f1,1,1,road", "held_out,x,9,9,car"
        )
        assert {key: value.tolist() for key, value in table.frames.items()} == {
            ("a", "f0"): [(1, 1, 0, 0), (3, 7, 1, 0)]
        }
        assert table.options == {"click_file": "clicks.csv"}

    @pytest.mark.parametrize(
        ("row", "told"),
        [
            ("a,f0,4,1,car", r"clicks.csv, line 3: y = 4 lies outside the frame, expected 0..3 px"),
            ("a,f0,1,-1,car", r"line 3: x = -1 lies outside the frame, expected 0..7 px"),
            ("a,f0,one,1,car", r"line 3: y = one is no number; expected pixels"),
            ("a,f0,1,1,bus", r"line 3: class 'bus' is unknown; expected one of road, car, or an id 0..1"),
            ("a,f0,1,1,2", r"line 3: class '2' is unknown"),
        ],
    )
    def test_errors_name_the_line(self, manifest, row, told):
        with pytest.raises(ValueError, match=told):
            self.imported(manifest, "a,f0,1,1,car", row)


@pytest.fixture
def table(manifest) -> ClickTable:
    return generate_clicks(manifest, options=OPTIONS, seed=5)


class TestTable:
    def test_hdf5_round_trip(self, table, tmp_path):
        path = tmp_path / "results" / "train.h5"
        write_clicks(table, path)
        read = read_clicks(path)
        assert clicks_digest(read) == clicks_digest(table)
        assert {key: value.tolist() for key, value in read.frames.items()} == {
            key: value.tolist() for key, value in table.frames.items()
        }
        assert replace(read, frames={}) == replace(table, frames={})
        assert [entry.name for entry in path.parent.iterdir()] == ["train.h5"]

    def test_equal_tables_give_equal_files(self, table, tmp_path):
        backwards = replace(table, frames=dict(reversed(table.frames.items())))
        write_clicks(table, tmp_path / "a.h5")
        write_clicks(backwards, tmp_path / "b.h5")
        assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()

    def test_names_may_be_of_any_script(self, tmp_path):
        clicks = np.array([(1, 2, 0, 3)], POINT)
        table = ClickTable("train", ("straße",), {("čł", "日本"): clicks, ("a", "b"): clicks})
        write_clicks(table, tmp_path / "a.h5")
        assert set(read_clicks(tmp_path / "a.h5").frames) == {("čł", "日本"), ("a", "b")}

    def test_an_empty_table(self, tmp_path):
        write_clicks(ClickTable("train", ("road",), {}), tmp_path / "a.h5")
        read = read_clicks(tmp_path / "a.h5")
        assert (len(read), read.counts().tolist()) == (0, [0])

    def test_json_follows_its_schema(self, table, tmp_path):
        write_json(table, tmp_path / "train.json")
        written = json.loads((tmp_path / "train.json").read_text(encoding="utf-8"))
        Draft202012Validator(load_schema("clicks")).validate(written)
        mask = {"source": "mask", "who": "", "tool": "", "scribble": 0}
        assert written["frames"][0] == {
            "clip": "a",
            "frame": "f0",
            "clicks": [
                {"y": 2, "x": 2, "class_id": 0, "class": "road", "area": 16, **mask},
                {"y": 2, "x": 6, "class_id": 1, "class": "car", "area": 16, **mask},
            ],
        }

    def test_digest_counts_points_not_how_they_were_made(self, table):
        assert clicks_digest(replace(table, options={}, seed=9)) == clicks_digest(table)
        moved = {key: value.copy() for key, value in table.frames.items()}
        moved["a", "f0"]["x"][0] += 1
        assert clicks_digest(replace(table, frames=moved)) != clicks_digest(table)

    def test_what_is_no_click_table(self, table, tmp_path):
        with pytest.raises(FileNotFoundError, match="make it with `weclick clicks`"):
            read_clicks(tmp_path / "none.h5")
        (tmp_path / "text.h5").write_text("text")
        with pytest.raises(ValueError, match=r"text.h5: is no click table"):
            read_clicks(tmp_path / "text.h5")
        with h5py.File(tmp_path / "other.h5", "w") as file:
            file["flow"] = [1, 2]
        with pytest.raises(ValueError, match=r"other.h5: is no click table"):
            read_clicks(tmp_path / "other.h5")
        write_clicks(table, tmp_path / "new.h5")
        with h5py.File(tmp_path / "new.h5", "a") as file:
            file["clicks"].attrs["schema_version"] = 3
        with pytest.raises(ValueError, match=r"click table of version 3 .* expected version 2"):
            read_clicks(tmp_path / "new.h5")


@pytest.mark.skipif(not REAL.is_dir(), reason="the CamVid copy is not at hand")
def test_real_camvid_has_32_9_clicks_a_frame():
    dataset = open_dataset({"name": "camvid", "root": REAL})
    manifest = build_manifest(dataset, "train", 0, 1, reach_frames=0)
    options = {"min_pixels": 64, "min_pixels_at": None, "point": "centroid"}
    table = generate_clicks(manifest, options=options, seed=0)
    assert len(table) / 367 == pytest.approx(32.9, abs=0.05)
    scaled = generate_clicks(
        manifest, options=options | {"min_pixels": 512, "min_pixels_at": [1024, 2048]}, seed=0
    )
    assert len(scaled) > len(table)
