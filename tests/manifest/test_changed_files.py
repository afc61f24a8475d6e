"""Files that were exchanged after their manifest was made: one error, whoever reads them."""

import dataclasses
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from weclick.common.content import ChangedFileError
from weclick.datasets import build_manifest, open_dataset
from weclick.datasets.folder import CLASSES_EXAMPLE
from weclick.manifest import Manifest
from weclick.manifest.read import read_clip, read_frame, read_instances, read_label
from weclick.manifest.video import video_writer

SIZE = (32, 48)
CHANGED = r"changed since its digest was taken .* run `weclick manifest` again"


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), np.uint8)


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def save_video(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with video_writer(path, Fraction(25)) as write:
        for i in range(6):
            write(noise(seed + i))


@pytest.fixture
def manifest(tmp_path) -> Manifest:
    """A clip `a` of four BMP files with label and instances on the first, and a clip `v` from a video."""
    for i in range(4):
        save(tmp_path / "frames" / "a" / f"{i}.bmp", noise(i))
    save_video(tmp_path / "videos" / "v.mp4", 0)
    for clip in "av":
        save(tmp_path / "labels" / clip / "0.png", np.zeros(SIZE, np.uint8))
        save(tmp_path / "instances" / clip / "0.png", np.full(SIZE, 1001, np.uint16))
    (tmp_path / "classes.yaml").write_text(CLASSES_EXAMPLE)
    dataset = open_dataset({"name": "folder", "root": tmp_path, "held_out": "other_frames"})
    return build_manifest(dataset, "train", 0, 1, reach_frames=5)


def exchange(path: Path, content: bytes) -> None:
    """Write other content of the same size, and set the old time back."""
    before = path.stat()
    path.write_bytes(content + bytes(before.st_size - len(content)))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


def as_bytes(array: np.ndarray, path: Path) -> bytes:
    save(path, array)
    return path.read_bytes()


def test_what_is_as_it_was_is_read(manifest):
    images, video = manifest.clips
    np.testing.assert_array_equal([*read_clip(manifest, images)], [noise(i) for i in range(4)])
    assert len([*read_clip(manifest, video)]) == 6
    assert read_label(manifest, images.frames[0]).max() == 0
    assert read_instances(manifest, images.frames[0]).min() == 1001


def test_an_exchanged_frame(manifest, tmp_path):
    clip = manifest.clips[0]
    exchange(manifest.path(clip.frames[1].image), as_bytes(noise(9), tmp_path / "other.bmp"))
    read_frame(manifest, clip, 0)
    for read in (lambda: read_frame(manifest, clip, 1), lambda: [*read_clip(manifest, clip)]):
        with pytest.raises(ChangedFileError, match=rf"a/1\.bmp: {CHANGED}"):
            read()


def test_a_frame_that_is_replaced_while_its_clip_is_read(manifest, tmp_path):
    frames = read_clip(manifest, manifest.clips[0])
    next(frames)
    save(tmp_path / "other.bmp", noise(9))
    (tmp_path / "other.bmp").replace(manifest.path(manifest.clips[0].frames[2].image))
    next(frames)
    with pytest.raises(ChangedFileError, match=rf"a/2\.bmp: {CHANGED}"):
        next(frames)


def test_shrunk_frames_are_compared_with_their_file(tmp_path, manifest):
    dataset = open_dataset({"name": "folder", "root": tmp_path, "held_out": "other_frames", "shrink": 2})
    small = build_manifest(dataset, "train", 0, 1, reach_frames=5)
    assert [len([*read_clip(small, clip)]) for clip in small.clips] == [4, 6]
    save(small.path(small.clips[0].frames[0].image), noise(9))
    with pytest.raises(ChangedFileError, match=rf"a/0\.bmp: {CHANGED}"):
        read_frame(small, small.clips[0], 0)


@pytest.mark.parametrize("kind", ["label", "instances"])
def test_an_exchanged_annotation(manifest, kind):
    frame = manifest.clips[0].frames[0]
    save(manifest.path(getattr(frame, kind)), np.ones(SIZE, np.uint8))
    with pytest.raises(ChangedFileError, match=rf"{kind}s?/a/0\.png: {CHANGED}"):
        {"label": read_label, "instances": read_instances}[kind](manifest, frame)


def test_an_exchanged_video(manifest):
    clip = manifest.clips[1]
    save_video(manifest.path(clip.frames[0].image), 50)
    with pytest.raises(ChangedFileError, match=rf"v\.mp4: {CHANGED}"):
        next(read_clip(manifest, clip))


@pytest.mark.parametrize("how", ["written", "renamed"])
def test_a_video_that_is_replaced_while_it_is_decoded(manifest, tmp_path, how):
    clip = manifest.clips[1].restrict(range(4))
    path, frames = manifest.path(clip.frames[0].image), read_clip(manifest, clip)
    next(frames)
    save_video(tmp_path / "other.mp4", 50)
    if how == "renamed":
        (tmp_path / "other.mp4").replace(path)
    else:
        path.write_bytes((tmp_path / "other.mp4").read_bytes())
    seen = [0]
    with pytest.raises(ChangedFileError, match=rf"v\.mp4: {CHANGED}"):
        seen.extend(1 for _ in frames)
    assert len(seen) < len(clip.frames), "the last frame comes after the second look, so no entry is whole"


def test_a_video_that_was_only_touched_is_read(manifest):
    clip = manifest.clips[1]
    frames = read_clip(manifest, clip)
    next(frames)
    manifest.path(clip.frames[0].image).touch()
    assert len([*frames]) == 5


def test_a_lost_video(manifest):
    clip = manifest.clips[1]
    manifest.path(clip.frames[0].image).unlink()
    with pytest.raises(ValueError, match=r"v\.mp4: cannot be read as a video .* restore the file"):
        next(read_clip(manifest, clip))


def test_frames_without_digests_are_read_as_they_are(manifest):
    """Adapters list clips without digests, and notebooks look at them."""
    clip = manifest.clips[0]
    bare = dataclasses.replace(clip, frames=tuple(dataclasses.replace(f, digest="") for f in clip.frames))
    save(manifest.path(clip.frames[0].image), noise(9))
    np.testing.assert_array_equal(read_frame(manifest, bare, 0), noise(9))
