"""From caches to batches: a plan per step, window reads, one joint affine per sample.

A step's plan is a function of (seed, step) alone, so a resumed run sees what the whole run would have
seen. Reads run ahead in one thread; TensorStore's own threads do the decoding. On a GPU that thread also
uploads and assembles, beside the step: the next one finds its batch ready.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache, partial
from typing import Any, cast

import numpy as np
import torch

from weclick.common.errors import InputError
from weclick.common.sections import TrainingSection
from weclick.datasets.frames import unpacked_key
from weclick.geometry import Crop, StackOptions, crop_window
from weclick.manifest import IGNORE, Manifest
from weclick.manifest.click_table import ClickTable
from weclick.manifest.tag_table import TagTable
from weclick.store import Entry, Store, damaged
from weclick.store.cam_entries import check_maps
from weclick.store.flow_entries import MASK_BITS
from weclick.store.instance_entries import FrameInstances
from weclick.store.stacks import StackPlan
from weclick.train.data.ahead import made_ahead
from weclick.train.data.assemble import Part, Read, assemble
from weclick.train.data.batch import Batch
from weclick.train.data.image_files import FileReader, FileReading
from weclick.train.data.instances import InstanceReader
from weclick.train.data.neighbours import Neighbours
from weclick.train.data.sample import Sample, draw_crop, draw_jitter
from weclick.train.data.turns import Turns
from weclick.train.data.windows import Reading, WindowReader

CHANNELS_FIRST = ("flow", "maps", "probabilities")
"""Arrays whose windows have an axis before rows and columns."""

SOME_FRAMES = ("confident_labels", "proxy_labels")
"""Kinds of class maps that some frames of a clip have. The entry says which; its inputs do not."""

CLASS_MAPS = (*SOME_FRAMES, "masks")
"""Kinds of class maps that networks learn from."""


@dataclass(frozen=True)
class Caches:
    """The sources of a stream: the store and, for each kind, clip id -> key.

    Frames whose key is their clip's `unpacked_key` are read from the files that the manifest names.
    """

    store: Store
    frames: Mapping[str, str]
    flow: Mapping[str, str]
    soft_labels: Mapping[str, str]
    masks: Mapping[str, str] = field(default_factory=dict)
    proxy_labels: Mapping[str, str] = field(default_factory=dict)
    stack: Mapping[str, str] = field(default_factory=dict)
    cams: Mapping[str, str] = field(default_factory=dict)
    confident_labels: Mapping[str, str] = field(default_factory=dict)
    instances: Mapping[str, str] = field(default_factory=dict)

    @property
    def class_maps(self) -> str:
        """The kind of the entries whose class maps are learned from; empty if none are."""
        return next((kind for kind in CLASS_MAPS if getattr(self, kind)), "")

    @classmethod
    def of(cls, store: Store, keys: Mapping[str, Mapping[str, str]]) -> Caches:
        """What a training may read of some kinds; those that are missing are empty."""
        kinds = [each.name for each in fields(cls) if each.name != "store"]
        return cls(store, **{kind: keys.get(kind, {}) for kind in kinds})


class Stream:
    """Batches of a training.

    Args:
        manifest: the training split.
        clicks: clicks on its targets.
        caches: entries to read; all but the frames may be empty. With masks, the targets that have a label
            are read with it.
        window: which neighbours a target gets.
        options: the network's section: batch_size, crop, scale, flip, colour_jitter.
        stride_px: stride of the network's logits.
        occlusion: which cached masks gate the flow (see MASK_BITS).
        seed: of samples and crops.
        rank, world: this process' share of every batch.
        tags: of the targets, for a training that learns from these.
        stack: how the stacks of flow are made that the network looks at; None if it looks at none.
        both_ways: whether the flow from neighbours back to their targets is read, too.
        asks_flow: the section of the configuration whose `occlusion` is asked for.

    Raises:
        InputError: the split has no target, the batch does not divide among the processes, or the flow was
            stored without the masks asked for.
    """

    def __init__(
        self,
        manifest: Manifest,
        clicks: ClickTable,
        caches: Caches,
        *,
        window: Neighbours,
        options: TrainingSection,
        stride_px: int,
        occlusion: str,
        seed: int,
        rank: int = 0,
        world: int = 1,
        tags: TagTable | None = None,
        stack: StackOptions | None = None,
        both_ways: bool = False,
        asks_flow: str = "mfd",
    ):
        self._targets = [(clip, target) for clip in manifest.clips for target in clip.targets]
        if not self._targets:
            raise InputError(
                f"split {manifest.split!r} of {manifest.root} has {len(manifest.clips)} clips, but no target "
                "frame to train on; add labels or clicks, or check data.target_every"
            )
        if options["batch_size"] % world:
            raise InputError(
                f"batch_size is {options['batch_size']}, which does not divide among {world} processes; "
                "set a multiple of their number"
            )
        self._turns = Turns(
            [len(clip.frames) == 1 for clip, _ in self._targets],
            seed=seed,
            batch_size=options["batch_size"],
            image_share=cast("float | None", options.get("image_share")),  # a student's alone
        )
        self._clicks, self._tags, self._caches, self._window = clicks, tags, caches, window
        self._classes, self._background = manifest.classes.names, manifest.classes.has_background
        self._num_classes = manifest.num_classes
        self._stack = StackPlan(stack) if stack else None
        self._checked: set[str] = set()
        self._options, self._stride, self._seed = options, stride_px, seed
        self._mask_bits = MASK_BITS[occlusion]
        self._rank, self._world = rank, world
        self._reader = WindowReader(caches.store)
        self._instances = InstanceReader(caches.store, self._classes)
        self._both_ways = both_ways
        self._files = FileReader(manifest)
        self._check_masks(occlusion, asks_flow)
        self.wait_s = 0.0
        """Seconds that `batches` kept its caller waiting for reads, so far."""

    def _check_masks(self, occlusion: str, section: str) -> None:
        for clip, key in self._caches.flow.items():
            made = self._reader.entry("flow", key).attributes["masks"]
            if self._mask_bits & ~sum(mask["bit"] for mask in made.values()):
                raise InputError(
                    f"{section}.occlusion is {occlusion!r}, but the flow of clip {clip!r} was stored "
                    f"with masks {sorted(made)}; name the mask in flow.masks and run the flow stage again"
                )

    def plan(self, step: int) -> list[Sample]:
        """The samples of one step on this process: a function of seed and step."""
        size = self._options["batch_size"]
        return [self._sample(step * size + i) for i in range(self._rank, size, self._world)]

    def batches(self, start: int, stop: int, device: torch.device) -> Iterator[Batch]:
        """Batches of the steps start..stop-1 in order, made ahead by at most AHEAD_STEPS."""
        side = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._reader.pinned = side is not None

        def prepare(step: int) -> Callable[[], Batch]:
            return self._prepare(self.read(self.plan(step)), device, side)

        with closing(made_ahead(prepare, start, stop)) as ready:
            for _ in range(start, stop):
                began = time.perf_counter()
                finish = next(ready)
                self.wait_s += time.perf_counter() - began
                yield finish()

    def read(self, plan: list[Sample]) -> list[Read]:
        """Read what the samples need, all windows at once, as stored."""
        begun = [self._begin(sample) for sample in plan]
        reads = [
            Read(sample, {kind: part.finish() for kind, part in parts.items()}, self._found(sample))
            for sample, parts in zip(plan, begun, strict=True)
        ]
        for read in reads:
            if "masks" in read.parts:
                self._check_classes(read)
        return reads

    def _found(self, sample: Sample) -> list[FrameInstances]:
        """The instances of a sample's frames; none if the run reads none."""
        if not self._caches.instances:
            return []
        positions = (sample.target, *sample.neighbours)
        return self._instances.read(sample.clip, self._key("instances", sample), positions)

    def _check_classes(self, read: Read) -> None:
        """Check the values of a class map: a GPU would end the whole process at a class that is none."""
        classes = read.parts["masks"].data
        strange = classes[(classes >= self._num_classes) & (classes != IGNORE)]
        if classes.dtype != torch.uint8 or len(strange):
            kind = self._caches.class_maps
            entry = self._reader.entry(kind, self._key(kind, read.sample))
            found = f"{strange[0]} of {classes.dtype}" if len(strange) else f"values of {classes.dtype}"
            raise damaged(
                entry.path, f"classes holds {found}, expected uint8 in 0..{self._num_classes - 1} or {IGNORE}"
            )

    def _sample(self, index: int) -> Sample:
        clip, target = self._targets[self._turns[index]]
        rng = np.random.default_rng((self._seed, index))
        name = clip.id, clip.frames[target].name
        return Sample(
            clip=clip,
            target=target,
            neighbours=self._window.draw(clip, target, rng),
            crop=draw_crop(clip.size, self._options, rng),
            clicks=self._clicks.of(*name),
            jitter=draw_jitter(self._options.get("colour_jitter", 0), rng),
            weights=self._clicks.weights(*name),
            tags=self.tag_row(*name),
        )

    def tag_row(self, clip: str, frame: str) -> np.ndarray | None:
        """(K,) bool, the classes that occur in a frame; None if the training asks for none."""
        if self._tags is None:
            return None
        row = np.isin(np.arange(self._num_classes), [*self._tags.of(clip, frame)])
        row[:1] |= self._background  # it occurs in every image, whether or not anybody says so
        return row

    def _begin(self, sample: Sample) -> dict[str, _Pending]:
        positions = (sample.target, *sample.neighbours)
        frames = [sample.clip.frames[f].digest for f in positions]
        if self._key("frames", sample) == unpacked_key(sample.clip):
            origin, window = _window(sample.crop, sample.clip.size, 1)
            begun = {"frames": _Pending(self._files.read(sample.clip, positions, window), origin, 1, {})}
        else:
            begun = {"frames": self._begin_array("frames", "rgb", sample, frames)}
        if self._caches.soft_labels:
            begun["soft_labels"] = self._begin_array("soft_labels", "probabilities", sample, frames)
        if (kind := self._caches.class_maps) and self._has_class_map(sample):
            begun["masks"] = self._begin_array(kind, "classes", sample, frames[:1])
        if self._caches.flow and sample.neighbours:
            pairs = [[frames[0], neighbour] for neighbour in frames[1:]]
            begun["flow"] = self._begin_array("flow", "flow", sample, pairs)
            if self._both_ways:
                back = [pair[::-1] for pair in pairs]
                begun["flow_back"] = self._begin_array("flow", "flow", sample, back)
            if self._mask_bits:
                begun["valid"] = self._begin_array("flow", "valid", sample, pairs)
        if self._caches.cams:
            self._check_maps(sample)
            begun["cams"] = self._begin_array("cams", "maps", sample, frames[:1])
        if self._stack:
            begun |= self._begin_stack(self._stack, sample)
        return begun

    def _check_maps(self, sample: Sample) -> None:
        """Check the maps of a sample's clip once."""
        key = self._key("cams", sample)
        if key not in self._checked:
            check_maps(self._reader.entry("cams", key), sample.clip.size, self._classes)
            self._checked.add(key)

    def _begin_stack(self, plan: StackPlan, sample: Sample) -> dict[str, _Pending]:
        """The flows of the target's stack, each read once; nothing if there is none of them."""
        if sample.clip.id not in self._caches.stack:
            plan.check_none(sample.clip)
            return {}
        entry = self._reader.entry("flow", self._caches.stack[sample.clip.id])
        pairs, told = plan.of(entry, sample.clip, sample.target)
        if not pairs:
            return {}
        pending = self._begin_array("flow", "flow", sample, pairs, key=entry.key)
        return {"stack": replace(pending, attributes={**pending.attributes, **told})}

    def _has_class_map(self, sample: Sample) -> bool:
        """Whether the target has one: of masks those have that have a label, of others all."""
        return bool(self._caches.class_maps != "masks" or sample.clip.frames[sample.target].label)

    def _begin_array(
        self, kind: str, array: str, sample: Sample, wanted: list, *, key: str | None = None
    ) -> _Pending:
        """Begin to read the sample's window of one array at all the wanted frames or pairs.

        Frames are found by content: the entry may be a colleague's, with other file names.
        """
        key = key or self._key(kind, sample)
        entry = self._reader.entry(kind, key)
        listed = listed_in(entry, kind)
        if any(item not in listed for item in wanted):
            raise InputError(
                f"{entry.path}: holds no {kind} of some frames of clip {sample.clip.id!r}; the manifest is "
                f"newer than the index: run the {kind} stage again"
            )
        stride_px = entry.attributes.get("stride_px", 1)
        origin, window = _window(sample.crop, sample.clip.size, stride_px)
        channels = (slice(None),) if array in CHANNELS_FIRST else ()
        steps = [listed.index(item) for item in wanted]
        reading = self._reader.read(kind, key, array, steps, (*channels, *window))
        return _Pending(reading, origin, stride_px, entry.attributes)

    def _prepare(self, reads: list[Read], device: torch.device, side: Any) -> Callable[[], Batch]:
        """A call that gives the batch: on a CPU it assembles, on a GPU it waits for the stream that does."""
        make = partial(
            assemble,
            reads,
            stride_px=self._stride,
            mask_bits=self._mask_bits,
            device=device,
            masked=bool(self._caches.class_maps),
            stack=self._stack.options if self._stack else None,
            mapped=self._num_classes if self._caches.cams else 0,
        )
        if side is None:
            return make
        with torch.cuda.stream(side):
            batch = make()
            return partial(_await, batch, side.record_event())

    def _key(self, kind: str, sample: Sample) -> str:
        keys = getattr(self._caches, kind)
        if sample.clip.id not in keys:
            raise InputError(
                f"clip {sample.clip.id!r} is in the manifest, but not in the {kind} index of {len(keys)} "
                f"clips; run the {kind} stage again, and give the index of every shard"
            )
        return keys[sample.clip.id]


def listed_in(entry: Entry, kind: str) -> list:
    """The frames of an entry, by digest, or the pairs of a flow, in the order of its first axis."""
    if kind in SOME_FRAMES:
        return entry.attributes["digests"]
    return entry.meta["inputs"]["pairs" if kind == "flow" else "frames"]


@dataclass(frozen=True)
class _Pending:
    """Windows that are being read, and where they lie."""

    reading: Reading | FileReading
    origin: tuple[int, int]
    stride_px: int
    attributes: Mapping[str, Any]

    def finish(self) -> Part:
        return Part(self.reading.result(), self.origin, self.stride_px, self.attributes)


def _await(batch: Batch, whole: torch.cuda.Event) -> Batch:
    """Hand a batch of another CUDA stream to the current one."""
    current = torch.cuda.current_stream(batch.device)
    current.wait_event(whole)
    labels = [value for each in batch.instances or () for value in each]
    for value in (*vars(batch).values(), *labels):
        if isinstance(value, torch.Tensor):
            value.record_stream(current)
    return batch


@lru_cache(maxsize=8)
def _window(
    crop: Crop, image_size: tuple[int, int], stride_px: int
) -> tuple[tuple[int, int], tuple[slice, slice]]:
    """Origin, and rows and columns, of the window on a grid of that stride; several arrays share it."""
    y, x, rows, columns = crop_window(crop, image_size, source_stride=stride_px)
    return (y, x), (slice(y, y + rows), slice(x, x + columns))
