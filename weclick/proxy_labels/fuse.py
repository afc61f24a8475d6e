"""Whether soft labels of targets are averaged with those of their neighbours. `Fusion` does it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weclick.common.sections import FuseSection
from weclick.manifest import Clip
from weclick.store import Store

if TYPE_CHECKING:  # loads torch, and keys do without
    from weclick.proxy_labels.fusion import Fusion


def fused_along(options: FuseSection, flow_key: str) -> dict[str, Any]:
    """What a key holds of soft labels that are fused along a flow; nothing if they are not fused."""
    return {"fuse": {"flow": flow_key, **options}} if options["neighbours"] else {}


@dataclass(frozen=True)
class Fuse:
    """How the soft labels of targets are averaged, and along what.

    Attributes:
        options: the section `soft_labels.fuse`.
        flow: clip id -> key of its flow. Clips without one keep their labels.
        store: holds the flow.
    """

    options: FuseSection
    flow: Mapping[str, str]
    store: Store

    def key_inputs(self, clip: Clip) -> dict[str, Any]:
        """Its part of the inputs that the entry of a clip is made from."""
        return fused_along(self.options, self.flow[clip.id]) if clip.id in self.flow else {}

    def of(self, clip: Clip) -> Fusion | None:
        """What averages the labels of a clip; None if they stay as they are."""
        if not self.key_inputs(clip):
            return None
        from weclick.proxy_labels.fusion import Fusion

        return Fusion(clip, self.store.get("flow", self.flow[clip.id]), self.options)
