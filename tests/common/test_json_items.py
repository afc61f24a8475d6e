"""Items of large JSON files are found without parsing, and hostile files are refused in good time."""

import json
import time

import pytest

from weclick.common import json_items
from weclick.common.errors import InputError, MissingFileError
from weclick.common.json_items import item_spans, parse_item, read_items

KEYS = ("a", "b")


def found(path, keys=KEYS):
    return {
        key: [parse_item(path, item) for item in read_items(path, spans)]
        for key, spans in item_spans(path, keys).items()
    }


@pytest.mark.parametrize("indent", [None, 1])
def test_items_come_back(tmp_path, indent):
    value = {
        "other": [1, "a", ["b", {"a": [{}]}]],
        "a": [{"x": 'quotes " and \\ and [ { \\" '}, {}, {"y": [[1, {"b": [2]}]]}],
        "c": {"a": [1]},
        "b": [],
        "d": "a",
    }
    path = tmp_path / "x.json"
    path.write_text(json.dumps(value, indent=indent), encoding="utf-8")
    assert found(path) == {"a": value["a"], "b": []}
    assert found(path, ("b", "z")) == {"b": []}


def test_a_file_that_changed_is_looked_at_again(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('{"a": [{}]}', encoding="utf-8")
    spans = item_spans(path, KEYS)["a"]
    path.write_text('{"a": [{}, {"n": 1}]}', encoding="utf-8")
    assert found(path) == {"a": [{}, {"n": 1}]}
    path.write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="became shorter while it was read"):
        read_items(path, spans)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is not one object"),
        ("[]", "is not one object"),
        ("{} {}", "is not one object"),
        ("{} x", "is not one object"),
        ('{"a": [{}', "ends within a bracket"),
        ('{"a": [{}]]', "a bracket at byte 10 closes none"),
        ('{"a": [{]}', "a bracket at byte 8 closes none"),
        ('{"a": [{}, 1]}', "a hold something else than objects"),
        ('{"a": [1, {}]}', "a hold something else than objects"),
        ('{"a": [{} {}]}', "a hold something else than objects"),
        ('{"a": [{}], "a": []}', "the key 'a' stands in it twice"),
        ('{"a": "x', "a text that begins at byte 6 does not end"),
        ('{"c": ' + "[" * 40, "nested deeper than 32"),
    ],
)
def test_strange_files_are_told(tmp_path, text, told):
    path = tmp_path / "x.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=told):
        item_spans(path, KEYS)


def test_an_item_that_is_no_json(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('{"a": [{x}]}', encoding="utf-8")
    with pytest.raises(InputError, match=r"x.json: cannot be read: an item cannot be parsed .*b'{x}'"):
        found(path)


def test_bounds(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    with pytest.raises(MissingFileError, match="there is no such file"):
        item_spans(path, KEYS)
    path.write_bytes(b'{"a": "' + b'\\"' * 10**6)
    begin = time.process_time()
    with pytest.raises(InputError, match="does not end"):
        item_spans(path, KEYS)
    assert time.process_time() - begin < 5  # a second look at each quote would take hours
    path.write_text('{"a": [{}, {}, {}]}', encoding="utf-8")
    monkeypatch.setattr(json_items, "MOST_SIGNS", 5)
    with pytest.raises(InputError, match="more than 5 brackets and texts"):
        item_spans(path, KEYS)
    path.write_text('{"a": [{}, {}, {}] }', encoding="utf-8")
    monkeypatch.setattr(json_items, "MOST_BYTES", 5)
    with pytest.raises(InputError, match="longer than 5 B"):
        item_spans(path, KEYS)
