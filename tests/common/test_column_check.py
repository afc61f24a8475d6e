"""The quick check of many values agrees with jsonschema."""

from __future__ import annotations

import json
import random
from copy import deepcopy

import pytest
from jsonschema import Draft202012Validator

from weclick.common.bounded_json import DEPTH, JSON_BYTES, PARSED_BYTES, parse_json, read_bounded
from weclick.common.column_check import KEYWORDS, first_fault
from weclick.common.errors import InputError
from weclick.common.files import read_json
from weclick.common.schemas import load_schema, schema_fault

FRAME = {
    "name": "a",
    "number": 0,
    "image": "a.png",
    "digest": "0" * 64,
    "video_frame": None,
    "label": "b.png",
    "label_digest": "1" * 64,
    "instances": None,
    "instances_digest": None,
}
CLIP = {"id": "c", "frames": [FRAME] * 3, "targets": [1], "scored": [], "height_px": 8, "width_px": 9}
MANIFEST = {
    "schema_version": 1,
    "dataset": "folder",
    "root": "/data",
    "split": "train",
    "shard": 0,
    "shards": 1,
    "classes": {
        "names": ["a", "b"],
        "palette": [[0, 0, 0], [9, 9, 9]],
        "instance_classes": [],
        "label_map": {"ids": {"7": 1}},
    },
    "click_file": None,
    "click_file_digest": None,
    "shrink": 1,
    "clips": [CLIP] * 2,
}
LOCK_SCORES = {"miou": 0.5, "per_class_iou": {"a": None, "b": 1.0}, "frames": 3}
OTHERS = [None, True, -1, 0, 0.5, float("nan"), "", "text", [], {}, [1, "x"], {"x": 1}, 10**30, [[0, 0, 0]]]


def places(value, path=()):
    """The paths to all values inside a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield (*path, key)
        yield from places(part, (*path, key))


@pytest.mark.parametrize("seed", range(300))
def test_it_accepts_what_the_library_accepts(seed):
    rng, value = random.Random(seed), deepcopy(MANIFEST)
    path = rng.choice(list(places(value)))
    holder = value
    for key in path[:-1]:
        holder = holder[key]
    if rng.random() < 0.2 and isinstance(holder, dict):
        holder[rng.choice(["strange", ""])] = holder.pop(path[-1])
    else:
        holder[path[-1]] = rng.choice(OTHERS)
    schema = load_schema("manifest")
    fault = first_fault([value], schema, schema)
    assert bool(fault) != Draft202012Validator(schema).is_valid(value), (path, fault)


def test_whole_values_have_no_fault():
    assert schema_fault(MANIFEST, "manifest") == ""
    lock = load_schema("lock")
    part = lock["$defs"]["scores"]
    assert first_fault([LOCK_SCORES], part, lock) == ""
    assert first_fault([{"miou": "high"}], part, lock).startswith("*: 'high' is not of type")


@pytest.mark.parametrize("place", ["number", "digest"])
def test_one_bad_frame_among_many_is_told_quickly(place):
    frames = [FRAME] * 90_000 + [FRAME | {place: 1.0}]
    fault = schema_fault({**MANIFEST, "clips": [{**CLIP, "frames": frames}]}, "manifest")
    assert fault.startswith(f"clips/frames/{place}: 1.0 is not of type")


@pytest.mark.parametrize(
    "name",
    [
        "manifest",
        "lock",
        "results",
        "experiment",
        "flow",
        "frames",
        "cams",
        "models",
        "soft_labels",
        "clicks",
    ],
)
def test_it_knows_every_keyword_of_the_schemas(name):
    def keywords(schema):
        if not isinstance(schema, dict):
            return set()
        named = [part for key in ("properties", "$defs") for part in schema.get(key, {}).values()]
        parts = [schema.get(key) for key in ("items", "additionalProperties", "propertyNames")]
        parts += [*named, *schema.get("anyOf", ())]
        return set(schema).union(*map(keywords, parts))

    assert keywords(load_schema(name)) <= KEYWORDS


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[" * 100_000 + "]" * 100_000, f"deeper than {DEPTH} levels"),
        ("[" * 40 + "]" * 40, f"deeper than {DEPTH} levels"),
        ("[" + "[]," * (PARSED_BYTES // 90) + "[]]", "of memory; at most"),
        ('{"a":1', "Expecting"),
        ("1" * 5000, "digits"),
    ],
)
def test_json_that_means_harm_is_refused_before_it_takes_memory(text, told):
    with pytest.raises(ValueError, match=told):
        parse_json(text.encode())


def test_a_long_file_is_not_read(tmp_path):
    with (tmp_path / "long.json").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ValueError, match=r"longer than 64\.0 MiB"):
        read_bounded(tmp_path / "long.json")
    with pytest.raises(InputError, match=r"longer than 64\.0 MiB, .*; more shards \(data\.shards\) make"):
        read_json(tmp_path / "long.json", "manifest")
    assert JSON_BYTES == 64 * 2**20


@pytest.mark.parametrize("depth", [1, DEPTH])
def test_json_of_lawful_depth_is_read(depth):
    assert parse_json(("[" * depth + "]" * depth).encode()) == json.loads("[" * depth + "]" * depth)
