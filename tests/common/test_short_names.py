"""Names put together from names of clips and frames."""

import os

from weclick.common.short_names import MAX_NAME_BYTES, short_path


def test_names_that_fit_stay():
    assert short_path("clip/00001", ".png") == "clip/00001"
    assert short_path("x" * 251, ".png") == "x" * 251


def test_long_names_are_cut_and_stay_apart(tmp_path):
    names = ["x" * 300, "x" * 299 + "y", "x" * 252, "映" * 90, "clip/" + "x" * 300, "x" * 300 + "/frame"]
    short = [f"{short_path(name, '.png')}.png" for name in names]
    assert len(set(short)) == len(names)
    for name in short:
        assert all(len(os.fsencode(part)) <= MAX_NAME_BYTES for part in name.split("/"))
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert short[0] == f"{short_path('x' * 300, '.png')}.png"


def test_names_in_bytes_of_another_encoding_are_cut_too(tmp_path):
    name = os.fsdecode(b"\xe9" * 300)
    (tmp_path / f"{short_path(name, '.png')}.png").touch()
