"""Videos that cannot be decoded or change on the way; paths with spaces and letters beyond ASCII."""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from weclick import cli
from weclick.common.errors import InputError
from weclick.datasets import build_manifest, open_dataset
from weclick.datasets.frames import pack_frames
from weclick.store import Store


def write_video(path: Path, sizes: list[tuple[int, int]]) -> Path:
    """A Motion JPEG file; every frame has the size that is given for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.height, stream.width, stream.pix_fmt = *sizes[0], "yuvj420p"
        for number, (height, width) in enumerate(sizes):
            encoder = av.CodecContext.create("mjpeg", "w")
            encoder.height, encoder.width, encoder.pix_fmt = height, width, "yuvj420p"
            encoder.time_base = Fraction(1, 10)
            frame = av.VideoFrame.from_ndarray(np.full((height, width, 3), 90, np.uint8), format="rgb24")
            for packet in encoder.encode(frame.reformat(format="yuvj420p")):
                packet.stream, packet.pts, packet.dts = stream, number, number
                container.mux(packet)
    return path


@pytest.fixture
def root(tmp_path) -> Path:
    (tmp_path / "classes.yaml").write_text("classes: [{name: all, color: [0, 0, 0]}]")
    for i in (0, 3):
        path = tmp_path / "labels" / "film" / f"{i:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((32, 48), np.uint8)).save(path)
    return tmp_path


def pack(root: Path) -> dict[str, str]:
    dataset = open_dataset({"name": "folder", "root": root, "held_out": "other_frames"})
    manifest = build_manifest(dataset, "train", 0, 1, reach_frames=4)
    return pack_frames(manifest, chunk_px=32, store=Store([root / "store"]))


def test_a_whole_video_is_read(root):
    write_video(root / "videos" / "film.avi", [(32, 48)] * 4)
    assert set(pack(root)) == {"film"}


def test_a_video_that_changes_size_in_the_middle(root):
    write_video(root / "videos" / "film.avi", [(32, 48), (32, 48), (16, 48), (32, 48)])
    told = r"film\.avi: frame 00002 is 16x48 px \(HxW\), but its clip film began with 32x48; .*cut the clip"
    with pytest.raises(InputError, match=told):
        pack(root)
    assert not [path for path in (root / "store").rglob("*") if path.is_file()]


@pytest.mark.parametrize("content", [b"no video", bytes(5000)])
def test_what_is_no_video(root, content):
    (root / "videos").mkdir()
    (root / "videos" / "film.mp4").write_bytes(content)
    with pytest.raises(InputError, match=r"film\.mp4: cannot be opened as a video .*re-encode it"):
        pack(root)


def test_a_video_that_is_cut_short(root):
    path = write_video(root / "videos" / "film.avi", [(32, 48)] * 4)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"film\.avi|labels"):
        pack(root)


def test_a_whole_run_in_a_folder_with_spaces_and_umlauts(tmp_path, tiny_config, monkeypatch, capsys):
    home = tmp_path / "mein Projekt ü"
    home.mkdir()
    monkeypatch.chdir(home)
    monkeypatch.delenv("WECLICK_CACHE", raising=False)
    config = tiny_config | {
        "data": {**tiny_config["data"], "root": str(home / "Daten für 1")},
        "cache": {"roots": [str(home / "Lager ß")]},
    }
    (home / "größe 1.yaml").write_text(json.dumps(config))

    def run(verb: str, output: str | None, *words: str) -> None:
        place = ["--output", str(home / "Ergebnis é" / output)] if output else []
        given = [str(home / "Ergebnis é" / w) if "/" in w else w for w in words]
        monkeypatch.setattr(sys, "argv", ["weclick", verb, "--config", "größe 1.yaml", *place, *given])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert not end.value.code, capsys.readouterr().err

    def indexed(stage: str, split: str) -> None:
        run(stage, f"{stage}/{split}/0.json", "--manifest", f"manifest/{split}/0.json")

    run("toy", None)
    for split in ("train", "val"):
        run("manifest", f"manifest/{split}/0.json", "--split", split)
        indexed("flow", split)
    indexed("frames", "train")
    run("clicks", "clicks/train.h5", "--manifest", "manifest/train/0.json")
    data = ["--manifest", "manifest/train/0.json", "--clicks", "clicks/train.h5"]
    data += ["--frames", "frames/train/0.json", "--val-manifest", "manifest/val/0.json"]
    run("teacher", "teacher/", *data)
    weights = ["--manifest", "manifest/train/0.json", "--teacher", "teacher/model.safetensors"]
    run("soft-labels", "soft_labels/train/0.json", *weights)
    caches = ["--flow", "flow/train/0.json", "--soft-labels", "soft_labels/train/0.json"]
    run("student", "student/", *data, *caches)
    scored = ["--manifest", "manifest/val/0.json", "--flow", "flow/val/0.json"]
    run("evaluate", "evaluation/", *scored, "--student", "student/model.safetensors")
    assert "miou" in json.loads(
        (home / "Ergebnis é" / "evaluation" / "metrics.json").read_text(encoding="utf-8")
    )
