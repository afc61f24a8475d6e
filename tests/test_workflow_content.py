"""The workflow on people's own files: content decides what runs again, and what an entry is made of."""

import os
import re
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.workflow import Project, make_project
from weclick.clicks.tags import read_tags
from weclick.datasets.folder import CLASSES_EXAMPLE
from weclick.store import Store, read_index

SIZE = (32, 48)
XML = "<annotation><object><name>{}</name></object></annotation>"
LABEL, FRAME = "labels/a/001.png", "frames/a/002.bmp"


def edit(path: Path) -> None:
    """Exchange two rows of an image that is stored as it is; the size of the file and its time stay."""
    before, image = path.stat(), np.asarray(Image.open(path)).copy()
    image[[0, -1]] = image[[-1, 0]]
    Image.fromarray(image).save(path, **({"compress_level": 0} if path.suffix == ".png" else {}))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


@pytest.fixture
def project(tmp_path, repository, tiny_config) -> Project:
    """Clips a, b, c and d of three BMP frames with labels; d is held out. There are two shards."""
    rng = np.random.default_rng(0)
    for clip in "abcd":
        for kind in ("frames", "labels"):
            (tmp_path / "mine" / kind / clip).mkdir(parents=True)
        for t in range(3):
            image = Image.fromarray(rng.integers(0, 256, (*SIZE, 3), np.uint8))
            image.save(tmp_path / f"mine/frames/{clip}/{t:03d}.bmp")
            label = Image.fromarray(rng.integers(0, 2, SIZE, np.uint8))
            label.save(tmp_path / f"mine/labels/{clip}/{t:03d}.png", compress_level=0)
    (tmp_path / "mine" / "classes.yaml").write_text(CLASSES_EXAMPLE)
    data = {"name": "folder", "root": str(tmp_path / "mine"), "val_clips": ["d"], "shards": 2}
    clicks = {"min_pixels": 1, "min_pixels_at": None}
    return make_project(tmp_path / "project", repository, {**tiny_config, "data": data, "clicks": clicks})


def planned(project: Project, *words: str) -> dict[str, int]:
    """Rule -> jobs of a dry run, up to clicks and frames if no words say otherwise."""
    told = project.snakemake(*(words or ("clicks", "frames")), "-n")
    table = told.partition("Job stats:")[2].partition("total")[0]
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}


@pytest.mark.slow
def test_an_edit_of_the_same_size_and_time_reruns_its_shard_alone(project, tmp_path):
    mine = tmp_path / "mine"
    project.snakemake("clicks", "frames")
    for path in mine.rglob("*.*"):
        path.touch()
    assert planned(project) == {}, "what was only touched reruns nothing"
    for name in (LABEL, FRAME):
        edit(mine / name)
        assert planned(project) == {"manifest_shard": 1, "frames_shard": 1, "clicks": 1, "frames": 1}
    before = project.entries()["frames"]
    project.snakemake("clicks", "frames")
    assert planned(project) == {}
    store, index = Store([project.root / "store"]), project.root / "results/frames/train"
    key = read_index(sorted(index.glob("*.json")), "frames")["a"]
    assert project.entries()["frames"] - before == {key}, "the edited clip, and no other, was packed again"
    np.testing.assert_array_equal(store.get("frames", key).array("rgb")[2], Image.open(mine / FRAME))


@pytest.mark.slow
def test_an_edit_of_what_tells_tags_reruns_them_alone(tmp_path, repository, tiny_config):
    """A data set of tags and nothing else, first from VOC XML and then from a table."""
    mine = tmp_path / "mine"
    for clip in "ab":
        (mine / "frames" / clip).mkdir(parents=True)
        (mine / "Annotations" / clip).mkdir(parents=True)
        Image.new("RGB", SIZE).save(mine / "frames" / clip / "000.png")
        (mine / "Annotations" / clip / "000.xml").write_text(XML.format("car"))
    (mine / "classes.yaml").write_text(CLASSES_EXAMPLE)
    (mine / "tags.csv").write_text("clip,frame,class\na,,car\nb,,car\n")
    data = {"name": "folder", "root": str(mine), "held_out": "other_frames"}
    config = {**tiny_config, "data": data, "tags": {"source": "voc"}}
    project = make_project(tmp_path / "project", repository, config)
    project.snakemake("tags")
    tags = project.root / "results" / "tags" / "train.h5"
    assert read_tags(tags).rows == {("a", "000"): {1}, ("b", "000"): {1}}

    path = mine / "Annotations" / "a" / "000.xml"
    before = path.stat()
    path.touch()
    assert planned(project, "tags") == {}, "what was only touched reruns nothing"
    path.write_text(XML.format(" 0 "))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert planned(project, "tags") == {"tags": 1}

    table = ("--config", "tags={source: file}")
    project.snakemake("tags", *table)
    assert read_tags(tags).rows == {("a", ""): {1}, ("b", ""): {1}}
    assert planned(project, "tags", *table) == {}
    (mine / "tags.csv").write_text("clip,frame,class\na,,car\nb,,background\n")
    assert planned(project, "tags", *table) == {"tags": 1}
    (mine / "tags.csv").write_text("clip,frame,class\na,,car\nc,,car\n")
    done = subprocess.run(
        project.command("tags", "-n", *table), cwd=project.root, env=project.environment, capture_output=True
    )
    assert done.returncode == 1
    assert b"tags.csv, line 3: clip 'c' is not on disk" in done.stdout + done.stderr


def weclick(project: Project, *words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", "from weclick.cli import main; main()", *words]
    change = ("--config", "config/tiny.yaml")
    return subprocess.run(
        [*command, *change], cwd=project.root, env=project.environment, capture_output=True, text=True
    )


def test_a_frame_exchanged_between_the_stages_is_in_no_entry(project, tmp_path):
    project.snakemake("manifest")
    edit(tmp_path / "mine" / FRAME)
    shard = next(p for p in project.root.glob("results/manifest/train/*.json") if '"a"' in p.read_text())
    done = weclick(project, "frames", "--manifest", str(shard), "--output", "by_hand.json")
    assert done.returncode != 0
    assert re.search(r"002\.bmp: changed since .* run `weclick\s+manifest` again", done.stderr)
    assert "Traceback" not in done.stderr
    project.snakemake("frames")
    store = Store([project.root / "store"])
    for key in project.entries()["frames"]:
        entry = store.get("frames", key)
        files = {sha256(p.read_bytes()).hexdigest(): p for p in (tmp_path / "mine/frames").rglob("*.bmp")}
        for t, digest in enumerate(entry.meta["inputs"]["frames"]):
            np.testing.assert_array_equal(entry.array("rgb")[t], Image.open(files[digest]))
