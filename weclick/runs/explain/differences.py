"""Says in words how two store entries differ: in inputs, frames and pairs, all by their names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from weclick.common.stages import INDEXED, MODELS
from weclick.store import Summary

AT_MOST = 4
"""Number of frames, pairs or clips that are listed one by one; the rest are counted."""

_BY_CLIP = (
    *(stage.kind for stage in INDEXED),
    "targets",
    "masked",
    "stack.flow",
    "validation",
    "validation_stack",
)
"""Inputs of a network that are compared clip by clip. A dot leads into one that holds others too."""

_DIGEST = re.compile("'[0-9a-f]{64}'")


def differences(inputs: Mapping[str, Any], names: Mapping[str, str], entry: Summary) -> Iterator[str]:
    """List how the inputs of an entry differ from those asked for, by name and with both values.

    Args:
        inputs: those asked for.
        names: digest of every frame in them -> its name.
        entry: one of the same kind.
    """
    if entry.kind == MODELS:
        yield from _clip_differences(inputs, entry.inputs)
    elif any(inputs.get(part) != entry.inputs.get(part) for part in ("frames", "pairs")):
        yield from _frame_differences(inputs, names, entry)
    else:
        yield from _label_differences(inputs, names, entry)
    asked, other = (dict(_leaves(values)) for values in (inputs, entry.inputs))
    for name in dict.fromkeys([*asked, *other]):
        if _spell(asked, name) != _spell(other, name):
            yield f"{name}: asked {_spell(asked, name)}, the nearest entry has {_spell(other, name)}"


def _frame_differences(inputs: Mapping[str, Any], names: Mapping[str, str], entry: Summary) -> Iterator[str]:
    asked, theirs = _digests(inputs), set(entry.frames)
    named = dict(zip(_names(entry), _digests(entry.inputs), strict=False))
    lacking = [names[digest] for digest in dict.fromkeys(asked) if digest not in theirs]
    changed = [name for name in lacking if name in named]
    absent = [name for name in lacking if name not in named]
    more = len(theirs.difference(asked)) - len(changed)
    of = f"of {len(set(asked))} frames"
    if changed:
        yield f"{len(changed)} {of} have other content: {_first(changed)}"
    if absent:
        yield f"{len(absent)} {of} are not in the nearest entry: {_first(absent)}"
    if more > 0:
        yield f"the nearest entry has frames that are not asked for: {more}"
    if not lacking and more <= 0:
        yield from _pair_differences(inputs, names, entry)


def _label_differences(inputs: Mapping[str, Any], names: Mapping[str, str], entry: Summary) -> Iterator[str]:
    """List the frames of masks whose labels have other content."""
    asked, other = (each.get("labels", ()) for each in (inputs, entry.inputs))
    changed = [
        names[frame]
        for frame, ours, theirs in zip(inputs.get("frames", ()), asked, other, strict=False)
        if ours != theirs
    ]
    if changed:
        yield f"{len(changed)} of {len(asked)} labels have other content: {_first(changed)}"


def _pair_differences(inputs: Mapping[str, Any], names: Mapping[str, str], entry: Summary) -> Iterator[str]:
    """List other pairs of the same frames, or say that their order differs."""
    asked, other = ([tuple(pair) for pair in each.get("pairs", ())] for each in (inputs, entry.inputs))
    absent = [" -> ".join(names[digest] for digest in pair) for pair in asked if pair not in other]
    more = len(set(other).difference(asked))
    if absent:
        yield f"{len(absent)} of {len(asked)} pairs are not in the nearest entry: {_first(absent)}"
    if more:
        yield f"the nearest entry has pairs that are not asked for: {more}"
    if not absent and not more:
        yield "the nearest entry has the same frames in another order"


def _clip_differences(asked: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    """List the clips that only one of two networks has, or whose entries differ."""
    for part in _BY_CLIP:
        ours, theirs = (_at(each, part) for each in (asked, other))
        differ = [clip for clip in sorted({*ours, *theirs}) if ours.get(clip) != theirs.get(clip)]
        if differ:
            yield f"{part}: the nearest network had others, or none, of {len(differ)} clips: {_first(differ)}"


def _at(inputs: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An input by its dotted name; empty if there is none."""
    found: Any = inputs
    for part in name.split("."):
        found = found.get(part, {})
    return found


def _digests(inputs: Mapping[str, Any]) -> list[str]:
    return list(inputs.get("frames") or chain.from_iterable(inputs.get("pairs", ())))


def _names(entry: Summary) -> list[str]:
    """Names that the frames of an entry had when it was made, in the order of `_digests`."""
    pairs = chain.from_iterable(entry.attributes.get("pairs", ()))
    return list(entry.attributes.get("frames") or pairs)


def _leaves(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name and value of all inputs but lists of frames, labels or pairs and those compared by clip."""
    for name, value in values.items():
        dotted = f"{path}{name}"
        if dotted in ("pairs", "labels", *_BY_CLIP):
            continue
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{dotted}.")
        else:
            yield dotted, value


def _spell(values: Mapping[str, Any], name: str) -> str:
    """A value in words; a digest is shortened."""
    if name not in values:
        return "nothing"
    text = repr(list(values[name]) if isinstance(values[name], tuple) else values[name])
    return f"{text[1:13]}…" if _DIGEST.fullmatch(text) else text


def _first(names: Sequence[str]) -> str:
    more = f" and {len(names) - AT_MOST} more" if len(names) > AT_MOST else ""
    return ", ".join(names[:AT_MOST]) + more
