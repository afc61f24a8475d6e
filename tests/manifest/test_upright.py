"""Pictures that say how to turn them, and pictures too large to be read."""

from __future__ import annotations

import json
import resource
import struct
import zlib
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from weclick.common.errors import InputError
from weclick.common.schemas import schema_fault
from weclick.datasets import build_manifest, open_dataset
from weclick.datasets.frames import frames_key, pack_frames, unpacked_key
from weclick.manifest import Manifest, read_manifest, write_manifest
from weclick.manifest.images import _tell_dark, image_size, read_ids, read_image
from weclick.manifest.read import read_clip, read_frame
from weclick.manifest.upright import LARGEST_PX, upright, upright_size
from weclick.store import Store, file_digest

STORED = np.zeros((6, 10, 3), np.uint8)
STORED[:2, :3] = 250, 0, 0
STORED[:2, 7:] = 0, 250, 0
STORED[4:, :3] = 0, 0, 250
"""Its upper left corner is red, the upper right one green, the lower left one blue."""

TURNED = {
    2: [["green", "red"], ["black", "blue"]],
    3: [["black", "blue"], ["green", "red"]],
    4: [["blue", "black"], ["red", "green"]],
    5: [["red", "blue"], ["green", "black"]],
    6: [["blue", "red"], ["black", "green"]],
    7: [["black", "green"], ["blue", "red"]],
    8: [["green", "black"], ["red", "blue"]],
}
"""Corners of the turned picture, as EXIF 2.3 defines the orientations."""


def save(path: Path, orientation: int, pixels: np.ndarray = STORED) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {".webp": {"lossless": True}, ".jpg": {"quality": 95, "subsampling": 0}}
    Image.fromarray(pixels).save(path, exif=exif, **lossless.get(path.suffix, {}))
    return path


def corners(image: np.ndarray) -> list[list[str]]:
    def name(pixel: np.ndarray) -> str:
        return ("red", "green", "blue")[pixel.argmax()] if pixel.max() > 120 else "black"

    return [[name(image[y, x]) for x in (0, -1)] for y in (0, -1)]


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", TURNED)
def test_an_image_is_turned_as_it_says(tmp_path, suffix, orientation):
    path = save(tmp_path / f"a{suffix}", orientation)
    image = read_image(path)
    assert corners(image) == TURNED[orientation]
    assert image_size(path) == image.shape[:2] == upright_size(6, 10, orientation)
    assert corners(upright(STORED, orientation)) == TURNED[orientation]
    np.testing.assert_array_equal(image, np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB")))


@pytest.mark.parametrize("orientation", [1, 0, 9])
def test_an_image_that_says_nothing_of_use_stays(tmp_path, orientation):
    path = save(tmp_path / "a.png", orientation)
    np.testing.assert_array_equal(read_image(path), STORED)
    assert image_size(path) == (6, 10)


def test_a_png_may_tell_it_behind_its_pixels(tmp_path):
    plain = BytesIO()
    Image.fromarray(STORED).save(plain, "PNG")
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = plain.getvalue()
    path = tmp_path / "a.png"
    path.write_bytes(whole[:-12] + png_chunk(b"eXIf", exif.tobytes()[6:]) + whole[-12:])
    assert corners(read_image(path)) == TURNED[6]
    assert image_size(path) == (10, 6)


def test_damaged_exif_turns_nothing(tmp_path):
    Image.fromarray(STORED).save(tmp_path / "a.png", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff no directory")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), STORED)
    assert image_size(tmp_path / "a.png") == (6, 10)


def test_a_label_is_turned_by_its_own_word(tmp_path):
    path = save(tmp_path / "a.png", 6, np.arange(6, dtype=np.uint8).reshape(2, 3))
    assert read_ids(path).tolist() == [[3, 0], [4, 1], [5, 2]]


def folder_of(root: Path, orientations: list[int]) -> Manifest:
    for name in ("a", "val"):
        for t, orientation in enumerate(orientations):
            save(root / "frames" / name / f"{t}.jpg", orientation)
        label = root / "labels" / name / "0.png"
        label.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros(image_size(root / "frames" / name / "0.jpg"), np.uint8)).save(label)
    (root / "classes.yaml").write_text("classes: [{name: all, color: [0, 0, 0]}]")
    dataset = open_dataset({"name": "folder", "root": root, "val_clips": ["val"]})
    return build_manifest(dataset, "train", 0, 1, reach_frames=4, remember=root / "digests.sqlite")


@pytest.mark.parametrize("orientation", [3, 6])
def test_turned_frames_have_keys_of_their_own(tmp_path, orientation):
    manifest = folder_of(tmp_path, [orientation] * 3)
    again = folder_of(tmp_path, [orientation] * 3)  # out of the memory of digests
    assert manifest == again
    (clip,) = manifest.clips
    assert all(frame.digest.endswith(f"@{orientation}") for frame in clip.frames)
    assert clip.size == upright_size(6, 10, orientation)
    plain = replace(clip, frames=tuple(replace(f, digest=f.digest[:64]) for f in clip.frames))
    assert unpacked_key(plain) != unpacked_key(clip)
    assert frames_key(plain, 256) != frames_key(clip, 256)
    write_manifest(manifest, tmp_path / "m.json")
    assert read_manifest(tmp_path / "m.json") == manifest
    assert not schema_fault(json.loads((tmp_path / "m.json").read_text()), "manifest")


def test_frames_that_say_nothing_keep_their_keys(tmp_path):
    (clip,) = folder_of(tmp_path, [1, 1]).clips
    files = [tmp_path / frame.image for frame in clip.frames]
    assert [frame.digest for frame in clip.frames] == [file_digest(path) for path in files]


def test_packed_and_unpacked_frames_are_upright(tmp_path):
    manifest = folder_of(tmp_path, [6, 6, 6])
    (clip,) = manifest.clips
    store = Store([tmp_path / "store"])
    entry = store.get("frames", pack_frames(manifest, chunk_px=16, store=store)["a"])
    assert [corners(entry.array("rgb")[t]) for t in range(3)] == [TURNED[6]] * 3
    assert [corners(image) for image in read_clip(manifest, clip)] == [TURNED[6]] * 3
    assert corners(read_frame(manifest, clip, 1)) == TURNED[6]


def test_a_manifest_of_frames_as_they_are_stored_is_refused(tmp_path):
    """Such a manifest was made before frames were turned. Its keys belong to other frames."""
    manifest = folder_of(tmp_path, [3, 3])
    (clip,) = manifest.clips
    old = replace(clip, frames=tuple(replace(frame, digest=frame.digest[:64]) for frame in clip.frames))
    store = Store([tmp_path / "store"])
    with pytest.raises(InputError, match=r"0\.jpg: is to be turned \(orientation 3.* run `weclick manifest`"):
        pack_frames(replace(manifest, clips=(old,)), chunk_px=16, store=store)
    assert not list(tmp_path.glob("store/frames/*/*/*"))


def too_large(kind: str) -> bytes:
    """The header of a picture of 30,000 x 30,000 px, and little behind it."""
    side = 30_000
    if kind == "png":
        head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        rest = png_chunk(b"IDAT", zlib.compress(bytes(1000))) + png_chunk(b"IEND", b"")
        return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", head) + rest
    if kind == "bmp":
        return struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 54, 0, 0, 54, 40, side, side, 1, 24, *[0] * 6)
    if kind == "gif":
        return (
            b"GIF89a"
            + struct.pack("<HHBBB", side, side, 0, 0, 0)
            + b","
            + struct.pack("<HHHHB", 0, 0, side, side, 0)
            + b"\x02\x02L\x01\x00;"
        )
    small = BytesIO()
    Image.new("RGB", (16, 16)).save(small, {"jpg": "JPEG", "tif": "TIFF", "webp": "WEBP"}[kind])
    content = bytearray(small.getvalue())
    if kind == "jpg":
        start = content.index(b"\xff\xc0") + 5
        content[start : start + 4] = struct.pack(">HH", side, side)
    elif kind == "tif":
        for tag in (256, 257):
            at = next(i for i in range(8, 99) if content[i : i + 2] == struct.pack("<H", tag))
            content[at : at + 12] = struct.pack("<HHII", tag, 4, 1, side)
    else:  # a WebP is at most 16,383 px wide
        at = content.index(b"\x9d\x01\x2a") + 3
        content[at : at + 4] = struct.pack("<HH", 16_000, 16_000)
    return bytes(content)


@pytest.mark.parametrize("kind", ["png", "bmp", "gif", "jpg", "tif", "webp"])
def test_a_picture_is_measured_before_room_is_made_for_it(tmp_path, kind):
    path = tmp_path / f"a.{'png' if kind == 'gif' else kind}"
    path.write_bytes(too_large(kind))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for read in (read_image, read_ids, image_size):
        with pytest.raises(InputError, match=r"a\.\w+: cannot be read as an image .*at most 67 million"):
            read(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**18, "KiB"


def test_frames_of_8k_are_within_bounds():
    assert 7680 * 4320 < 8192 * 4320 < LARGEST_PX


@pytest.mark.parametrize("suffix", [".tif", ".gif", ".webp", ".png"])
def test_a_file_of_several_pictures_is_refused(tmp_path, suffix):
    pictures = [Image.fromarray(STORED[:, ::step].repeat(step, 1)[:, :9]) for step in (1, 2, 5)]
    path = tmp_path / "a.png"
    pictures[0].save(
        path, format=Image.registered_extensions()[suffix], save_all=True, append_images=pictures[1:]
    )
    with pytest.raises(InputError, match="expected one picture a file: save each as a file of its own"):
        read_image(path)


def test_a_preview_is_no_second_picture(tmp_path):
    small = Image.fromarray(STORED[::2, ::2])
    for suffix in (".tif", ".mpo"):
        path = tmp_path / f"a{suffix}"
        Image.fromarray(STORED).save(path, save_all=True, append_images=[small])
        assert read_image(path).shape == STORED.shape


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_grey_of_16_bits_becomes_8_as_colours_do(tmp_path, suffix):
    grey = np.array([[0, 255, 256, 65535, 0x1234]], np.uint16)
    Image.fromarray(grey).save(tmp_path / f"a{suffix}")
    image = read_image(tmp_path / f"a{suffix}")
    assert image.dtype == np.uint8
    assert image[0].tolist() == [[0] * 3, [0] * 3, [1] * 3, [255] * 3, [0x12] * 3]


@pytest.mark.parametrize("value", [255, 1023, 4095])
def test_grey_of_fewer_bits_in_16_is_told(tmp_path, capsys, value):
    _tell_dark.cache_clear()
    Image.fromarray(np.full((2, 3), value, np.uint16)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").max() == value >> 8
    assert "no value above 4095 of 65535" in capsys.readouterr().err
    Image.fromarray(np.zeros((2, 3), np.uint16)).save(tmp_path / "a.png")
    _tell_dark.cache_clear()
    assert read_image(tmp_path / "a.png").max() == 0
    assert capsys.readouterr().err == ""


def test_other_formats_are_no_frames(tmp_path):
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    with pytest.raises(InputError, match=r"a\.png: cannot be read as an image"):
        read_image(tmp_path / "a.png")
    Image.fromarray(np.zeros((2, 3), np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(InputError, match="32 bits a channel; expected 8 or 16 bits"):
        read_image(tmp_path / "a.tif")
