"""Files that would do harm are refused before anything is allocated."""

import struct
import tracemalloc
import zipfile

import pytest

from weclick.clicks.formats import xml_elements
from weclick.clicks.formats.marks import MOST_POINTS
from weclick.common.errors import InputError, MissingFileError

HEAD = "<annotations><meta><task><id>1</id></task><source>drive.mp4</source></meta>"
MIB = 2**20


def refused(importer, path, told, most_bytes=80 * MIB):
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=told):
            importer.take_paths([path])
        assert tracemalloc.get_traced_memory()[1] < most_bytes
    finally:
        tracemalloc.stop()


def bomb(path, members=1, mib=65, method=zipfile.ZIP_DEFLATED, name="annotations.xml"):
    with zipfile.ZipFile(path, "w", method) as archive:
        for i in range(members):
            with archive.open(f"{i}{name}", "w") as file:
                for _ in range(mib):
                    file.write(bytes(MIB))
    return path


def test_archives_that_grow_are_refused(importer, tmp_path):
    refused(importer, bomb(tmp_path / "a.zip"), "has 65.0 MiB, expected at most 64.0 MiB", 8 * MIB)
    refused(
        importer, bomb(tmp_path / "b.zip", members=5, mib=60), "unpacked: has 300.0 MiB, expected", 8 * MIB
    )
    path = bomb(tmp_path / "c.zip", mib=1, method=zipfile.ZIP_BZIP2)
    refused(importer, path, "is encrypted or packed by a rare method", 8 * MIB)


def test_an_archive_that_lies_about_its_size_is_damaged(importer, tmp_path):
    data = bytearray(bomb(tmp_path / "a.zip", mib=8).read_bytes())
    for mark, at in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        start = data.rfind(mark) + at
        data[start : start + 4] = struct.pack("<I", 1000)
    refused(importer, importer.file("a.zip", bytes(data)), "is damaged or no zip archive")


@pytest.mark.parametrize("name", ["../annotations.xml", "/etc/annotations.xml", "a\\..\\..\\annotations.xml"])
def test_names_that_lead_out_of_an_archive_are_refused(importer, tmp_path, name):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(name, "<annotations/>")
    refused(importer, tmp_path / "a.zip", "leads out of the archive")


def test_an_archive_with_a_long_list_of_members_is_refused(importer, tmp_path):
    path = bomb(tmp_path / "a.zip", mib=1)
    data = bytearray(path.read_bytes())
    end = data.rfind(b"PK\x05\x06")
    data[end + 12 : end + 16] = struct.pack("<I", 9 * MIB)
    refused(importer, importer.file("b.zip", bytes(data)), "holds too many files", 8 * MIB)
    refused(importer, importer.file("c.zip", b"no archive"), "is no zip archive")
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        archive.writestr("readme.txt", "x")
    refused(importer, tmp_path / "d.zip", "holds no file that ends in .xml")


@pytest.mark.parametrize(
    "start",
    ['<!DOCTYPE a [<!ENTITY x "y">]>', '<!DOCTYPE a SYSTEM "file:///etc/passwd">', "<!DOCTYPE a>"],
)
def test_a_doctype_is_refused(importer, start):
    path = importer.file("a.xml", f"<?xml version='1.0'?>{start}<annotations>&x;</annotations>")
    refused(importer, path, "a.xml, line 1: has a DOCTYPE")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("<track>" + "<a>" * 40, "32 levels deep"),
        ("<track a='" + "x" * 9 * MIB + "'/>", "in one tag or text"),
        (
            "<track label='car'><points frame='1' points='" + "1,2;" * MOST_POINTS + "1,2'/></track>",
            "250001 points",
        ),
        ("<track", "cannot be read as XML"),
        ("\x00", "cannot be read as XML"),
    ],
)
def test_xml_beyond_bounds_is_refused(importer, body, told):
    path = importer.file("a.xml", f"{HEAD}{body}</annotations>")
    refused(importer, path, told, 160 * MIB)


def test_xml_of_many_elements_is_refused(importer, monkeypatch):
    monkeypatch.setattr(xml_elements, "MOST_AT_ONCE", 100)
    part = "<track>" + "<a/>" * 97 + "</track>"
    importer.take("a.xml", f"{HEAD}{part * 5}</annotations>")
    with pytest.raises(InputError, match="has more elements than are read"):
        importer.take("a.xml", f"{HEAD}{part.replace('<a/>', '<a/><b/>')}</annotations>")
    monkeypatch.setattr(xml_elements, "MOST_ELEMENTS", 300)
    with pytest.raises(InputError, match="has more elements than are read"):
        importer.take("a.xml", f"{HEAD}{part * 5}</annotations>")


def test_json_beyond_bounds_is_refused(importer):
    refused(importer, importer.file("a.json", b"[" + b"1" * 33 * MIB + b"]"), "expected at most 32.0 MiB")
    refused(importer, importer.file("b.json", b"[" * 100 + b"]" * 100), "nested deeper than 32 levels")
    many = b'{"images":[],"categories":[],"annotations":[{"keypoints":[%s]}]}' % b",".join(
        [b"1,2,2"] * (MOST_POINTS + 1)
    )
    refused(importer, importer.file("c.json", many), "holds at least 250001 points")


def test_tables_beyond_bounds_are_refused(importer):
    refused(importer, importer.file("a.csv", bytes(33 * MIB)), "expected at most 32.0 MiB")
    refused(importer, importer.file("b.csv", b"y,x,frame" + b",c" * 10_000), "has 10003 columns")


def test_what_lies_beside_annotations_is_told(importer):
    importer.file("notes.json", '{"version": 3}')
    with pytest.raises(InputError, match=r"notes\.json: is in no format that is read"):
        importer.take_paths([importer.folder])
    importer.file("a.xml", f"{HEAD}<track label='car'><points frame='1' points='1,2'/></track></annotations>")
    done = importer.take_paths([importer.folder])
    assert len(done.clicks) == 1
    assert "notes.json: is in no format" in done.warnings["not_read"][0]


def test_paths_that_are_none(importer, tmp_path):
    with pytest.raises(MissingFileError, match=r"none\.json: there is no such annotation file"):
        importer.take_paths([tmp_path / "none.json"])
    with pytest.raises(InputError, match=r"a\.txt: ends in '\.txt', expected one of \.xml"):
        importer.take("a.txt", "x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: holds no file that ends in"):
        importer.take_paths([tmp_path / "empty"])
