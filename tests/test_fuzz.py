"""Two hundred damaged files: each is read rightly or refused in our words, and none leaves half a file."""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from weclick.clicks import generate_clicks, read_clicks, write_clicks
from weclick.common.config import load_config
from weclick.common.errors import InputError
from weclick.datasets.frames import pack_frames
from weclick.manifest import Classes, Clip, Frame, Manifest
from weclick.manifest.read import read_label
from weclick.store import Store, file_digest, verify_entry
from weclick.train.data.windows import WindowReader

SIZE = (24, 32)
EACH = 40
"""Damages of each of five kinds of files."""


def damage(path: Path, rng: random.Random) -> str:
    """Damage a file in one of five ways; returns which."""
    content = bytearray(path.read_bytes())
    how = rng.choice(["flip", "flips", "cut", "empty", "random"])
    for _ in range({"flip": 1, "flips": 20}.get(how, 0)):
        content[rng.randrange(len(content))] ^= rng.randrange(1, 256)
    if how == "cut":
        content = content[: rng.randrange(1, len(content))]
    if how in ("empty", "random"):
        content = bytearray(rng.randbytes(0 if how == "empty" else len(content)))
    path.write_bytes(content)
    return how


def read_or_refuse(read: Callable[[], object], path: Path) -> bool:
    """Whether it was read; what refuses it must be ours, and name the path."""
    refusal = None
    try:
        read()
    except InputError as error:
        refusal = str(error)
    assert refusal is None or path.name in refusal
    return refusal is None


def half_written(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.startswith(".") or path.name.endswith(".tmp")]


def made_up(root: Path, image: str = "0.png") -> Manifest:
    """A clip of one frame, noise with three labelled bands."""
    noise = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    Image.fromarray(noise).save(root / image)
    label = np.repeat(np.arange(SIZE[0]) // 8, SIZE[1]).reshape(SIZE).astype(np.uint8)
    Image.fromarray(label).save(root / "label.png")
    return listed(root, image)


def listed(root: Path, image: str = "0.png") -> Manifest:
    """The manifest of what lies in a folder now, damaged or not."""
    frame = Frame("0", 0, image, digest=file_digest(root / image), label="label.png")
    clip = Clip("clip", (frame,), targets=(0,), height_px=SIZE[0], width_px=SIZE[1])
    classes = Classes(("a", "b", "c"), ((0, 0, 0), (9, 9, 9), (99, 99, 99)))
    return Manifest("made_up", str(root), "train", 0, 1, classes, (clip,))


@pytest.mark.parametrize("seed", range(EACH))
def test_images(tmp_path, seed):
    rng = random.Random(seed)
    name = rng.choice(["0.png", "0.jpg", "0.bmp", "0.tif", "0.webp"])
    made_up(tmp_path, name)
    damage(tmp_path / name, rng)
    manifest, store = listed(tmp_path, name), Store([tmp_path / "store"])
    read = read_or_refuse(lambda: pack_frames(manifest, chunk_px=16, store=store), tmp_path / name)
    entries = list(store.roots[0].rglob("entry.json"))
    assert len(entries) == read
    assert all(verify_entry(entry.parent) == [] for entry in entries)
    assert half_written(store.roots[0]) == []


@pytest.mark.parametrize("seed", range(EACH))
def test_labels(tmp_path, seed):
    rng = random.Random(1000 + seed)
    manifest, path = made_up(tmp_path), tmp_path / "label.png"
    damage(path, rng)
    frame = manifest.clips[0].frames[0]
    options = {"min_pixels": 1, "min_pixels_at": None, "point": "centroid"}
    if read_or_refuse(lambda: read_label(manifest, frame), path):
        assert set(np.unique(read_label(manifest, frame))) <= {0, 1, 2, 255}
        read_or_refuse(lambda: generate_clicks(manifest, options=options, seed=0), path)


@pytest.mark.parametrize("seed", range(EACH))
def test_click_tables(tmp_path, seed):
    rng = random.Random(2000 + seed)
    manifest = dataclasses.replace(made_up(tmp_path), click_file="clicks.csv")
    path = tmp_path / "clicks.csv"
    rows = [f"clip,0,{rng.randrange(24)},{rng.randrange(32)},{rng.choice('abc')}" for _ in range(9)]
    path.write_text("clip,frame,y,x,class\n" + "\n".join(rows) + "\n")
    table = generate_clicks(manifest, options={}, seed=0)
    if seed % 2:
        write_clicks(table, tmp_path / "train.h5")
        damage(tmp_path / "train.h5", rng)
        if read_or_refuse(lambda: read_clicks(tmp_path / "train.h5"), tmp_path / "train.h5"):
            np.testing.assert_array_equal(
                read_clicks(tmp_path / "train.h5").of("clip", "0"), table.of("clip", "0")
            )
        return
    damage(path, rng)

    def read() -> None:
        for points in generate_clicks(manifest, options={}, seed=0).frames.values():
            assert points["y"].max() < SIZE[0]
            assert points["x"].max() < SIZE[1]
            assert points["class_id"].max() < 3

    read_or_refuse(read, tmp_path)


OTHERS = [None, True, -1, 0.5, "text", [], {}, [1, "x"], {"x": 1}, float("nan"), 10**30, "2026-13-45"]


@pytest.mark.parametrize("seed", range(EACH))
def test_configurations(tmp_path, seed, repository):
    rng = random.Random(3000 + seed)
    path = tmp_path / "config.yaml"
    shutil.copy(repository / "config" / rng.choice(["demo.yaml", "camvid.yaml", "davis.yaml"]), path)
    if seed % 2:
        damage(path, rng)
    else:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        section = rng.choice(sorted(config))
        inside = config[section]
        key = rng.choice(sorted(inside))
        if rng.random() < 0.4:
            inside[f"{key}x"] = inside.pop(key)
        else:
            inside[key] = rng.choice(OTHERS)
        path.write_text(yaml.safe_dump(config))
    read_or_refuse(lambda: json.dumps(load_config(path), allow_nan=False), path)


@pytest.fixture(scope="module")
def whole(street, tmp_path_factory) -> tuple[Path, str]:
    """A store with the frames of one clip, and its key."""
    root = tmp_path_factory.mktemp("whole")
    train = dataclasses.replace(street.train, clips=street.train.clips[:1])
    (key,) = pack_frames(train, chunk_px=32, store=Store([root])).values()
    return root, key


@pytest.mark.parametrize("seed", range(EACH))
def test_store_entries(tmp_path, seed, whole):
    rng = random.Random(4000 + seed)
    root, key = whole
    shutil.copytree(root, tmp_path / "store")
    store = Store([tmp_path / "store"])
    entry = store.get("frames", key)
    right = [np.asarray(entry.array("rgb")[t]) for t in range(4)]
    path = rng.choice(sorted(p for p in entry.path.rglob("*") if p.is_file()))
    damage(path, rng) if rng.random() < 0.85 else path.unlink()
    if path.name == "entry.json" and not path.is_file():
        with pytest.raises(InputError, match="the store has no frames entry"):
            store.get("frames", key)
        return
    found: list[np.ndarray] = []

    def read() -> None:
        reader, whole_image = WindowReader(store), (slice(0, 64), slice(0, 96))
        found.extend(reader.read("frames", key, "rgb", range(4), whole_image).result().numpy())
        found.extend(store.get("frames", key).array("rgb")[t] for t in range(4))

    refused = not read_or_refuse(read, entry.path)
    same = not refused and all(np.array_equal(*each) for each in zip(found, right * 2, strict=True))
    assert same or verify_entry(entry.path)
