"""What files of COCO and YouTube-VIS hold, as plain structures, checked before they are scored."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from weclick.common.errors import InputError

Kind = Literal["image", "video"]

MAX_PIXELS = 2**27
"""Of an image. Larger ones are no frames, but files that someone damaged."""

_HUGE = 1e300
"""Numbers from here on do not count as finite."""


class Source(NamedTuple):
    """An image or a video that instances lie in.

    Attributes:
        size: (H, W) px.
        length: frames; 1 for an image.
    """

    size: tuple[int, int]
    length: int


@dataclass(frozen=True)
class Truth:
    """The ground truth of a data set.

    Attributes:
        kind: what its sources are.
        sources: by their id, in rising order.
        class_ids: in rising order.
        annotations: as the file holds them.
    """

    kind: Kind
    sources: dict[int, Source]
    class_ids: tuple[int, ...]
    annotations: Sequence[Mapping[str, Any]]

    def place(self, entry: Mapping[str, Any], where: str) -> tuple[int, int]:
        """The source and the class of an annotation or a prediction.

        Raises:
            InputError: the truth knows no such source or class.
        """
        key = f"{self.kind}_id"
        source, class_id = (
            whole(entry, key, where, least=None),
            whole(entry, "category_id", where, least=None),
        )
        if source not in self.sources:
            raise InputError(
                f"{where}: {key} is {source}, which the ground truth does not have; score predictions of the "
                f"{self.kind}s that it lists"
            )
        if class_id not in self.class_ids:
            raise InputError(
                f"{where}: category_id is {class_id}, expected one of {_some(self.class_ids)}; use the ids "
                "of the ground truth's categories"
            )
        return source, class_id


def read_truth(ground_truth: Any, kind: Kind) -> Truth:
    """The ground truth in a structure of COCO (`images`) or YouTube-VIS (`videos`).

    Raises:
        InputError: a part is missing or is not as these formats have it.
    """
    if not isinstance(ground_truth, Mapping):
        raise InputError(
            f"the ground truth is a {type(ground_truth).__name__}, expected an object with {kind}s, "
            "annotations and categories"
        )
    sources: dict[int, Source] = {}
    for at, entry in enumerate(entries(ground_truth.get(f"{kind}s"), f"{kind}s", empty=False)):
        where = f"{kind}s, entry {at}"
        _add(sources, whole(entry, "id", where, least=None), _source(entry, kind, where), where)
    classes: dict[int, None] = {}
    for at, entry in enumerate(entries(ground_truth.get("categories"), "categories", empty=False)):
        _add(
            classes,
            whole(entry, "id", f"categories, entry {at}", least=None),
            None,
            f"categories, entry {at}",
        )
    annotations = entries(ground_truth.get("annotations"), "annotations")
    return Truth(kind, dict(sorted(sources.items())), tuple(sorted(classes)), annotations)


def entries(value: Any, name: str, *, empty: bool = True) -> Sequence[Mapping[str, Any]]:
    """A list of objects.

    Raises:
        InputError: it is none, or is empty where it must not be.
    """
    if isinstance(value, list | tuple) and all(isinstance(e, Mapping) for e in value) and (value or empty):
        return value
    bare = isinstance(value, list | tuple) and not value
    found = "missing" if value is None else "empty" if bare else f"{value!r:.60}"
    raise InputError(f"{name} is {found}, expected a list of objects, as COCO and YouTube-VIS have it")


def whole(entry: Mapping[str, Any], key: str, where: str, *, least: int | None = 1) -> int:
    """A whole number of an entry, also one of numpy, at least `least`.

    Raises:
        InputError: it is none.
    """
    value = _plain(entry.get(key))
    if type(value) is not int or (least is not None and value < least):
        raise InputError(
            f"{where}: {key} is {value!r:.60}, expected a whole number"
            f"{'' if least is None else f' from {least}'}"
        )
    return value


def number(entry: Mapping[str, Any], key: str, where: str) -> float:
    """A finite number of an entry, also one of numpy.

    Raises:
        InputError: it is none.
    """
    value = _plain(entry.get(key))
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _HUGE:
        raise InputError(f"{where}: {key} is {value!r:.60}, expected a finite number")
    return float(value)


def is_crowd(entry: Mapping[str, Any], where: str) -> bool:
    """Whether an annotation marks a group of objects.

    Raises:
        InputError: `iscrowd` is neither 0 nor 1.
    """
    value = _plain(entry.get("iscrowd", 0))
    if not isinstance(value, int | float) or value not in (0, 1):
        raise InputError(f"{where}: iscrowd is {value!r:.60}, expected 0 or 1")
    return bool(value)


def _plain(value: Any) -> Any:
    """A number of numpy as one of Python."""
    return value.item() if isinstance(value, np.generic) else value


def _source(entry: Mapping[str, Any], kind: Kind, where: str) -> Source:
    size = whole(entry, "height", where), whole(entry, "width", where)
    if math.prod(size) > MAX_PIXELS:
        raise InputError(f"{where}: {size[0]} x {size[1]} px, expected at most {MAX_PIXELS} pixels")
    return Source(size, whole(entry, "length", where) if kind == "video" else 1)


def _add(known: dict[int, Any], key: int, value: Any, where: str) -> None:
    if key in known:
        raise InputError(f"{where}: id {key} is there twice; give every entry its own id")
    known[key] = value


def _some(values: tuple[int, ...]) -> str:
    told = ", ".join(map(str, values[:10]))
    return told if len(values) <= 10 else f"{told}, ..."
