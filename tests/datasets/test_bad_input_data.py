"""Images, labels and layouts that are wrong, and those that only look so."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from weclick.common.errors import InputError
from weclick.datasets import build_manifest, open_dataset
from weclick.datasets.folder import CLASSES_EXAMPLE
from weclick.datasets.frames import pack_frames
from weclick.manifest import Manifest, read_manifest, write_manifest
from weclick.manifest.read import read_label
from weclick.manifest.window import Window
from weclick.store import Store

SIZE = (32, 48)


def save(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


@pytest.fixture
def root(tmp_path) -> Path:
    """Clips a and b of four noisy frames, labels on the first and third; clip b is held out."""
    noise = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    for clip in "ab":
        for i in range(4):
            save(tmp_path / "frames" / clip / f"{i:03d}.png", noise)
        for i in (0, 2):
            save(tmp_path / "labels" / clip / f"{i:03d}.png", np.full(SIZE, i // 2, np.uint8))
    (tmp_path / "classes.yaml").write_text(CLASSES_EXAMPLE)
    return tmp_path


def manifest_of(root: Path, **data) -> Manifest:
    dataset = open_dataset({"name": "folder", "root": root, "val_clips": ["b"], **data})
    return build_manifest(dataset, "train", 0, 1, reach_frames=4)


def pack(root: Path) -> None:
    store = Store([root / "store"])
    pack_frames(manifest_of(root), chunk_px=32, store=store)


def test_a_missing_root_says_what_to_do(tmp_path):
    with pytest.raises(InputError, match=r"data\.root is .*none.* no such folder; correct data\.root"):
        manifest_of(tmp_path / "none")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:400])


DAMAGE = {
    "empty": (lambda path: path.write_bytes(b""), r"cannot be read as an image \(0 bytes"),
    "cut": (cut, r"cannot be read as an image \(400 bytes"),
    "text": (lambda path: path.write_text("no image"), r"cannot be read as an image \(8 bytes"),
    "other size": (lambda path: save(path, np.zeros((9, 8, 3), np.uint8)), r"frame 001 is 9x8 px .*32x48"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_frame_is_named_and_leaves_no_entry(root, name):
    damage, told = DAMAGE[name]
    damage(root / "frames" / "a" / "001.png")
    refuses(root, manifest_of(root), told)


def test_a_lost_frame_is_named_and_leaves_no_entry(root):
    manifest = manifest_of(root)
    (root / "frames" / "a" / "001.png").unlink()
    refuses(root, manifest, r"there is no such file\); restore the file or drop the frame")


def refuses(root: Path, manifest: Manifest, told: str) -> None:
    with pytest.raises(InputError, match=rf"001\.png: (?s:.*){told}"):
        pack_frames(manifest, chunk_px=32, store=Store([root / "store"]))
    assert not [path for path in (root / "store").rglob("*") if path.is_file()]


def test_grey_palette_and_transparent_frames_are_read(root):
    save(root / "frames" / "a" / "000.png", np.zeros(SIZE, np.uint8))
    save(root / "frames" / "a" / "001.png", np.zeros((*SIZE, 4), np.uint8))
    Image.new("P", SIZE[::-1]).save(root / "frames" / "a" / "002.png")
    pack(root)


LABELS = {
    "of 16 bits": (
        np.full(SIZE, 26001, np.uint16),
        r"holds values \[26001\], expected class ids 0\.\.1 or 255",
    ),
    "of colours": (np.full((*SIZE, 3), 9, np.uint8), r"holds 1 colours that no class has: \(9, 9, 9\) on"),
    "of fractions": (np.zeros(SIZE, np.float32), r"cannot be read .* holds fractions, expected whole"),
    "outside": (
        np.full(SIZE, 7, np.uint8),
        r"holds values \[7\], .* correct the file or the list of classes",
    ),
}


@pytest.mark.parametrize("name", LABELS)
def test_a_label_that_is_none(root, name):
    values, told = LABELS[name]
    (root / "labels" / "a" / "000.png").unlink()
    save(root / "labels" / "a" / "000.tif", values)
    manifest = manifest_of(root)
    with pytest.raises(InputError, match=rf"labels.a.000\.tif: {told}"):
        read_label(manifest, manifest.clips[0].frames[0])


def test_a_label_of_another_size_is_told_before_anything_is_made(root):
    save(root / "labels" / "a" / "002.png", np.zeros((16, 24), np.uint8))
    with pytest.raises(InputError, match=r"002\.png: is 16x24 px \(HxW\), its frame 32x48; a label needs"):
        manifest_of(root)


def test_a_file_that_is_no_label_of_a_mapped_data_set(tmp_path):
    for folder, values in (("train", np.zeros((*SIZE, 3))), ("trainannot", np.full(SIZE, 77))):
        save(tmp_path / folder / "0016E5_00390.png", values.astype(np.uint8))
    dataset = open_dataset({"name": "camvid", "root": tmp_path})
    manifest = build_manifest(dataset, "train", 0, 1, reach_frames=0)
    with pytest.raises(InputError, match=r"holds values \[77\], and none of the data set's \(0\.\.11\)"):
        read_label(manifest, manifest.clips[0].frames[0])


def test_a_clip_without_frames(root):
    (root / "frames" / "c").mkdir()
    with pytest.raises(
        InputError, match=r"frames.c: a clip without frames; expected images .*remove the folder"
    ):
        manifest_of(root)


def test_a_clip_of_one_frame_has_no_neighbours(root):
    for path in sorted((root / "frames" / "a").iterdir())[1:]:
        path.unlink()
    (root / "labels" / "a" / "002.png").unlink()
    manifest = manifest_of(root)
    assert Window().pairs(manifest.clips[0]) == ()
    pack(root)


def test_in_a_folder_a_gap_is_legal_and_no_window_crosses_it_unknowingly(root):
    (root / "frames" / "a" / "001.png").unlink()
    (clip,) = manifest_of(root).clips
    assert [frame.number for frame in clip.frames] == [0, 2, 3]
    assert Window(direction="backward", max_gap_frames=1).pairs(clip) == ((1, 2),)


def test_in_the_toy_a_gap_is_an_error(street, tmp_path):
    shutil.copytree(street.config["data"]["root"], tmp_path / "toy")
    sorted((tmp_path / "toy" / "leftImg8bit" / "train" / "street_0000").iterdir())[2].unlink()
    for kind in ("labelIds", "instanceIds"):
        (tmp_path / f"toy/gtFine/train/street_0000/street_0000_000002_gtFine_{kind}.png").unlink()
    dataset = open_dataset({"name": "toy", "root": tmp_path / "toy"})
    with pytest.raises(
        InputError, match=r"clip 'street_0000': frame 2 is missing between .*run `weclick toy`"
    ):
        dataset.clips("train")


def test_no_targets(root):
    shutil.rmtree(root / "labels")
    with pytest.raises(InputError, match="split 'train' has 1 clips, but no labelled frame"):
        manifest_of(root)


def test_too_much_shrinking(root):
    with pytest.raises(
        InputError, match=r"is 32x48 px .*, of which data\.shrink 100 leaves nothing; lower it"
    ):
        manifest_of(root, shrink=100)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema_version": 1}', '{"schema_version": 9}', "\x00"])
def test_what_is_no_manifest(root, text):
    (root / "0.json").write_text(text)
    with pytest.raises(InputError, match=r"0\.json: .*(again|run that stage)"):
        read_manifest(root / "0.json")
    with pytest.raises(InputError, match=r"none\.json: there is no such file; the manifest stage makes it"):
        read_manifest(root / "none.json")


def test_a_manifest_round_trip_still_holds(root):
    write_manifest(manifest_of(root), root / "0.json")
    assert read_manifest(root / "0.json") == manifest_of(root)


def test_a_frame_exchanged_after_the_manifest_leaves_no_entry_under_its_key(root):
    """A colleague with the true frames would read what was packed of other ones."""
    manifest = manifest_of(root)
    other = np.random.default_rng(1).integers(0, 256, (*SIZE, 3), np.uint8)
    save(root / "frames" / "a" / "001.png", other)
    refuses(root, manifest, r"changed since its digest was taken .* run `weclick manifest` again")
    assert pack_frames(manifest_of(root), chunk_px=32, store=Store([root / "store"]))
