"""What the stage `cams` asks of whatever makes class activation maps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from weclick.common.errors import InputError
from weclick.manifest import Manifest
from weclick.manifest.clips import has_background


def shown_classes(names: Sequence[str]) -> range:
    """Ids of the classes that have maps and scores: all but the background, if there is one."""
    return range(1 if has_background(names) else 0, len(names))


def check_named(key: str, named: Iterable[str], names: Sequence[str]) -> None:
    """Check that a key of the configuration names classes that have maps.

    Raises:
        InputError: it names others.
    """
    shown = [names[k] for k in shown_classes(names)]
    if unknown := sorted(set(named) - set(shown)):
        without = ", without the background" if has_background(names) else ""
        raise InputError(
            f"{key} names {', '.join(map(repr, unknown))}, expected some of {', '.join(shown)}, the classes "
            f"of the data set{without}; correct it"
        )


class Mapper(Protocol):
    """A source that was loaded. Images are (B, 3, H, W), ImageNet-normalised."""

    def scores(self, images: Tensor) -> Tensor:
        """(B, K) in 0..1, how sure a class occurs; 0 for background."""

    def maps(self, images: Tensor, class_ids: Sequence[int]) -> Tensor:
        """(B, C, h, w), 0 or more: where some classes are, see `merge_maps`."""


@dataclass(frozen=True)
class BySeveral:
    """Several loaded sources, each of which shows some classes.

    Attributes:
        of: name of the source of each of the K classes.
        parts: the sources by name. A class whose source is not among them has empty maps and the score 0.
    """

    of: Sequence[str]
    parts: Mapping[str, Mapper]

    def scores(self, images: Tensor) -> Tensor:
        """See `Mapper`."""
        found = images.new_zeros(len(images), len(self.of))
        for part, class_ids in self.shared_out(range(len(self.of))):
            found[:, class_ids] = part.scores(images)[:, class_ids].to(found)
        return found

    def shared_out(self, class_ids: Sequence[int]) -> list[tuple[Mapper, list[int]]]:
        """The sources of some classes, each with the ids that are its own."""
        shares = [(part, [k for k in class_ids if self.of[k] == name]) for name, part in self.parts.items()]
        return [(part, own) for part, own in shares if own]


class CamSource(Protocol):
    """Makes the maps. Nothing is loaded before `load`."""

    def key_inputs(self) -> Mapping[str, Any]:
        """Its part of the inputs that an entry is made from; the entry's attributes say the same."""

    def load(self, manifest: Manifest, device: str) -> Mapper | BySeveral:
        """Get ready to map frames of a manifest, on `device`.

        Raises:
            InputError: it has other classes, or cannot be read.
        """


class OneSource(CamSource, Protocol):
    """A `CamSource` that is not one of several."""

    def load(self, manifest: Manifest, device: str) -> Mapper:
        """See `CamSource`."""
