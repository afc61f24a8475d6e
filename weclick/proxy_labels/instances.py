"""The `instances` stage: the objects of training frames, in the place of masks that people drew.

An entry holds the objects of all frames of a clip (see `weclick.store.instance_entries`), whoever made them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from weclick.common.progress import Bar
from weclick.manifest import Clip, Manifest
from weclick.proxy_labels.proxy_labels import check_split
from weclick.store import Store, entry_key
from weclick.store.fill import fill
from weclick.store.instance_entries import FrameInstances, write_instances

FORMAT_VERSION = 1


class InstanceSource(Protocol):
    """Makes the objects of a clip's frames. Nothing is loaded and no frame is read before `make`."""

    @property
    def name(self) -> str:
        """The value of `instances.source` that stands for it."""

    def key_inputs(self, clip: Clip) -> Mapping[str, Any]:
        """Its part of the inputs that the entry of a clip is made from: digests, keys and options.

        The stage adds the digests of the clip's frames, the names of the classes and that of the source.
        Paths, hosts and devices do not belong there.

        Raises:
            InputError: what it makes objects from does not fit the clip, or is missing.
        """

    def make(self, clip: Clip) -> Iterator[FrameInstances]:
        """The objects of each frame of the clip, in order; a frame may have none.

        Raises:
            InputError: what it makes objects from is damaged, or does not fit the clip.
        """


def make_instances(
    manifest: Manifest, source: InstanceSource, *, store: Store, allow_val: bool = False
) -> dict[str, str]:
    """Make sure that the store holds the objects of every clip.

    Args:
        manifest: one shard of the training split.
        source: makes them; asked only if a clip is missing.
        store: its entries are not made again.
        allow_val: whether clips with scored frames may have such objects.

    Returns:
        Clip id -> key of its entry, which `InstanceEntry` reads.

    Raises:
        InputError: a clip has scored frames, or as the source says.
    """
    check_split(manifest, allow_val=allow_val, what="instances")
    names = manifest.classes.names
    asked = {clip.id: instances_inputs(clip, names, source) for clip in manifest.clips}

    def make_some(clips: Iterator[Clip], bar: Bar) -> None:
        for clip in clips:
            made = _counted(source.make(clip), bar)
            with store.create("instances", asked[clip.id]) as entry:
                frames = zip(clip.frames, made, strict=True)
                write_instances(entry, frames, clip.size, classes=names)
                entry.attributes["source"] = source.name

    fill(
        store,
        "instances",
        manifest.clips,
        make_some,
        key=lambda clip: entry_key("instances", asked[clip.id]),
        size=lambda clip: len(clip.frames),
        what="instances",
        unit="frames",
    )
    return {clip: entry_key("instances", inputs) for clip, inputs in asked.items()}


def instances_inputs(clip: Clip, classes: Sequence[str], source: InstanceSource) -> Mapping[str, Any]:
    """What the objects of a clip are made from. Their key is its digest.

    Args:
        clip: with the digests of its frames.
        classes: names of the data set's classes.
        source: makes the objects.

    Raises:
        InputError: as `InstanceSource.key_inputs`.
    """
    return {
        "format": FORMAT_VERSION,
        "frames": [frame.digest for frame in clip.frames],
        "classes": list(classes),
        "source": source.name,
        **source.key_inputs(clip),
    }


def _counted(frames: Iterator[FrameInstances], bar: Bar) -> Iterator[FrameInstances]:
    for found in frames:
        yield found
        bar.advance()
