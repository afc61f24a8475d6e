"""The entries that a run asks the store for: frames, flows, soft labels and networks.

This room only asks. What it asks with lies below, in manifest.window and in the stages, where the digests of
the rules see it. Modules that compute are imported inside the functions, so verbs that only ask how far a
window reaches do not load torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from weclick.common.config import select
from weclick.common.stages import INDEXED, taken_by
from weclick.manifest import Classes, Clip, Manifest
from weclick.manifest.window import Window, reach_frames, wanted_pairs
from weclick.store import entry_key

if TYPE_CHECKING:
    from weclick.manifest.click_table import ClickTable
    from weclick.proxy_labels.sources import Source
    from weclick.train.data.stream import Caches
    from weclick.train.recipe import Recipe


@dataclass(frozen=True)
class Wanted:
    """The entries that a run asks for.

    Attributes:
        config: the sections that the methods read, complete.
        labels: makes the soft labels; None while that is not there, see `label_source`.
    """

    config: Mapping[str, Any]
    labels: Source | None = None

    @property
    def window(self) -> Window:
        """The window of the training."""
        return Window(**self.config["window"])

    @property
    def reach_frames(self) -> int:
        """How far a clip is read around its targets and scored frames."""
        return reach_frames(self.window, self.config["evaluate"]["max_gap_frames"])

    def pairs(self, clip: Clip) -> tuple[tuple[int, int], ...]:
        """The pairs of a clip that get a flow, see `wanted_pairs`."""
        return wanted_pairs(clip, self.window, self.config["evaluate"]["max_gap_frames"])

    def inputs(self, kind: str, clip: Clip, classes: Classes | None = None) -> Mapping[str, Any] | None:
        """The inputs that the entry of a clip is made from.

        Args:
            kind: frames, masks, flow or soft_labels.
            clip: of a manifest, with the digests of its frames.
            classes: of that manifest; masks are made with it.

        Returns:
            The inputs; the entry's key is their digest. None if the run asks for no such entry: frames stay
            in their files, the clip has no pairs or no labelled target, or there is no teacher yet.
        """
        from weclick.datasets.frames import frames_inputs
        from weclick.flow.jobs import key_inputs
        from weclick.proxy_labels.fusion import fused_along
        from weclick.proxy_labels.masks import labelled_targets, masks_inputs
        from weclick.proxy_labels.soft_labels import soft_labels_inputs

        options = self.config[kind]
        if kind == "frames":
            return frames_inputs(clip, options["chunk_px"], options["codec"]) if options["pack"] else None
        if kind == "masks":
            assert classes is not None, "the key of masks holds how stored values stand for classes"
            labelled = labelled_targets(clip).frames
            return masks_inputs(clip, classes, options["chunk_px"]) if labelled else None
        if kind == "flow":
            pairs = self.pairs(clip)
            return key_inputs(clip, pairs, self._estimator, options) if pairs else None
        if self.labels is None:
            return None
        made_from = dict(self.labels.key_inputs(clip))
        if options["fuse"]["neighbours"] and (flow := self.inputs("flow", clip)):
            made_from |= fused_along(options["fuse"], entry_key("flow", flow))
        return soft_labels_inputs(clip, made_from, options["chunk_px"], options["codec"])

    def keys(self, kind: str, clips: Iterable[Clip], classes: Classes | None = None) -> dict[str, str]:
        """Clip id -> key of its entry, without the clips that need none. See `inputs`."""
        made = ((clip.id, self.inputs(kind, clip, classes)) for clip in clips)
        return {clip: entry_key(kind, inputs) for clip, inputs in made if inputs is not None}

    def recipe(
        self, role: str, *, train: Manifest, val: Manifest, clicks: ClickTable, caches: Caches
    ) -> Recipe:
        """The recipe of a network.

        Args:
            role: teacher or student.
            train, val: manifests of the splits.
            clicks: on the targets of `train`.
            caches: the entries that the indexes of `caches_of` name.

        Raises:
            InputError: a target lacks a label, and `supervision` wants one; or the minutes of `annotation`
                pay for no frame.
        """
        from weclick.manifest.annotation import annotated
        from weclick.train.online import OnlineSection
        from weclick.train.recipe import Recipe
        from weclick.train.terms import needs

        chosen = select(self.config, role)
        kept = annotated(
            train, clicks, chosen["annotation"], chosen["supervision"], keep_targets=bool(needs(chosen))
        )
        chosen["supervision"] = kept.supervision
        return Recipe(role, chosen, kept.manifest, kept.clicks, caches, val, OnlineSection.of(chosen))

    def caches_of(self, role: str) -> tuple[str, ...]:
        """The stages whose indexes a training reads."""
        in_loop = role == "student" and self.config["student"]["online"]["teacher"]
        distilled = () if role == "teacher" or in_loop else ("flow", "soft_labels")
        return tuple(
            stage.name
            for stage in taken_by(self.config, INDEXED)
            if stage.name in ("frames", "masks", *distilled)
        )

    @cached_property
    def _estimator(self) -> Mapping[str, Any]:
        from weclick.flow.estimators import estimator_digest

        options = self.config["flow"]
        return estimator_digest(options["estimator"], **options["options"])
