"""Manifests: files on disk in and out, digests that are remembered, trimming, shards."""

from __future__ import annotations

import json
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from PIL import Image

from weclick.common.schemas import load_schema
from weclick.datasets import Dataset, base, build_manifest, digests
from weclick.datasets.digests import file_digests
from weclick.manifest import (
    Classes,
    Clip,
    Frame,
    read_manifest,
    read_manifests,
    shard_of,
    write_manifest,
)

CLASSES = Classes(("road", "car"), ((128, 64, 128), (0, 0, 142)), (1,), {"ids": {"7": 0, "26": 1}})


def test_class_0_is_the_background_if_it_is_called_so():
    palette = ((0, 0, 0), (1, 1, 1))
    assert Classes(("background", "car"), palette).has_background
    assert not CLASSES.has_background
    assert not Classes(("car", "background"), palette).has_background


def make_clip(root: Path, name: str, numbers: range, labelled: tuple[int, ...] = (0,)) -> Clip:
    """Images of 4x6 px, each of its own content, and labels at the positions `labelled`."""
    (root / name).mkdir(parents=True)
    frames = []
    for i, number in enumerate(numbers):
        image = f"{name}/{number:03d}.png"
        Image.fromarray(np.full((4, 6, 3), number, np.uint8)).save(root / image)
        label = f"{name}/{number:03d}_label.png" if i in labelled else None
        if label:
            Image.fromarray(np.full((4, 6), 7, np.uint8)).save(root / label)
        frames.append(Frame(f"{number:03d}", number, image, label=label))
    return Clip(name, tuple(frames), targets=labelled)


def set_time_back(path: Path, before: os.stat_result) -> None:
    """Give a file its old time of change, some ticks of the file system's clock later."""
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    while path.stat().st_ctime_ns == before.st_ctime_ns:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture
def dataset(tmp_path) -> Dataset:
    root = tmp_path / "data"
    clips = tuple(make_clip(root, f"clip{i}", range(10 * i, 10 * i + 6), (0, 5)) for i in range(3))
    return Dataset("made_up", root, CLASSES, ("train",), lambda split: clips)


def build(
    dataset: Dataset, shard: int = 0, shards: int = 1, reach_frames: int = 1, remember: Path | None = None
):
    return build_manifest(dataset, "train", shard, shards, reach_frames=reach_frames, remember=remember)


class TestFile:
    def test_round_trip_and_schema(self, dataset, tmp_path):
        manifest = build(dataset)
        path = tmp_path / "results" / "0.json"
        write_manifest(manifest, path)
        assert read_manifest(path) == manifest
        Draft202012Validator(load_schema("manifest")).validate(json.loads(path.read_text(encoding="utf-8")))
        assert [entry.name for entry in path.parent.iterdir()] == ["0.json"]

    def test_a_click_file_is_named_with_its_digest(self, dataset, tmp_path):
        (dataset.root / "clicks.csv").write_text("clip,frame,y,x,class\n")
        manifest = build(replace(dataset, click_file="clicks.csv"))
        assert manifest.click_file_digest == sha256(b"clip,frame,y,x,class\n").hexdigest()
        write_manifest(manifest, tmp_path / "0.json")
        assert read_manifest(tmp_path / "0.json") == manifest
        Draft202012Validator(load_schema("manifest")).validate(
            json.loads((tmp_path / "0.json").read_text(encoding="utf-8"))
        )

    def test_another_version_is_refused(self, tmp_path):
        path = tmp_path / "0.json"
        path.write_text('{"schema_version": 99}')
        with pytest.raises(
            ValueError, match="schema_version is 99, expected 1; run `weclick manifest` again"
        ):
            read_manifest(path)

    def test_shards_of_different_splits_do_not_mix(self, dataset, tmp_path):
        manifest = build(dataset)
        write_manifest(manifest, tmp_path / "a.json")
        write_manifest(replace(manifest, split="val"), tmp_path / "b.json")
        with pytest.raises(ValueError, match=r"'val', while .* is of .*'train'"):
            read_manifests([tmp_path / "a.json", tmp_path / "b.json"])
        with pytest.raises(ValueError, match="no manifest given"):
            read_manifests([])


class TestShards:
    def test_together_they_are_the_split(self, dataset, tmp_path):
        parts = [build(dataset, shard, 4) for shard in range(4)]
        assert min(len(part.clips) for part in parts) == 0
        for part in parts:
            assert all(shard_of(clip.id, 4) == part.shard for clip in part.clips)
            write_manifest(part, tmp_path / f"{part.shard}.json")
        whole = read_manifests([tmp_path / f"{shard}.json" for shard in range(4)])
        assert whole == build(dataset)


class TestDigests:
    def test_are_sha256_of_content(self, dataset):
        frame = build(dataset).clips[0].frames[0]
        assert frame.digest == sha256((dataset.root / frame.image).read_bytes()).hexdigest()
        assert frame.label_digest == sha256((dataset.root / frame.label).read_bytes()).hexdigest()
        assert frame.instances_digest is None

    def test_a_second_run_reads_no_content(self, dataset, tmp_path, monkeypatch):
        monkeypatch.setattr("weclick.common.content.YOUNG_NS", 0)
        remember = tmp_path / "memory" / "digests.sqlite"
        read: list[Path] = []
        file_digest = digests.file_digest
        monkeypatch.setattr(digests, "file_digest", lambda path: read.append(path) or file_digest(path))
        first = build(dataset, remember=remember)
        assert len(read) == 3 * (4 + 2)
        read.clear()
        assert build(dataset, remember=remember) == first
        assert read == []
        changed = dataset.root / first.clips[1].frames[1].image
        os.utime(changed, ns=(0, changed.stat().st_mtime_ns + 1))
        assert build(dataset, remember=remember) == first
        assert read == [changed]

    def test_a_changed_file_has_a_new_digest(self, dataset, tmp_path):
        remember = tmp_path / "digests.sqlite"
        first = build(dataset, remember=remember)
        path = dataset.root / first.clips[0].frames[0].image
        path.write_bytes(path.read_bytes() + b"\0")
        second = build(dataset, remember=remember)
        assert first.clips[0].frames[0].digest != second.clips[0].frames[0].digest
        assert first.clips[1:] == second.clips[1:]

    @pytest.mark.parametrize("how", ["written", "renamed"])
    def test_an_edit_that_keeps_size_and_time_is_seen(self, tmp_path, monkeypatch, how):
        monkeypatch.setattr("weclick.common.content.YOUNG_NS", 0)
        path, remember = tmp_path / "a", tmp_path / "digests.sqlite"
        path.write_bytes(b"one")
        before = path.stat()
        assert file_digests([path], remember) == {path: sha256(b"one").hexdigest()}
        target = path if how == "written" else tmp_path / "b"
        target.write_bytes(b"two")
        set_time_back(target, before)
        target.replace(path)
        assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
        assert file_digests([path], remember) == {path: sha256(b"two").hexdigest()}

    def test_a_young_file_is_read_again(self, dataset, tmp_path, monkeypatch):
        """It may change once more within the same tick of the file system's clock."""
        remember = tmp_path / "digests.sqlite"
        young = make_clip(tmp_path, "young", range(3)).frames[0].image
        file_digests([tmp_path / young], remember)
        monkeypatch.setattr(digests, "file_digest", lambda _: "read")
        assert file_digests([tmp_path / young], remember) == {tmp_path / young: "read"}

    def test_the_memory_of_an_older_version_is_replaced(self, tmp_path):
        path, remember = tmp_path / "a", tmp_path / "digests.sqlite"
        path.write_bytes(b"one")
        with closing(sqlite3.connect(remember)) as memory, memory:
            memory.execute("CREATE TABLE digests (path TEXT, size_bytes INT, mtime_ns INT, digest TEXT)")
            memory.execute("INSERT INTO digests VALUES (?, 3, ?, 'x')", (str(path), path.stat().st_mtime_ns))
        for _ in range(2):
            assert file_digests([path], remember) == {path: sha256(b"one").hexdigest()}

    def test_names_of_any_encoding_are_remembered(self, tmp_path, monkeypatch):
        monkeypatch.setattr("weclick.common.content.YOUNG_NS", 0)
        path, remember = tmp_path / os.fsdecode("caf\u00e9".encode("latin-1")), tmp_path / "digests.sqlite"
        path.write_bytes(b"one")
        first = file_digests([path], remember)
        monkeypatch.setattr(digests, "file_digest", lambda _: "read again")
        assert file_digests([path], remember) == first

    def test_what_is_no_file_is_named(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(ValueError, match=r"pipe: named by the data set, but no regular file"):
            file_digests([tmp_path / "pipe"])

    def test_several_writers_share_the_memory(self, tmp_path, monkeypatch):
        monkeypatch.setattr("weclick.common.content.YOUNG_NS", 0)
        files = [tmp_path / f"{i}" for i in range(60)]
        for i, file in enumerate(files):
            file.write_bytes(bytes([i]))
        remember = tmp_path / "digests.sqlite"
        with ThreadPoolExecutor(6) as pool:
            parts = list(pool.map(lambda i: file_digests(files[i::6], remember), range(6)))
        monkeypatch.setattr(digests, "file_digest", pytest.fail)
        assert file_digests(files, remember) == {path: d for part in parts for path, d in part.items()}

    def test_what_is_no_memory_is_named(self, dataset, tmp_path):
        remember = tmp_path / "digests.sqlite"
        remember.write_text("not a data base, but text that is long enough to be looked at" * 20)
        with pytest.raises(ValueError, match=r"is no memory of digests .* delete it"):
            build(dataset, remember=remember)


class TestTrimming:
    @pytest.mark.parametrize(
        ("reach_frames", "numbers"), [(0, [0, 5]), (1, [0, 1, 4, 5]), (2, [0, 1, 2, 3, 4, 5])]
    )
    def test_keeps_what_is_near_a_target(self, dataset, reach_frames, numbers):
        clip = build(dataset, reach_frames=reach_frames).clips[0]
        assert [frame.number for frame in clip.frames] == numbers
        assert [clip.frames[i].number for i in clip.targets] == [0, 5]

    def test_reach_is_in_frame_numbers_not_positions(self):
        frames = tuple(Frame(str(n), n, f"{n}.png") for n in (0, 2, 3, 30))
        clip = base.trim(Clip("c", frames, scored=(2,)), 2)
        assert ([frame.number for frame in clip.frames], clip.scored) == ([2, 3], (1,))

    def test_a_clip_without_targets_is_left_out(self, dataset):
        clips = dataset.clips("train")
        idle = replace(dataset, list_clips=lambda split: (replace(clips[0], targets=()), *clips[1:]))
        assert [clip.id for clip in build(idle).clips] == ["clip1", "clip2"]


class TestErrors:
    def test_a_missing_file(self, dataset):
        (dataset.root / "clip0" / "001.png").unlink()
        with pytest.raises(FileNotFoundError, match=r"001.png: named by the data set, but not there"):
            build(dataset)

    def test_what_is_no_image(self, dataset):
        (dataset.root / "clip0" / "000.png").write_text("no image")
        with pytest.raises(ValueError, match=r"000.png: cannot be read as an image"):
            build(dataset)

    def test_an_empty_split(self, dataset):
        with pytest.raises(ValueError, match="split 'train' has 0 clips, but no labelled frame"):
            build(replace(dataset, list_clips=lambda split: ()))


def test_positions_by_name_and_number():
    clip = Clip("c", (Frame("b_5", 5, "x"), Frame("6", 7, "y")))
    assert clip.positions() == {"b_5": 0, "5": 0, "6": 1, "7": 1}


def test_shrinking_shows_in_sizes_and_digests(dataset):
    """Every key of the store follows from the digests, so none can be confused with full size."""
    full, half = build(dataset), build(replace(dataset, shrink=2))
    assert half.shrink == 2
    for a, b in zip(full.clips, half.clips, strict=True):
        assert [f"{frame.digest}/2" for frame in a.frames] == [frame.digest for frame in b.frames]
        assert b.size == (round(a.height_px / 2 + 0.01), round(a.width_px / 2 + 0.01))
