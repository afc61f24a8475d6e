"""Click tables that promise more than a machine holds, or lie in other files."""

from __future__ import annotations

import tracemalloc
import zlib

import h5py
import numpy as np
import pytest

from weclick.clicks import read_clicks, write_clicks
from weclick.common.errors import InputError
from weclick.manifest.click_table import POINT, ClickTable

ROW = np.dtype([("clip", "S8"), ("frame", "S8"), *POINT.descr])
INSIDE = {"compression": "gzip", "maxshape": (None,)}


def inflated(file: h5py.File) -> None:
    """A chunk of ten rows that inflates to 256 MiB."""
    dataset = file.create_dataset("clicks", (10,), ROW, chunks=(10,), **INSIDE)
    packing = zlib.compressobj(9)
    packed = b"".join(packing.compress(bytes(2**22)) for _ in range(64)) + packing.flush()
    dataset.id.write_direct_chunk((0,), packed)


def attributes(file: h5py.File) -> None:
    file = file.create_dataset("clicks", (10,), ROW)
    for number in range(100):
        file.attrs[str(number)] = number


BOMBS = {
    "20 million rows": (lambda f: f.create_dataset("clicks", (20_000_000,), ROW, **INSIDE), "20000000 rows"),
    "a chunk that inflates": (inflated, "inflates beyond"),
    "a chunk of gigabytes": (
        lambda f: f.create_dataset("clicks", (10,), ROW, chunks=(2**26,), **INSIDE),
        "promises chunks of",
    ),
    "names of gigabytes": (
        lambda f: f.create_dataset("clicks", (10,), [("clip", "S1000000000"), ("y", "<i4")]),
        "10 rows of 1000000004 bytes",
    ),
    "a hundred attributes": (attributes, "or one of too many"),
    "texts of any length": (
        lambda f: f.create_dataset("clicks", (2,), [("clip", h5py.string_dtype()), ("y", "<i4")]),
        "texts of any length",
    ),
    "a link to itself": (lambda f: f.__setitem__("clicks", h5py.SoftLink("/clicks")), "no dataset 'clicks'"),
    "another file": (
        lambda f: f.__setitem__("clicks", h5py.ExternalLink("other.h5", "clicks")),
        "no dataset 'clicks'",
    ),
    "rows in another file": (
        lambda f: f.create_dataset("clicks", (10,), ROW, external=[("other", 0, 290)]),
        "lie in other files",
    ),
    "a group": (lambda f: f.create_group("clicks"), "no table of rows"),
    "two axes": (lambda f: f.create_dataset("clicks", (2, 2), ROW), "no table of rows"),
    "another filter": (lambda f: f.create_dataset("clicks", (9,), ROW, compression="lzf"), "the filters"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_told_before_they_take_memory(tmp_path, name):
    make, told = BOMBS[name]
    with h5py.File(tmp_path / "train.h5", "w") as file:
        make(file)
    tracemalloc.start()
    with pytest.raises(InputError, match=rf"train\.h5: is no click table \(.*{told}"):
        read_clicks(tmp_path / "train.h5")
    assert tracemalloc.get_traced_memory()[1] < 2**26
    tracemalloc.stop()


def test_a_table_without_its_digest_is_no_table(tmp_path):
    path = tmp_path / "train.h5"
    points = np.array([(1, 2, 0, 9), (3, 4, 1, 9)], POINT)
    table = ClickTable("train", ("a", "b"), {("é" * 40, "0"): points, ("z", "1"): points[:1]})
    write_clicks(table, path)
    read = read_clicks(path)
    assert set(read.frames) == set(table.frames)
    assert all(np.array_equal(read.frames[name], table.frames[name]) for name in table.frames)
    with h5py.File(path, "a") as file:
        del file["clicks"].attrs["sha256"]
    with pytest.raises(InputError, match=r"train\.h5: is not what was written, its digest .* is missing"):
        read_clicks(path)


def test_a_heap_without_end_is_told_and_not_walked_for_ever(tmp_path):
    """The free space after the texts of the attributes gets a length of 0."""
    path = tmp_path / "train.h5"
    write_clicks(ClickTable("train", ("a",), {("c", "0"): np.array([(1, 2, 0, 9)], POINT)}), path)
    content = bytearray(path.read_bytes())
    at = content.index(b"GCOL") + 16
    while content[at : at + 2] != b"\0\0":
        at += 16 + -(-int.from_bytes(content[at + 8 : at + 16], "little") // 8) * 8
    content[at + 8 : at + 16] = bytes(8)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"train\.h5: is no click table \(.*a heap of texts .* has no end"):
        read_clicks(path)


def test_a_text_that_claims_to_be_a_list_is_told_and_does_not_end_the_process(tmp_path):
    table = ClickTable("train", ("a",), {("c", "0"): np.array([(1, 2, 0, 9)], POINT)})
    write_clicks(table, tmp_path / "train.h5")
    content = bytearray((tmp_path / "train.h5").read_bytes())
    at = content.index(b"units\0\0\0\x19") + 9
    assert content[at] & 15 == 1, "a text of any length; 0 is a list of any length"
    content[at] &= 0xF0
    (tmp_path / "train.h5").write_bytes(content)
    with pytest.raises(InputError, match=r"train\.h5: is no click table \(.*'units' holds neither texts nor"):
        read_clicks(tmp_path / "train.h5")
