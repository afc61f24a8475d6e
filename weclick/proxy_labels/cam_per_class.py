"""Class activation maps of which each class has a source of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from weclick.common.errors import InputError
from weclick.common.sections import CamsSection
from weclick.manifest import Manifest
from weclick.proxy_labels.cam_sources import BySeveral, CamSource, OneSource, check_named, shown_classes

NONE = "none"
"""Source of a class whose maps are empty."""


def source_of_each(section: CamsSection, names: Sequence[str]) -> tuple[str, ...]:
    """The source of each class, by id; that of a background is none.

    Args:
        section: `cams`, complete.
        names: of the data set's classes.

    Raises:
        InputError: `cams.sources` names what is no such class, or no class has a source.
    """
    check_named("cams.sources", section["sources"], names)
    shown = shown_classes(names)
    of = [section["sources"].get(name, section["source"]) for name in names]
    if shown and all(of[k] == NONE for k in shown):
        raise InputError(
            "cams.sources is none for every class, so no map would show anything; leave some out"
        )
    return tuple(source if k in shown else NONE for k, source in enumerate(of))


def cam_source_of(
    section: CamsSection, names: Sequence[str], made: Callable[[str, Sequence[int]], OneSource]
) -> CamSource:
    """The source of all maps: that of the classes if all have the same, else one of several.

    Args:
        section: `cams`, complete.
        names: of the data set's classes.
        made: name of a source and ids of its classes -> the source.

    Raises:
        InputError: as in `source_of_each`, or as `made` says.
    """
    of, shown = source_of_each(section, names), shown_classes(names)
    held = {name: [k for k in shown if of[k] == name] for name in dict.fromkeys(of[k] for k in shown)}
    parts = {name: made(name, class_ids) for name, class_ids in held.items() if name != NONE}
    return next(iter(parts.values())) if len(held) == 1 else OfSeveral(of, parts)


@dataclass(frozen=True)
class OfSeveral:
    """Sources of single classes. See `CamSource`.

    Attributes:
        of: name of the source of each of the K classes; NONE: its maps are empty.
        parts: the sources, by name.
    """

    of: tuple[str, ...]
    parts: Mapping[str, OneSource]

    def key_inputs(self) -> Mapping[str, Any]:
        """See `CamSource`: those of all parts, and which class is whose."""
        told: dict[str, Any] = {"sources": list(self.of)}
        for part in self.parts.values():
            told |= part.key_inputs()
        return told

    def load(self, manifest: Manifest, device: str) -> BySeveral:
        """See `CamSource`."""
        loaded = {name: part.load(manifest, device) for name, part in self.parts.items()}
        return BySeveral(self.of, loaded)
