"""A click on the picture as people see it lands on that pixel in training, also where the file is turned."""

from __future__ import annotations

import json
import struct
import uuid
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from weclick.clicks import generate_clicks
from weclick.datasets import build_manifest, open_dataset
from weclick.datasets.frames import pack_frames
from weclick.manifest.video import video_writer
from weclick.manifest.window import Window
from weclick.store import Store
from weclick.train.data.stream import Caches, Stream

STORED = HEIGHT, WIDTH = 32, 64
"""A sensor's picture. It is bright in SPOT alone, and is to be turned clockwise by 90 degrees."""
SPOT = (slice(4, 12), slice(40, 56))
SEEN = (48, HEIGHT - 1 - 8)
"""The middle of the spot (y, x) as people see it."""


def stored() -> np.ndarray:
    image = np.zeros((*STORED, 3), np.uint8)
    image[SPOT] = 255
    return image


def write_images(root: Path) -> None:
    (root / "frames" / "a").mkdir(parents=True)
    for t in range(3):
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(stored()).save(root / "frames" / "a" / f"{t:05d}.png", exif=exif)


def write_film(root: Path) -> None:
    (root / "videos").mkdir(parents=True)
    path = root / "videos" / "a.mp4"
    with video_writer(path, Fraction(25)) as write:
        for _ in range(3):
            write(stored())
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40  # of the track, in its header
    one = 2**16
    content[matrix : matrix + 36] = struct.pack(">9i", 0, one, 0, -one, 0, 0, HEIGHT * one, 0, 2**30)
    path.write_bytes(content)


@pytest.mark.parametrize("write", [write_images, write_film])
def test_a_click_lands_on_the_pixel_that_was_clicked(tmp_path, write):
    write(tmp_path)
    (tmp_path / "classes.yaml").write_text("classes: [{name: dark, color: [0, 0, 0]}]")
    click = {"id": str(uuid.uuid4()), "time": "2026", "clip": "a", "frame": "00001", "class": "dark"}
    click |= {"y": SEEN[0], "x": SEEN[1], "source": "human", "who": "", "tool": ""}
    (tmp_path / "clicks.jsonl").write_text(json.dumps(click) + "\n")
    data = {"name": "folder", "root": tmp_path, "held_out": "other_frames"}
    manifest = build_manifest(open_dataset(data), "train", 0, 1, reach_frames=1)
    assert manifest.clips[0].size == (WIDTH, HEIGHT)
    table = generate_clicks(manifest, options={}, seed=0)
    assert table.of("a", "00001").tolist() == [(*SEEN, 0, 0)]
    store = Store([tmp_path / "store"])
    stream = Stream(
        manifest,
        table,
        Caches(store, pack_frames(manifest, chunk_px=16, store=store), {}, {}),
        window=Window(frames=1),
        options={"batch_size": 1, "crop": [64, 32], "scale": [0.8, 1.6], "flip": True, "colour_jitter": 0},
        stride_px=4,
        occlusion="none",
        seed=0,
    )
    seen = 0
    for batch in stream.batches(0, 8, torch.device("cpu")):
        bright = batch.images[0].mean(0) > 1.5
        for _, y, x in batch.points.round().long().tolist():
            assert bright[min(y, 63), min(x, 31)]
            seen += 1
        assert bright.float().mean() < 0.35
    assert seen >= 4
