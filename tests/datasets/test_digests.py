"""What reruns a shard: content, where the manifest stage has remembered digests, and not size or time."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.rights import open_folder, without_rights
from weclick.datasets import build_manifest, digests, listing_digest, open_dataset
from weclick.datasets.folder import CLASSES_EXAMPLE
from weclick.manifest import write_manifest

SIZE = (16, 24)


class Listed:
    """The split `train` of a folder: its manifest in results, and the digest that reruns it."""

    def __init__(self, folder: Path, results: Path):
        self.folder, self.results, self.made = folder, results, results / "manifest" / "train" / "0.json"
        self.memory = results / "manifest" / "digests.sqlite"

    def open(self):
        return open_dataset({"name": "folder", "root": self.folder, "val_clips": ["dog"]})

    def digest(self) -> str:
        return listing_digest(self.open(), "train", 0, 1, remember=self.memory, made=self.made)

    def make(self) -> None:
        made = build_manifest(self.open(), "train", 0, 1, reach_frames=4, remember=self.memory)
        write_manifest(made, self.made)


def edit(path: Path) -> None:
    """Change the last byte, or change it back; size and time stay."""
    before, content = path.stat(), path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    while path.stat().st_ctime_ns == before.st_ctime_ns:  # a tick of the file system's clock
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Clips cat and dog of 6 frames, each with labels on 0 and 3."""
    for clip in ("cat", "dog"):
        for kind, numbers, shape in (("frames", range(6), (*SIZE, 3)), ("labels", (0, 3), SIZE)):
            (tmp_path / kind / clip).mkdir(parents=True)
            for number in numbers:
                image = Image.fromarray(np.full(shape, number % 2, np.uint8))
                image.save(tmp_path / kind / clip / f"{clip}_{number:03d}.png")
    (tmp_path / "classes.yaml").write_text(CLASSES_EXAMPLE)
    return tmp_path


@pytest.fixture(autouse=True)
def _old_enough(monkeypatch):
    monkeypatch.setattr("weclick.common.content.YOUNG_NS", 0)


@pytest.fixture
def run(folder, tmp_path):
    return Listed(folder, tmp_path / "results")


@pytest.mark.parametrize("name", ["labels/cat/cat_003.png", "frames/cat/cat_002.png"])
def test_an_edit_of_the_same_size_and_time_counts_until_the_next_one(folder, run, name):
    before = run.digest()
    run.make()
    assert run.digest() == before, "a first manifest changes nothing"
    edit(folder / name)
    edited = run.digest()
    assert edited != before
    assert run.digest() == edited, "looking at it changes nothing"
    run.make()
    assert run.digest() == edited, "nor does the manifest that it asked for"
    edit(folder / name)
    assert run.digest() == before, "the first content is back"
    run.make()
    assert run.digest() == before


def test_a_file_that_was_young_when_it_was_digested(folder, run, monkeypatch):
    monkeypatch.setattr("weclick.common.content.YOUNG_NS", 10**12)
    run.make()
    before = run.digest()
    edit(folder / "labels/cat/cat_003.png")
    assert run.digest() != before


def test_what_was_touched_copied_or_restored_is_the_same(folder, run):
    run.make()
    before = run.digest()
    for path in (folder / "frames" / "cat").iterdir():
        path.touch()
    image = folder / "frames" / "cat" / "cat_000.png"
    content = image.read_bytes()
    image.unlink()
    image.write_bytes(content)
    assert run.digest() == before


def test_only_what_changed_is_read(folder, run, monkeypatch):
    run.make()
    edit(folder / "frames" / "cat" / "cat_002.png")
    read: list[Path] = []
    monkeypatch.setattr(digests, "file_digest", lambda path: read.append(path) or "0" * 64)
    run.digest(), run.digest()
    assert [path.name for path in read] == ["cat_002.png"]


def test_without_a_memory_nothing_is_read(run, monkeypatch):
    monkeypatch.setattr(digests, "file_digest", pytest.fail)
    run.digest()
    assert not run.results.exists(), "a look writes nothing"


@pytest.mark.parametrize("edited", [False, True])
def test_a_lost_memory_is_made_of_the_manifest(folder, run, edited):
    run.make()
    before = run.digest()
    run.memory.unlink()
    if edited:
        edit(folder / "labels/cat/cat_003.png")
    found = run.digest()
    assert (found != before) == edited
    run.make()
    assert run.digest() == found


def test_whoever_may_not_write_still_sees_an_edit(folder):
    with open_folder() as there:
        shutil.copytree(folder, there / "data")
        run = Listed(there / "data", there / "results")
        run.make()
        before = run.digest()
        edit(there / "data/labels/cat/cat_003.png")
        for path in there.rglob("*"):
            path.chmod(0o755)
        with without_rights():
            assert run.digest() != before
