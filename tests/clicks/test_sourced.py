"""A click table knows where its clicks come from; tables of before are still read."""

from __future__ import annotations

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest

from helpers.places import ROOT
from weclick.clicks import (
    POINT,
    ClickTable,
    SourcedClicks,
    clicks_digest,
    read_clicks,
    write_clicks,
    write_json,
)
from weclick.common.errors import InputError
from weclick.manifest.people import Origin

OLD = ROOT / "tests/data/clicks_1"
POINTS = np.array([(2, 2, 0, 16), (2, 6, 1, 16)], POINT)


@pytest.mark.parametrize(("name", "source"), [("masks", "mask"), ("people", "human")])
def test_a_table_of_version_1_is_read_and_keeps_its_digest(name, source):
    table = read_clicks(OLD / f"{name}.h5")
    assert clicks_digest(table) == "23297c26b5e99a326289909c16b8de30d53fc355a0dd472152dceb60adc64e8c"
    assert table.of("a", "f0").tolist() == POINTS.tolist()
    assert table.origins_of("a", "f0") == (Origin(source),) * 2


def test_origins_come_back_and_change_no_digest(tmp_path):
    plain = ClickTable("train", ("road", "car"), {("a", "f0"): POINTS, ("b", "f1"): POINTS[:1]})
    told = {
        ("a", "f0"): (Origin("human", "änne", "weclick click"), Origin("ghost")),
        ("b", "f1"): (Origin(),),
    }
    table = SourcedClicks.of_table(plain)
    table = replace(table, origins=told)
    write_clicks(table, tmp_path / "a.h5")
    read = read_clicks(tmp_path / "a.h5")
    assert read.origins == told
    assert clicks_digest(read) == clicks_digest(table) == clicks_digest(plain)
    write_json(read, tmp_path / "a.json")
    written = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert [click["who"] for click in written["frames"][0]["clicks"]] == ["änne", ""]


def test_a_plain_table_is_written_with_what_made_it(tmp_path):
    write_clicks(ClickTable("train", ("road", "car"), {("a", "f0"): POINTS}), tmp_path / "a.h5")
    assert read_clicks(tmp_path / "a.h5").origins_of("a", "f0") == (Origin("mask"),) * 2


def test_an_origin_that_was_altered_is_found(tmp_path):
    write_clicks(ClickTable("train", ("road", "car"), {("a", "f0"): POINTS}), tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        rows = file["clicks"][:]
        rows["source"][0] = b"none"
        file["clicks"][:] = rows
    with pytest.raises(InputError, match=r"a\.h5: is no"):
        read_clicks(tmp_path / "a.h5")
