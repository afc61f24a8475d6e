"""The entries that a run asks the store for: frames, flows, soft labels and networks.

This room only asks. What it asks with lies below, in manifest.needs and in the stages, where the digests of
the rules see it. Modules that compute are imported inside the functions, so verbs that only ask how far a
window reaches do not load torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from weclick.common.config import select
from weclick.common.stages import INDEXED, looks_at_maps, looks_at_stacks, taken_by, takes
from weclick.manifest import Classes, Clip, Manifest
from weclick.manifest.needs import Needs, Pairs
from weclick.manifest.window import Window
from weclick.store import entry_key
from weclick.store.index import WINDOW

if TYPE_CHECKING:
    from weclick.manifest.click_table import ClickTable
    from weclick.manifest.tag_table import TagTable
    from weclick.proxy_labels.amplified_maps import MapSource
    from weclick.proxy_labels.instances import InstanceSource
    from weclick.proxy_labels.proxy_sources import ProxySource
    from weclick.proxy_labels.sources import Source
    from weclick.runs.cam_source import MadeMaps
    from weclick.train.data.stream import Caches
    from weclick.train.recipe import Recipe

FLOW_FOR = {"relation": "flow_boundary", "detector": "maskconsist"}
"""Role -> the section by whose weight it reads flow."""


@dataclass(frozen=True)
class Wanted:
    """The entries that a run asks for.

    Attributes:
        config: the sections that the methods read, complete.
        labels: makes the soft labels; None while that is not there, see `label_source`.
        maps: what the class activation maps are made from; None while that is not there, see `maps_of_run`.
        proxies: makes the proxy labels; None while that is not there, see `proxies_of_run`.
        confident: maps that confident labels are made from; None while they are not there, see
            `maps_for_labels`.
        instances: makes the instances; None while that is not there, see `instances_of_run`.
    """

    config: Mapping[str, Any]
    labels: Source | None = None
    maps: MadeMaps | None = None
    proxies: ProxySource | None = None
    confident: MapSource | None = None
    instances: InstanceSource | None = None

    @property
    def window(self) -> Window:
        """The window of the training."""
        return Window(**self.config["window"])

    @cached_property
    def needs(self) -> Needs:
        """What the served methods need of flow."""
        return Needs.of(self.config)

    @property
    def reach_frames(self) -> int:
        """How far a clip is read around its targets and scored frames; see also `Needs.whole`."""
        return self.needs.reach_frames

    def pairs(self, clip: Clip) -> Pairs:
        """The pairs of a clip that get a flow, each once."""
        return self.needs.all_pairs(clip)

    def needs_of(self, kind: str) -> tuple[str, ...]:
        """The needs of which a clip may have an entry: several of flow, one of all other kinds."""
        return self.needs.names if kind == "flow" else (WINDOW,)

    def inputs(
        self, kind: str, clip: Clip, classes: Classes | None = None, need: str = WINDOW
    ) -> Mapping[str, Any] | None:
        """The inputs that the entry of a clip is made from.

        Args:
            kind: of INDEXED.
            clip: of a manifest, with the digests of its frames.
            classes: of that manifest; masks and proxy labels are made with it.
            need: of flow, which of the clip's entries.

        Returns:
            The inputs; the entry's key is their digest. None if the run asks for no such entry: frames stay
            in their files, the clip has no pairs or no labelled target, or there are no tags, no classifier
            or no teacher yet.
        """
        from weclick.datasets.frames import frames_inputs
        from weclick.flow.jobs import key_inputs
        from weclick.proxy_labels.fuse import fused_along
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
            pairs = self.needs.pairs(clip, need)
            return key_inputs(clip, pairs, self._estimator, options) if pairs else None
        if kind == "cams":
            return self.maps.inputs(clip, options) if self.maps else None
        if kind in ("proxy_labels", "confident_labels", "instances"):
            return self._labels_inputs(kind, clip, classes)
        if self.labels is None:
            return None
        made_from = dict(self.labels.key_inputs(clip))
        if options["fuse"]["neighbours"] and (flow := self.inputs("flow", clip)):
            made_from |= fused_along(options["fuse"], entry_key("flow", flow))
        return soft_labels_inputs(clip, made_from, options["chunk_px"], options["codec"])

    def _labels_inputs(self, kind: str, clip: Clip, classes: Classes | None) -> Mapping[str, Any] | None:
        """The inputs of labels that no person drew; None while what makes them is not there."""
        from weclick.proxy_labels.confident import confident_labels_inputs
        from weclick.proxy_labels.instances import instances_inputs
        from weclick.proxy_labels.proxy_labels import proxy_labels_inputs

        assert classes is not None, "the key of labels holds the names of the classes"
        names = classes.names
        if kind == "proxy_labels" and self.proxies:
            chunk_px = self.config["proxy_labels"]["chunk_px"]
            return proxy_labels_inputs(clip, names, self.proxies, chunk_px)
        if kind == "confident_labels" and self.confident:
            return confident_labels_inputs(clip, self.confident, self.config["confident_labels"])
        return (
            instances_inputs(clip, names, self.instances) if kind == "instances" and self.instances else None
        )

    def keys(
        self, kind: str, clips: Iterable[Clip], classes: Classes | None = None, need: str = WINDOW
    ) -> dict[str, str]:
        """Clip id -> key of its entry, without the clips that need none. See `inputs`."""
        made = ((clip.id, self.inputs(kind, clip, classes, need)) for clip in clips)
        return {clip: entry_key(kind, inputs) for clip, inputs in made if inputs is not None}

    def all_keys(self, kind: str, clips: Sequence[Clip], classes: Classes | None = None) -> set[str]:
        """The keys of all entries of some clips, of every need."""
        return {key for need in self.needs_of(kind) for key in self.keys(kind, clips, classes, need).values()}

    def recipe(
        self,
        role: str,
        *,
        train: Manifest,
        val: Manifest,
        clicks: ClickTable | None = None,
        tags: TagTable | None = None,
        caches: Caches,
        val_stacks: Mapping[str, str] | None = None,
    ) -> Recipe:
        """The recipe of a network.

        Args:
            role: of ROLES.
            train, val: manifests of the splits.
            clicks: on the targets of `train`; a training from tags needs none.
            tags: of the targets of `train`, for a training from these.
            caches: the entries that the indexes of `caches_of` name.
            val_stacks: clip id of `val` -> key of its flow, of the need `stack`.

        Raises:
            InputError: a target lacks a label, and `supervision` wants one; the minutes of `annotation` pay
                for no frame; or no target has a tag, and the role learns from these.
        """
        from weclick.common.errors import InputError
        from weclick.manifest.annotation import annotated
        from weclick.manifest.click_table import ClickTable
        from weclick.manifest.tagged import tagged
        from weclick.runs.consist import Consist
        from weclick.train.data.proxied import (
            with_confident_targets,
            with_instance_targets,
            with_proxy_targets,
        )
        from weclick.train.online import OnlineSection
        from weclick.train.recipe import Recipe
        from weclick.train.roles import ROLE_NEEDS
        from weclick.train.terms import needs

        chosen, none = select(self.config, role), ClickTable(train.split, train.classes.names, {})
        if ROLE_NEEDS[role].tags:
            assert tags is not None, f"a {role} learns from tags"
            return Recipe(role, chosen, tagged(train, tags), none, caches, val, tags=tags)
        if role == "relation":
            return Recipe(role, chosen, with_confident_targets(train, caches), none, caches, val)
        if role == "detector":
            found = with_instance_targets(train, caches)
            return Recipe(role, chosen, found, none, caches, val, Consist.of(chosen))
        if chosen["supervision"] == "tags":
            if tags is None:
                raise InputError(
                    f"supervision is 'tags', but the {role} has no tags; give the table of the tags stage"
                )
            kept = tagged(train, tags)
            return Recipe(
                role,
                chosen,
                kept,
                clicks or none,
                caches,
                val,
                tags=tags,
                validation_stacks=val_stacks or {},
            )
        if chosen["supervision"] == "proxies":
            proxied = with_proxy_targets(train, caches, among_targets="flow" in needs(chosen))
            return Recipe(role, chosen, proxied, clicks or none, caches, val, OnlineSection.of(chosen))
        assert clicks is not None, f"a {role} learns from clicks, or counts them"
        paid = annotated(
            train, clicks, chosen["annotation"], chosen["supervision"], keep_targets=bool(needs(chosen))
        )
        chosen["supervision"] = paid.supervision
        return Recipe(role, chosen, paid.manifest, paid.clicks, caches, val, OnlineSection.of(chosen))

    def caches_of(self, role: str) -> tuple[str, ...]:
        """The stages whose indexes a training reads."""
        from weclick.train.roles import ROLE_NEEDS

        needed = ROLE_NEEDS[role]
        if role in FLOW_FOR:
            left = set() if self.config[FLOW_FOR[role]]["weight"] else {"flow"}
        else:
            left = self._needless(needed.neighbours)
        return tuple(
            stage.name
            for stage in taken_by(self.config, INDEXED)
            if stage.name in needed.caches and stage.name not in left
        )

    def _needless(self, neighbours: bool) -> set[str]:
        """The stages whose entries no loss of a segmentation network or classifier would read."""
        in_loop = neighbours and self.config["student"]["online"]["teacher"]
        taught = takes(self.config, "soft_labels") and not in_loop
        left = set() if taught else {"flow", "soft_labels"}
        left |= set() if looks_at_maps(self.config) else {"cams"}
        if looks_at_stacks(self.config):
            left.discard("flow")
        return left

    @cached_property
    def _estimator(self) -> Mapping[str, Any]:
        from weclick.flow.estimators import estimator_digest

        options = self.config["flow"]
        return estimator_digest(options["estimator"], **options["options"])
