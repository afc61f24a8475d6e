"""Clicks that lie nowhere, name nothing, or are not there."""

from __future__ import annotations

import dataclasses
import shutil

import h5py
import pytest

from weclick.clicks import generate_clicks, read_clicks, write_clicks
from weclick.common.errors import InputError
from weclick.manifest.click_file import read_click_file
from weclick.store import file_digest

OPTIONS = {"min_pixels": 4, "min_pixels_at": None, "point": "centroid"}
HEADER = "clip,frame,y,x,class\n"


def imported(street, tmp_path, row: str):
    (tmp_path / "clicks.csv").write_text(HEADER + row + "\n")
    manifest = dataclasses.replace(street.train, click_file=str(tmp_path / "clicks.csv"))
    return generate_clicks(manifest, options=OPTIONS, seed=0)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("street_0000,0,64,3,car", r"y = 64 lies outside the frame, expected 0\.\.63 px"),
        ("street_0000,0,3,-2,car", r"x = -2 lies outside the frame, expected 0\.\.95 px"),
        ("street_0000,0,nan,3,car", r"y = nan lies outside"),
        ("street_0000,0,3,3,tram", r"class 'tram' is unknown; expected one of road, .*or an id 0\.\.8"),
        ("street_0000,0,3,3,9", r"class '9' is unknown"),
        ("street_0000,0,3,3,²", r"class '²' is unknown"),
        ("street_0000,0,3,,car", r"a value is missing"),
    ],
)
def test_a_click_that_does_not_fit(street, tmp_path, row, told):
    with pytest.raises(InputError, match=rf"clicks\.csv, line 2: {told}"):
        imported(street, tmp_path, row)


@pytest.mark.parametrize(
    "content", [b"\xff\x80", b"", b"a,b\n1,2\n", HEADER.encode() + b'"' + b"x" * 200_000]
)
def test_what_is_no_table(tmp_path, content):
    (tmp_path / "clicks.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"clicks\.csv: (is no CSV|its header lacks|cannot be read as CSV)"):
        read_click_file(tmp_path / "clicks.csv")


def test_a_split_without_a_click(street):
    clips = tuple(
        dataclasses.replace(
            clip, frames=tuple(dataclasses.replace(frame, instances=None) for frame in clip.frames)
        )
        for clip in street.train.clips
    )
    manifest = dataclasses.replace(street.train, clips=clips)
    with pytest.raises(InputError, match=r"has 4 targets, but not one click; lower clicks\.min_pixels"):
        generate_clicks(manifest, options={**OPTIONS, "min_pixels": 9_999_999}, seed=0)


def test_a_class_without_a_click_is_a_warning(street, tmp_path, capsys):
    assert len(imported(street, tmp_path, "street_0000,0,3,3,car")) == 1
    said = capsys.readouterr().err
    assert said.startswith("weclick: warning: split 'train'")
    assert "has no click of road, sidewalk, " in said
    assert "car" not in said.partition("no click of")[2].partition(";")[0]


def test_an_altered_click_table_is_found(street, tmp_path):
    path = tmp_path / "train.h5"
    write_clicks(street.clicks, path)
    assert read_clicks(path).classes == street.clicks.classes
    with h5py.File(path, "a") as file:
        rows = file["clicks"][:]
        rows["y"][0] += 1
        file["clicks"][:] = rows
    with pytest.raises(
        InputError, match=r"train\.h5: is not what was written, its digest differs or is missing; delete it"
    ):
        read_clicks(path)


def test_a_table_that_changed_since_the_manifest(street, tmp_path):
    table = tmp_path / "clicks.csv"
    table.write_text(f"{HEADER}street_0000,0,3,3,car\n")
    manifest = dataclasses.replace(street.train, click_file=str(table), click_file_digest=file_digest(table))
    assert len(generate_clicks(manifest, options=OPTIONS, seed=0)) == 1
    table.write_text(f"{HEADER}street_0000,0,3,9,car\n")
    with pytest.raises(InputError, match=r"clicks\.csv: changed since .* run `weclick manifest` again"):
        generate_clicks(manifest, options=OPTIONS, seed=0)


def test_a_label_that_changed_since_the_manifest(street, tmp_path):
    clip = street.train.clips[0]
    frame = clip.frames[clip.targets[0]]
    shutil.copytree(street.train.root, tmp_path / "data")
    moved = dataclasses.replace(street.train, root=str(tmp_path / "data"))
    path = moved.path(frame.label)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(InputError, match=rf"{path.name}: changed since its digest was taken"):
        generate_clicks(moved, options=OPTIONS, seed=0)
