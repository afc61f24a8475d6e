"""Proxy labels from a folder: class maps of some frames, told faults, and keys by content."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.cam_entries import NAMES, SIZE, clip_of, manifest_of
from weclick.common.content import ChangedFileError
from weclick.common.digest import file_digest
from weclick.common.errors import InputError, MissingFileError
from weclick.proxy_labels.class_map_folder import ClassMapFolder
from weclick.proxy_labels.proxy_labels import make_proxy_labels, read_proxy_labels
from weclick.store import Store

CLIP = clip_of()


def digests(files):
    return {file: file_digest(file) for file in files}


def write(folder: Path, ids: np.ndarray, frame: str = "00002", clip: str = "park") -> Path:
    path = folder / clip / f"{frame}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(ids).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    """Maps of the frames 2 and 4, and a file of no frame."""
    ids = np.zeros(SIZE, np.uint8)
    ids[4:9, 10:20], ids[20:] = 2, 255
    for frame, turned in (("00002", ids), ("00004", ids[:, ::-1])):
        write(tmp_path / "maps", turned, frame)
    write(tmp_path / "maps", ids, "notes")
    return tmp_path / "maps"


def source_of(folder, **more):
    return ClassMapFolder(folder, NAMES, digests, **more)


def labels_of(folder, tmp_path, clip=CLIP, **more):
    store = Store([tmp_path / "store"])
    keys = make_proxy_labels(manifest_of(clip), source_of(folder, **more), chunk_px=32, store=store)
    return keys[clip.id], dict(read_proxy_labels(store.get("proxy_labels", keys[clip.id]), clip))


def test_frames_without_a_file_get_no_label(folder, tmp_path):
    _, found = labels_of(folder, tmp_path)
    assert list(found) == [2, 4]
    for t in found:
        expected = np.asarray(Image.open(folder / "park" / f"0000{t}.png"))
        np.testing.assert_array_equal(found[t], expected)


def test_maps_of_stored_frames_are_shrunk_as_these_are(folder, tmp_path):
    large = np.kron(np.asarray(Image.open(folder / "park" / "00002.png")), np.ones((2, 2), np.uint8))
    write(folder, large)
    _, found = labels_of(folder, tmp_path, shrink=2)
    np.testing.assert_array_equal(found[2], large[::2, ::2])


def test_the_key_follows_the_content(folder, tmp_path):
    first, _ = labels_of(folder, tmp_path)
    moved = tmp_path / "elsewhere"
    folder.rename(moved)
    assert labels_of(moved, tmp_path)[0] == first, "not where the files lie"
    (moved / "park" / "notes.png").unlink()
    assert labels_of(moved, tmp_path)[0] == first
    write(moved, np.zeros(SIZE, np.uint8), "00004")
    second, _ = labels_of(moved, tmp_path)
    (moved / "park" / "00004.png").rename(moved / "park" / "00005.png")
    third, _ = labels_of(moved, tmp_path)
    assert len({first, second, third}) == 3


@pytest.mark.parametrize("kept", [[], ["notes"]], ids=["no folder", "no frame"])
def test_a_clip_without_any_map_is_told(tmp_path, kept):
    for frame in kept:
        write(tmp_path / "maps", np.zeros(SIZE, np.uint8), frame)
    with pytest.raises(MissingFileError, match=r"park: holds no class map of a frame.*00000\.png: add it"):
        labels_of(tmp_path / "maps", tmp_path)


@pytest.mark.parametrize(
    ("ids", "told"),
    [
        (np.full(SIZE, 3, np.uint8), r"holds values \[3\], expected class ids 0..2 of background, dog"),
        (np.zeros((16, 48), np.uint8), r"is 16x48 px \(HxW\), expected the size of the frame, 32x48"),
        (np.zeros((*SIZE, 3), np.uint8), "holds colours, expected class ids in one channel"),
    ],
    ids=["values", "size", "colours"],
)
def test_a_map_that_does_not_fit_is_told(folder, tmp_path, ids, told):
    write(folder, ids)
    with pytest.raises(InputError, match=rf"00002\.png: {told}"):
        labels_of(folder, tmp_path)
    assert not list((tmp_path / "store").glob("proxy_labels/*/*/*/entry.json"))


def test_two_files_of_one_frame_are_told(folder, tmp_path):
    path = folder / "park" / "00002.png"
    path.with_name("00002.PNG").write_bytes(path.read_bytes())
    with pytest.raises(InputError, match="are of one frame; remove one"):
        labels_of(folder, tmp_path)


def test_a_map_that_changes_meanwhile_is_told(folder, tmp_path):
    remembered = digests(folder.rglob("*.png"))
    write(folder, np.ones(SIZE, np.uint8))
    source = ClassMapFolder(folder, NAMES, lambda files: {file: remembered[file] for file in files})
    with pytest.raises(ChangedFileError, match=r"00002\.png"):
        make_proxy_labels(manifest_of(CLIP), source, chunk_px=32, store=Store([tmp_path / "store"]))
