"""The types of the sections say what the schema says: the same keys, the same types, both ways."""

from functools import reduce
from operator import or_
from typing import Any, Literal, get_type_hints, is_typeddict

import pytest

from weclick.common.config import RESOLVED, SECTIONS
from weclick.common.schemas import load_schema
from weclick.common.sections import Config, Selection

SCALARS = {
    "integer": int,
    "number": float,
    "string": str,
    "boolean": bool,
    "null": None,
    "object": dict[str, Any],
}


def differences(section: type, schema: dict[str, Any], path: str = "") -> list[str]:
    """What a section's type and its part of the schema disagree on, a line for each key."""
    hints, parts = get_type_hints(section), schema["properties"]
    told = [f"{path}{key}: the schema lacks it" for key in hints.keys() - parts.keys()]
    told += [f"{path}{key}: the type lacks it" for key in parts.keys() - hints.keys()]
    told += [f"{path}{key}: may be missing" for key in sorted(section.__optional_keys__)]
    for key in sorted(hints.keys() & parts.keys()):
        hint, part = hints[key], parts[key]
        if "properties" not in part:
            expected = type_of(part)
            complete = hint | None if f"{path}{key}" in RESOLVED else hint
            told += [] if complete == expected else [f"{path}{key}: {hint}, expected {expected}"]
        elif not is_typeddict(hint):
            told.append(f"{path}{key}: {hint}, expected a section")
        else:
            told += differences(hint, part, f"{path}{key}.")
    return told


def type_of(part: dict[str, Any]) -> Any:
    """The type that a part of the schema stands for, if it is no section."""
    if "const" in part:
        return Literal[part["const"]]
    if "enum" in part:
        values = tuple(value for value in part["enum"] if value is not None)
        return Literal[values] | None if None in part["enum"] else Literal[values]
    names = part["type"] if isinstance(part["type"], list) else [part["type"]]
    return reduce(or_, [_of_name(name, part) for name in names])


def _of_name(name: str, part: dict[str, Any]) -> Any:
    if name == "array":
        return list[type_of(part["items"])] if "items" in part else list[Any]
    if name == "object" and isinstance(part.get("additionalProperties"), dict):
        return dict[str, type_of(part["additionalProperties"])]
    return SCALARS[name]


def test_the_types_are_those_of_the_schema():
    assert differences(Config, load_schema("config")) == []


@pytest.mark.parametrize(
    ("where", "change", "told"),
    [
        (("flow",), {"strides": {"type": "integer"}}, "flow.strides: the type lacks it"),
        (
            ("flow",),
            {"stride_px": {"type": "number"}},
            "flow.stride_px: <class 'int'>, expected <class 'flo",
        ),
        (
            ("kd",),
            {"weight": {"type": ["number", "null"]}},
            "kd.weight: <class 'float'>, expected float | ",
        ),
        (("student",), {"online": {"type": "object"}}, "student.online: <class "),
        (
            ("data", "toy"),
            {"seed": {"type": "object", "properties": {}}},
            "data.toy.seed: <class 'int'>, ",
        ),
        (("window",), {"sampling": {"enum": ["random"]}}, "window.sampling: typing.Literal["),
        (("flow",), {"masks": {"type": "array", "items": {"type": "string"}}}, "flow.masks: list["),
    ],
)
def test_what_drifts_is_told(where, change, told):
    schema = load_schema("config")
    part = reduce(lambda part, name: part["properties"][name], where, schema)
    part["properties"].update(change)
    (found,) = differences(Config, schema)
    assert found.startswith(told)


def test_a_key_that_the_schema_drops_is_told():
    schema = load_schema("config")
    del schema["properties"]["mfd"]["properties"]["reduction"]
    assert differences(Config, schema) == ["mfd.reduction: the schema lacks it"]


def test_a_selection_has_the_sections_that_stages_read():
    read = {name.partition(".")[0] for names in SECTIONS.values() for name in names}
    whole, part = get_type_hints(Config), get_type_hints(Selection)
    assert part == {name: whole[name] for name in read}
    assert Selection.__required_keys__ == frozenset()
