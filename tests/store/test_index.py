"""Index files of both versions: what is written where, and what is read from it."""

import json

import pytest

from weclick.common.errors import InputError
from weclick.store import by_clip, keys_in, read_index, read_needs, told_of, write_index

SEVERAL = {"b": {"window": "1", "chain": "2"}, "a": {"chain": "3"}}


def test_an_index_of_windows_alone_is_that_of_before(tmp_path):
    before, now = tmp_path / "before.json", tmp_path / "now.json"
    write_index(before, "flow", {"b": "2", "a": "1"})
    write_index(now, "flow", {"b": {"window": "2"}, "a": {"window": "1"}, "c": {}})
    assert before.read_bytes() == now.read_bytes()
    assert json.loads(now.read_text(encoding="utf-8")) == {"kind": "flow", "entries": {"a": "1", "b": "2"}}
    assert read_index([now], "flow") == {"a": "1", "b": "2"}
    assert read_index([now], "flow", "chain") == {}
    assert read_needs([now], "flow") == {"a": {"window": "1"}, "b": {"window": "2"}}


def test_an_index_of_several_needs_tells_them_apart(tmp_path):
    path = tmp_path / "0.json"
    write_index(path, "flow", SEVERAL)
    assert json.loads(path.read_text(encoding="utf-8")) == {"kind": "flow", "version": 2, "entries": SEVERAL}
    assert read_index([path], "flow") == {"b": "1"}
    assert read_index([path], "flow", "chain") == {"a": "3", "b": "2"}
    assert read_needs([path], "flow") == SEVERAL
    assert sorted(keys_in(SEVERAL)) == ["1", "2", "3"]
    assert told_of(read_needs([path], "flow")) == SEVERAL


def test_shards_of_both_versions_are_read_together(tmp_path):
    write_index(tmp_path / "0.json", "flow", {"c": "4"})
    write_index(tmp_path / "1.json", "flow", SEVERAL)
    both = [tmp_path / "0.json", tmp_path / "1.json"]
    assert read_index(both, "flow") == {"b": "1", "c": "4"}


def test_keys_by_need_become_keys_by_clip():
    assert by_clip({"window": {"b": "1"}, "chain": {"b": "2", "a": "3"}, "step": {}}) == SEVERAL


@pytest.mark.parametrize(
    "raw",
    [
        {"version": 2, "entries": {"a": "1"}},
        {"entries": {"a": {"window": "1"}}},
        {"version": 2, "entries": {"a": {"window": 1}}},
        {"version": 3, "entries": {}},
        {"version": True, "entries": {}},
    ],
)
def test_what_is_no_index_is_refused(tmp_path, raw):
    (tmp_path / "0.json").write_text(json.dumps({"kind": "flow", **raw}), encoding="utf-8")
    with pytest.raises(InputError, match=r"0\.json: is no index of flow entries .* run the flow stage again"):
        read_index([tmp_path / "0.json"], "flow")
