"""The recipe of a network: all that determines its weights, and the data that it is trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol, cast

import torch

from weclick.clicks import clicks_digest
from weclick.common.errors import InputError
from weclick.common.sections import TIMM, TWO_STREAM, Selection, TrainingSection
from weclick.geometry import StackOptions
from weclick.manifest import Manifest
from weclick.manifest.click_table import ClickTable
from weclick.manifest.tag_table import TagTable, tags_digest
from weclick.manifest.window import Window
from weclick.store import file_digest
from weclick.store.index import WINDOW
from weclick.store.model_file import Motion
from weclick.train.data.batch import Batch
from weclick.train.data.neighbours import Neighbours
from weclick.train.data.stream import Caches
from weclick.train.network_code import network_code
from weclick.train.roles import ROLE_NEEDS, RoleNeeds
from weclick.train.terms import active, key_sections, learns_from, needs

FORMAT_VERSION = 1

TRAINING = (
    "weclick.train.build",
    "weclick.train.loop",
    "weclick.train.objective",
    "weclick.models",
    "weclick.store.codecs",
    "weclick.store.flow_entries",
)
"""Modules that train a network. The two of the store decode its training data."""

OF_TIMM = ("weclick.models.timm_backbones",)
"""Module that a network on one of timm's backbones needs beside."""

_VALIDATION = ("validate_every", "validate_frames")
_WATCHING = ("checkpoint_every", "log_every", "profile")
"""Options that show a training and do not change it. Validation changes it only with `keep: best`."""

_OFF = {
    "accumulate": 1,
    "clip_gradient_norm": None,
    "deterministic": False,
    "dropout": None,
    "fusion": "early",
    "image_share": None,
    "keep": "last",
    "late_fusion": "sum",
}
"""Options that a key leaves out if they have these values, which change nothing."""


class Completes(Protocol):
    """Completes the batches of a training."""

    def __call__(self, batch: Batch, step: int) -> Batch:
        """The batch with what is computed in the loop; `step` is zero-based."""

    def figures(self) -> Mapping[str, float]:
        """Figures of the last step for its line of metrics.jsonl, of this process."""


class Online(Protocol):
    """Computes parts of batches in the loop: teacher and flow, see `weclick.train.online`; or labels.

    This module imports none. So an edit of an estimator changes no network that is trained from caches.

    Attributes:
        reads: the kinds of caches that it reads. What is not named here it computes itself.
    """

    @property
    def reads(self) -> frozenset[str]:
        """See above."""

    def key_inputs(self, *, flow: bool) -> dict[str, Any]:
        """Its part of the inputs of a network's key; `flow` says whether a loss uses flow."""

    def start(
        self, *, classes: Sequence[str], stride_px: int, occlusion: str | None, device: torch.device
    ) -> Completes:
        """Load what it computes with. The result completes batches."""


@dataclass(frozen=True)
class Recipe:
    """The ingredients of a training.

    Attributes:
        role: of ROLE_NEEDS; also the name of its section of the configuration.
        config: the sections that the role may read.
        manifest: the training split.
        clicks: on the targets of that split; none for a training that learns from tags.
        caches: those of the role, see `RoleNeeds`.
        validation: the split to score during training.
        in_loop: computes teacher and flow, or labels, in the loop, for a training that wants that.
        tags: of the targets, for a training that learns from tags.
        validation_stacks: clip id of the split to score -> key of its flow, of the need `stack`.
    """

    role: str
    config: Selection
    manifest: Manifest
    clicks: ClickTable
    caches: Caches
    validation: Manifest
    in_loop: Online | None = None
    tags: TagTable | None = None
    validation_stacks: Mapping[str, str] = field(default_factory=dict)

    @property
    def needs(self) -> RoleNeeds:
        """What the training of this role needs."""
        return ROLE_NEEDS[self.role]

    @property
    def options(self) -> TrainingSection:
        """The network's section of the configuration."""
        return cast("Mapping[str, TrainingSection]", self.config)[self.role]

    @property
    def losses(self) -> Mapping[str, Any]:
        """The sections of the losses, as terms read them.

        A classifier has one, which needs no settings. Where class 0 is no background, there is no complement.
        Where tags are not complete, nothing is known of classes without one.
        """
        if self.needs.losses:
            return self.needs.losses(self.config)
        if self.tags is None:
            return self.config
        if self.needs.tags:
            learns = {"weight": 1.0, "complete": self.tags.complete}
            learns |= {} if self.manifest.classes.has_background else {"background": False}
            return {"supervision": "tags", self.role: learns}
        own: dict[str, Any] = dict(self.config)
        if not self.manifest.classes.has_background:
            own["heatmap_loss"] = {**own["heatmap_loss"], "background": "none"}
        if not self.tags.complete:
            own["tag_loss"] = {**own["tag_loss"], "complete": False}
        return own

    @property
    def distils(self) -> bool:
        """Whether any loss uses neighbours of the target, or the teacher."""
        return bool(needs(self.losses) - {"cams"})

    @property
    def online(self) -> Online | None:
        """Computes in the loop. None if stored soft labels and flow are read, or if no loss uses them."""
        return self.in_loop if self.distils or (self.in_loop and self.in_loop.reads) else None

    @property
    def uses_flow(self) -> bool:
        """Whether a loss uses flow, or what is computed in the loop reads it."""
        asks = "flow" in needs(self.losses) or bool(self.in_loop and "flow" in self.in_loop.reads)
        return asks and self.window.frames > 1

    @property
    def asks_flow(self) -> str:
        """The section of the loss that asks for flow, and says by `occlusion` where it is believed."""
        return "flow_boundary" if self.role == "relation" else "mfd"

    @property
    def occlusion(self) -> str:
        """The cached masks that the flow has to pass, see `weclick.store.flow_entries.MASK_BITS`."""
        sections: Mapping[str, Any] = self.losses if self.needs.losses else self.config
        return sections.get(self.asks_flow, {}).get("occlusion", "none")

    @property
    def grid_px(self) -> int | None:
        """Stride of the grid on which batches hold flow, px; None: that of the network."""
        sections: Mapping[str, Any] = self.config
        return sections["maskconsist"]["grid_px"] if self.role == "detector" and self.uses_flow else None

    @property
    def stack(self) -> StackOptions | None:
        """How the network's stacks of flow are made; None if it looks at none."""
        if self.options.get("architecture") != TWO_STREAM or self.options.get("fusion") == "none":
            return None
        stack = StackOptions(**self.config["stack"], motion=self.config["flow"]["motion"])
        return stack._replace(scale_px=float(stack.scale_px))  # 8 and 8.0 are one network

    @property
    def uses_soft_labels(self) -> bool:
        """Whether a loss uses soft labels."""
        return "soft_labels" in needs(self.losses)

    @property
    def window(self) -> Neighbours:
        """The neighbours of a target; none if no loss would use them.

        A detector has them always: both frames of a pair have labels.
        """
        if self.needs.window and (self.distils or self.needs.learns_from == "instances"):
            return self.needs.window(self.config)
        if not self.distils or not self.needs.neighbours:
            return Window(frames=1)
        return Window(**self.config["window"])

    @property
    def masked(self) -> dict[str, list[int]]:
        """Clip id -> its targets whose class maps are learned from; empty if no loss learns from masks."""
        if not learns_from("masks", self.losses):
            return {}
        clips = self.manifest.clips
        labelled = {clip.id: [t for t in clip.targets if clip.frames[t].label] for clip in clips}
        return {clip: targets for clip, targets in labelled.items() if targets}

    def motion(self) -> Motion | None:
        """The motion that the network looks at, for its model card."""
        if not self.stack:
            return None
        key = next(iter(self.caches.stack.values()))
        told = self.caches.store.get("flow", key).attributes
        return Motion(self.stack, dict(told["estimator"]), int(told["stride_px"]))

    def used_caches(self) -> Caches:
        """The caches that losses read, without those that are computed online."""
        reads = self.online.reads if self.online else frozenset({"flow", "soft_labels"})
        masked = self.masked
        return replace(
            self.caches,
            masks={clip: key for clip, key in self.caches.masks.items() if clip in masked},
            proxy_labels=self.caches.proxy_labels if learns_from("proxies", self.config) else {},
            flow=self.caches.flow if "flow" in reads and self.uses_flow else {},
            soft_labels=self.caches.soft_labels if "soft_labels" in reads and self.uses_soft_labels else {},
            stack=self.caches.stack if self.stack else {},
            cams=self.caches.cams if "cams" in needs(self.losses) else {},
            confident_labels=self._learned("confident_labels"),
            instances=self._learned("instances"),
        )

    def _learned(self, kind: str) -> Mapping[str, str]:
        """The entries of a kind that a role learns from alone; none for other roles."""
        return getattr(self.caches, kind) if self.needs.learns_from == kind else {}

    def check_needs(self) -> None:
        """Check that a loss is on, and that the recipe has what the losses need.

        Raises:
            InputError: it has not; names the sections of the configuration.
        """
        on = {term.section: term.needs for term, _ in active(self.losses)}
        if not on:
            raise InputError(
                f"the {self.role} has no loss, since all weights are 0; set one of them, e.g. "
                "partial_cross_entropy.weight"
            )
        asking = [section for section, needed in on.items() if needed - {"cams"}]
        if asking and not self.needs.neighbours:
            raise InputError(
                f"{asking[0]}.weight is not 0, but that loss needs soft labels or flow, which a {self.role} "
                "has not; let the student alone read that section (STAGES in weclick/common/stages.py)"
            )
        self._check_own()
        if self.uses_soft_labels and not (self.online or self.caches.soft_labels):
            taught = [f"{section}.weight" for section, needed in on.items() if "soft_labels" in needed]
            raise InputError(
                f"the student distils ({', '.join(taught)}), but has no soft labels; give the index of the "
                "soft_labels stage, a teacher in student.online.teacher, or weights of 0"
            )
        if learns_from("proxies", self.config) and not self.caches.proxy_labels:
            raise InputError(
                f"supervision is 'proxies', but the {self.role} has no proxy labels; give the index of the "
                "proxy_labels stage, or set another supervision"
            )
        if "cams" in needs(self.losses) and not self.caches.cams:
            raise InputError(
                f"heatmap_loss.weight is not 0, but the {self.role} has no class activation maps; give the "
                "index of the cams stage, or set heatmap_loss.weight: 0"
            )
        if self.stack and not self.caches.stack:
            raise InputError(
                f"{self.role}.architecture is {TWO_STREAM!r}, but there are no flows of stacks; give the "
                "index of the flow stage, made with method two_stream or with it in serves. If no two frames "
                "of the clips follow each other, set student.fusion: none"
            )
        if self.masked and not self.used_caches().masks:
            raise InputError(
                f"supervision is {self.config['supervision']!r}, but the {self.role} has no masks; give the "
                "index of the masks stage, or set supervision: clicks"
            )

    def _check_own(self) -> None:
        """What `check_needs` asks of roles that learn from one thing alone."""
        if not self.needs.figure and self.options["keep"] == "best":
            raise InputError(
                f"{self.role}.keep is 'best', but a {self.role} is not scored during its training; set "
                f"{self.role}.keep: last"
            )
        kind, told = self.needs.learns_from, self.needs.learns_from.replace("_", " ")
        if kind in ("confident_labels", "instances") and not self._learned(kind):
            raise InputError(
                f"the {self.role} learns from {told}, but there are none; give the index of the {kind} stage"
            )
        if self.needs.flow_need != WINDOW and self.uses_flow and not self.caches.flow:
            asking = "flow_boundary" if self.role == "relation" else "maskconsist"
            raise InputError(
                f"{asking}.weight is not 0, but the {self.role} has no flow of the need "
                f"{self.needs.flow_need!r}; give the index of the flow stage, made with method maskconsist "
                f"or with it in serves, or set {asking}.weight: 0"
            )

    def code_modules(self) -> tuple[str, ...]:
        """The modules whose code and imports determine the weights."""
        best, timm = self.options["keep"] == "best", self.options["backbone"].startswith(TIMM)
        return (*TRAINING, *self.needs.scoring * best, *OF_TIMM * timm)

    def inputs(self) -> dict[str, Any]:
        """The inputs of the trained network's key."""
        caches = self.used_caches()
        watching = _WATCHING if self.options["keep"] == "best" else (*_WATCHING, *_VALIDATION)
        options: dict[str, Any] = {
            name: value
            for name, value in self.options.items()
            if name not in (*watching, "online") and (name not in _OFF or value != _OFF[name])
        }
        if options["pretrained"] not in (None, "imagenet"):
            options["pretrained"] = file_digest(options["pretrained"])
        elif options["pretrained"] and options["backbone"].startswith(TIMM):
            from weclick.models.build import imagenet_source  # torchvision takes seconds to load

            # timm has several for one network, and another version may choose others
            options["pretrained"] = imagenet_source(options["backbone"])[0]
        if "dropout" in options:
            options["dropout"] = float(options["dropout"])  # 0 and 0.0 are one network
        if not options.get("auxiliary_head"):
            options.pop("auxiliary_weight", None)
        if options.get("fusion") == "none":
            options.pop("late_fusion", None)  # there are no two score maps
        more: dict[str, Any] = {}
        if self.online:
            more["online"] = self.online.key_inputs(flow=self.uses_flow)
        if self.options["keep"] == "best":
            more["validation"] = {
                clip.id: [(clip.frames[t].digest, clip.frames[t].label_digest) for t in clip.scored]
                for clip in self.validation.clips
            }
            if self.stack:
                more["validation_stack"] = dict(self.validation_stacks)
        if self.tags:
            more["tags"] = tags_digest(self.tags)
        elif not self.needs.learns_from and self.config.get("supervision") not in ("masks", "proxies"):
            more["clicks"] = clicks_digest(self.clicks)
        if caches.proxy_labels:
            more["proxy_labels"] = dict(caches.proxy_labels)
        if self.masked:
            more["masks"], more["masked"] = dict(caches.masks), self.masked
        for kind in ("cams", "confident_labels", "instances"):
            if keys := getattr(caches, kind):
                more[kind] = dict(keys)
        if self.stack:
            numbers = {clip.id: [frame.number for frame in clip.frames] for clip in self.manifest.clips}
            more["stack"] = {**self.stack._asdict(), "flow": dict(caches.stack), "numbers": numbers}
        return {
            "format": FORMAT_VERSION,
            "code": network_code(*self.code_modules()),
            "role": self.role,
            "seed": self.config["seed"],
            "options": options,
            "losses": key_sections(self.losses),
            "window": self._window_in_key(),
            "classes": list(self.manifest.classes.names),
            "targets": {clip.id: list(clip.targets) for clip in self.manifest.clips},
            "frames": dict(caches.frames),
            "flow": dict(caches.flow),
            "soft_labels": dict(caches.soft_labels),
            **more,
        }

    def _window_in_key(self) -> Any:
        if self.needs.window:
            return asdict(cast("Any", self.window)) if self.window.frames > 1 else None
        return self.config.get("window") if self.distils else None
