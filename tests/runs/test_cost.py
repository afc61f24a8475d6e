"""What a stage cost is told beside its output: made anew, found in the store, and by which run."""

import json

import pytest

from weclick.datasets.frames import pack_frames
from weclick.runs.cost import stage_cost
from weclick.runs.metered import MeteredStore
from weclick.store import Store, write_index


def lines(output):
    return [
        json.loads(line)
        for line in output.with_suffix(".cost.jsonl").read_text(encoding="utf-8").splitlines()
    ]


def pack(manifest, store, output):
    metered = MeteredStore(store, "frames")
    with stage_cost(output, metered):
        write_index(output, "frames", pack_frames(manifest, chunk_px=32, store=metered))


def test_a_second_run_adds_a_line_and_leaves_the_first_and_the_index(street, tmp_path):
    store, output = Store([tmp_path / "store"]), tmp_path / "0.json"
    pack(street.train, store, output)
    index, first = output.read_bytes(), lines(output)
    pack(street.train, store, output)
    assert output.read_bytes() == index
    made, found = lines(output)
    assert [made] == first
    assert (made["made"], made["found"]) == (2, 0)
    assert (found["made"], found["found"], found["written_bytes"]) == (0, 2, 0)
    entries = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in (tmp_path / "store").glob("frames/v1/*/*/entry.json")
    ]
    assert made["written_bytes"] == sum(entry["entry_bytes"] for entry in entries) > 0


def test_entries_of_other_kinds_do_not_count(street, tmp_path):
    metered = MeteredStore(Store([tmp_path / "store"]), "flow")
    pack_frames(street.train, chunk_px=32, store=metered)
    pack_frames(street.train, chunk_px=32, store=metered)
    assert not metered.made
    assert not metered.found


def test_a_team_root_counts_as_found(street, tmp_path):
    pack(street.train, Store([tmp_path / "team"]), tmp_path / "a.json")
    pack(street.train, Store([tmp_path / "team", tmp_path / "mine"]), tmp_path / "b.json")
    (line,) = lines(tmp_path / "b.json")
    assert (line["made"], line["found"]) == (0, 2)


def test_without_a_store_the_output_is_what_was_written(tmp_path):
    output = tmp_path / "train.h5"
    with stage_cost(output):
        output.write_bytes(b"12345")
    (line,) = lines(output)
    assert (line["written_bytes"], line["made"], line["found"]) == (5, 0, 0)


def test_a_stage_that_fails_tells_nothing(tmp_path):
    with pytest.raises(ValueError, match="no"), stage_cost(tmp_path / "0.json"):
        raise ValueError("no")
    assert not list(tmp_path.iterdir())


def test_helpers_of_a_training_tell_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    with stage_cost(tmp_path / "0.json"):
        pass
    assert not list(tmp_path.iterdir())
