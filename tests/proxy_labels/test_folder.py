"""Soft labels from a folder: class maps become shares of cells, 255 teaches nothing, and faults are told."""

import io
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from weclick.common.config import complete_config
from weclick.common.errors import InputError, MissingFileError
from weclick.common.schemas import schema_fault
from weclick.geometry import grid_size
from weclick.manifest.read import read_label
from weclick.proxy_labels.grids import cell_shares, fits, to_label_grid
from weclick.proxy_labels.soft_labels import compute_soft_labels
from weclick.runs.label_source import label_source
from weclick.store import SOFT_LABEL_CODECS, Store, decode_soft_labels


def source_of(street, path: Path, kind: str = "class_maps"):
    section = {"source": "folder", "folder": {"path": str(path), "kind": kind}}
    return label_source(complete_config({"soft_labels": section}), street.train.classes.names, ())


def decoded(street, source, store: Store, codec: str = "root6", manifest=None):
    """Entry and probabilities (T, K, h, w) of the first clip."""
    manifest = manifest or street.train
    keys = compute_soft_labels(manifest, source, chunk_px=16, store=store, codec=codec)
    entry = store.get("soft_labels", keys[manifest.clips[0].id])
    array = entry.array("probabilities")
    stored = torch.from_numpy(np.stack([array[t] for t in range(len(array))]))
    return entry, decode_soft_labels(stored, entry.attributes)


@pytest.fixture
def masks(street, tmp_path) -> Path:
    """The street's own labels as class maps, unknown in a corner."""
    for clip in street.train.clips:
        (tmp_path / "masks" / clip.id).mkdir(parents=True)
        for frame in clip.frames:
            ids = read_label(street.train, frame).copy()
            ids[:16, :24] = 255
            Image.fromarray(ids).save(tmp_path / "masks" / clip.id / f"{frame.name}.png")
    return tmp_path / "masks"


def first(street, folder: Path) -> Path:
    clip = street.train.clips[0]
    return folder / clip.id / f"{clip.frames[0].name}.png"


@pytest.mark.parametrize("codec", SOFT_LABEL_CODECS)
def test_a_cell_holds_the_share_of_each_class_and_nothing_where_nothing_is_known(
    street, masks, tmp_path, codec
):
    entry, found = decoded(street, source_of(street, masks), Store([tmp_path / "store"]), codec)
    ids = np.asarray(Image.open(first(street, masks)))
    blocks = ids.reshape(16, 4, 24, 4).swapaxes(1, 2).reshape(16, 24, 16)
    expected = np.stack([(blocks == k).mean(-1) for k in range(street.train.num_classes)])
    np.testing.assert_allclose(found[0, :, 4:], expected[:, 4:], atol=0.03)
    assert not found[:, :, :4, :6].any()
    np.testing.assert_allclose(found[:, :, :4, 6:].sum(1), 1, atol=1e-5)
    assert entry.attributes["stride_px"] == 4
    assert not schema_fault(dict(entry.attributes), "soft_labels")


def test_shares_by_hand():
    ids = np.full((6, 9), 255, np.uint8)
    ids[:2, :4] = 0
    ids[0, 0] = 1
    ids[4:, 4:8] = 2
    ids[:, 8] = [0, 255, 255, 255, 0, 255]
    shares = cell_shares(ids, 3)
    assert shares.shape == (3, 2, 3)
    np.testing.assert_allclose(shares[:, 0, 0], [7 / 8, 1 / 8, 0])
    assert not shares[:, 1, 0].any()
    np.testing.assert_allclose(shares[:, 1, 1], [0, 0, 1])
    assert not shares[:, 0, 2].any(), "one of four pixels is known"
    np.testing.assert_allclose(shares[:, 1, 2], [1, 0, 0], err_msg="one of two")


def test_maps_of_stored_frames_are_shrunk_as_these_are(street, masks, tmp_path):
    clips = tuple(replace(clip, height_px=32, width_px=48) for clip in street.train.clips)
    half = replace(street.train, clips=clips, shrink=2)
    _, whole = decoded(street, source_of(street, masks), Store([tmp_path / "store"]), manifest=half)
    assert whole.shape[2:] == (8, 12)
    for path in masks.rglob("*.png"):
        image = Image.open(path)
        image.resize((48, 32), Image.Resampling.NEAREST).save(path)
    _, small = decoded(street, source_of(street, masks), Store([tmp_path / "store"]), manifest=half)
    torch.testing.assert_close(small, whole)


def write_probabilities(street, folder: Path, values: np.ndarray, save=np.save, suffix: str = ".npy") -> Path:
    for clip in street.train.clips:
        (folder / clip.id).mkdir(parents=True, exist_ok=True)
        for frame in clip.frames:
            save(folder / clip.id / f"{frame.name}{suffix}", values)
    return folder


@pytest.fixture
def values(street) -> np.ndarray:
    """(K, 16, 24) probabilities on the grid of stride 4."""
    logits = np.random.default_rng(0).normal(0, 3, (street.train.num_classes, 16, 24))
    return np.exp(logits) / np.exp(logits).sum(0)


@pytest.mark.parametrize(
    ("save", "suffix", "dtype"),
    [(np.save, ".npy", np.float16), (np.savez_compressed, ".npz", np.float32), (np.save, ".npy", ">f8")],
)
def test_probabilities_of_our_grid_stay_as_they_are(street, tmp_path, values, save, suffix, dtype):
    folder = write_probabilities(street, tmp_path / "p", values.astype(dtype), save, suffix)
    source = source_of(street, folder, "probabilities")
    entry, found = decoded(street, source, Store([tmp_path / "store"]), "float16")
    np.testing.assert_allclose(found[0], values, atol=2e-3)
    assert entry.attributes["predictions"] == "probabilities"


def test_probabilities_by_columns_of_other_grids_and_with_gaps(street, tmp_path, values):
    whole = np.repeat(np.repeat(values, 4, 1), 4, 2)
    whole[:, :10] = 0
    folder = write_probabilities(street, tmp_path / "p", np.asfortranarray(whole.astype(np.float32)))
    _, found = decoded(
        street, source_of(street, folder, "probabilities"), Store([tmp_path / "store"]), "float16"
    )
    np.testing.assert_allclose(found[0, :, 3:], values[:, 3:], atol=2e-3)
    assert not found[0, :, :2].any()
    np.testing.assert_allclose(found[0, :, 2], values[:, 2], atol=2e-3, err_msg="half is known")
    coarse = torch.from_numpy(values[:, ::2, ::2].astype(np.float32))[None]
    fine = to_label_grid(coarse, (64, 96))
    assert fine.shape[-2:] == (16, 24)
    torch.testing.assert_close(fine.sum(1), torch.ones(1, 16, 24))
    torch.testing.assert_close(
        fine[..., 1:3, 1:3].mean((2, 3)), coarse[..., :2, :2].mean((2, 3)), atol=0.05, rtol=0
    )


@pytest.mark.parametrize("stride", [1, 2, 3, 4, 5, 8, 16, 32])
def test_every_grid_of_a_stride_covers_a_frame(stride):
    for size in ((64, 96), (61, 103), (480, 854)):
        assert fits(grid_size(size, stride), size)
        assert fits((size[0] // stride, size[1] // stride), size)
    assert not fits((24, 16), (64, 96))
    assert not fits((16, 16), (64, 96))


def test_what_is_edited_makes_another_entry_and_what_is_moved_does_not(street, masks, tmp_path):
    clip, other = street.train.clips
    before = source_of(street, masks).key_inputs(clip), source_of(street, masks).key_inputs(other)
    masks.rename(tmp_path / "moved")
    (tmp_path / "moved" / "notes.txt").write_text("not ours")
    assert source_of(street, tmp_path / "moved").key_inputs(clip) == before[0]
    ids = np.asarray(Image.open(first(street, tmp_path / "moved"))).copy()
    ids[-1, -1] = (ids[-1, -1] + 1) % 9
    Image.fromarray(ids).save(first(street, tmp_path / "moved"))
    assert source_of(street, tmp_path / "moved").key_inputs(clip) != before[0]
    assert source_of(street, tmp_path / "moved").key_inputs(other) == before[1]
    fewer = replace(street.train.classes, names=street.train.classes.names[:-1])
    other_classes = replace(street, train=replace(street.train, classes=fewer))
    assert source_of(other_classes, tmp_path / "moved").key_inputs(other) != before[1]


def colours(path: Path) -> None:
    Image.new("RGB", (96, 64)).save(path)


def beyond(path: Path) -> None:
    Image.fromarray(np.full((64, 96), 9, np.uint8)).save(path)


def small(path: Path) -> None:
    Image.fromarray(np.zeros((64, 95), np.uint8)).save(path)


def jpeg(path: Path) -> None:
    Image.fromarray(np.zeros((64, 96), np.uint8)).save(path, format="jpeg")


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (
            Path.unlink,
            r"has no file for 1 of 4 frames of clip 'street_0000', e\.g\. '.*'; expected <clip>/",
        ),
        (colours, r"\.png: holds colours, expected class ids in one channel"),
        (
            beyond,
            r"\.png: holds values \[9\], expected class ids 0\.\.8 of road, .*, or 255 where",
        ),
        (small, r"\.png: is 64x95 px \(HxW\), expected the size of the frame, 64x96; resize it by nearest"),
        (jpeg, r"\.png: cannot be read as an image .*JPEG"),
        (lambda path: path.write_bytes(b""), r"\.png: cannot be read as an image"),
        (lambda path: path.with_suffix(".PNG").write_bytes(b""), r"'.*\.PNG' and '.*\.png' are of one frame"),
    ],
)
def test_faults_of_class_maps_are_told(street, masks, tmp_path, edit, told):
    edit(first(street, masks))
    with pytest.raises(InputError, match=told):
        decoded(street, source_of(street, masks), Store([tmp_path / "store"]))


def test_a_clip_without_a_folder_is_told(street, tmp_path):
    with pytest.raises(MissingFileError, match=r"there is no such folder, but soft_labels\.folder needs"):
        source_of(street, tmp_path).key_inputs(street.train.clips[0])


def pickled(path: Path, values: np.ndarray) -> None:
    np.save(path, np.array([{"a": 1}], object), allow_pickle=True)


def two(path: Path, values: np.ndarray) -> None:
    path.unlink()
    np.savez(path.with_suffix(".npz"), values, values)


def bomb(path: Path, values: np.ndarray) -> None:
    """A small file whose header promises 18 GB."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (9, 16384, 16384)}
    )
    path.unlink()
    with zipfile.ZipFile(path.with_suffix(".npz"), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("arr_0.npy", header.getvalue() + bytes(10**6))


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (
            lambda path, values: np.save(path, values[:8]),
            r"of shape \(8, 16, 24\)\); expected .*\(9, h, w\)",
        ),
        (lambda path, values: np.save(path, values[0]), r"it is of shape \(16, 24\)"),
        (
            lambda path, values: np.save(path, values.swapaxes(1, 2)),
            "is of 24x16 cells, which do not",
        ),
        (lambda path, values: np.save(path, 9 * values), "their sums over the classes 9..9, expected probab"),
        (lambda path, values: np.save(path, np.log(values)), "logits need a softmax first"),
        (lambda path, values: np.save(path, values * np.nan), "values that are not finite"),
        (
            lambda path, values: np.save(path, (255 * values).astype(np.uint8)),
            "holds uint8, expected float",
        ),
        (
            lambda path, values: path.write_bytes(path.read_bytes()[:-1]),
            "it holds 27647 bytes, expected 2764",
        ),
        (
            lambda path, values: path.write_bytes(path.read_bytes() + b"0"),
            "it holds more bytes, expected 2",
        ),
        (lambda path, values: path.write_bytes(b"PK"), "cannot be read as probabilities"),
        (pickled, "holds object, expected float16"),
        (two, "it holds 2 arrays, expected one"),
        (bomb, r"it is of shape \(9, 16384, 16384\)"),
    ],
)
def test_faults_of_probabilities_are_told(street, tmp_path, values, edit, told):
    folder = write_probabilities(street, tmp_path / "p", values)
    path = first(street, folder).with_suffix(".npy")
    edit(path, values)
    with pytest.raises(InputError, match=told) as error:
        decoded(street, source_of(street, folder, "probabilities"), Store([tmp_path / "store"]))
    assert path.stem in str(error.value)
