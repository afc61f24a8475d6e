"""Instances that people outlined: the upper bound of what pseudo-labels may teach."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from weclick.common.errors import InputError
from weclick.manifest import Clip, Manifest
from weclick.proxy_labels.masks import told_by_files
from weclick.store.instance_entries import FrameInstances

VERSION = 1
"""Of what is computed here. It rises when the same inputs would give other instances."""


class Outlined(Protocol):
    """The objects of a frame, told apart."""

    @property
    def masks(self) -> np.ndarray:
        """(N, H, W) bool, one object each."""

    @property
    def classes(self) -> np.ndarray:
        """(N,) int64 class ids."""


@dataclass(frozen=True)
class FromMasks:
    """Takes the objects that the data set's instance files number. See `InstanceSource`.

    Attributes:
        manifest: of the clips.
        read: tells the objects of the frame at a position of a clip.
    """

    manifest: Manifest
    read: Callable[[Manifest, Clip, int], Outlined]

    name = "masks"

    def key_inputs(self, clip: Clip) -> Mapping[str, Any]:
        """Digests of labels and instance files, and what gives their values a class.

        Raises:
            InputError: the data set tells no objects apart, or a frame has no file that does.
        """
        classes = self.manifest.classes
        if not classes.instance_classes:
            raise InputError(
                f"{self.manifest.root} has no class whose objects are told apart; name them in "
                "instance_classes of the list of classes, or take another instances.source than masks"
            )
        bare = [frame.name for frame in clip.frames if not (frame.label and frame.instances)]
        if bare:
            raise InputError(
                f"{len(bare)} of {len(clip.frames)} frames of clip {clip.id!r} have no label with an "
                f"instance file, {bare[0]!r} first, and a detector would learn that nothing is there; add "
                "the files, leave the frames out of the data set, or take another instances.source than "
                "masks"
            )
        return {
            "version": VERSION,
            "labels": [frame.label_digest for frame in clip.frames],
            "instances": [frame.instances_digest for frame in clip.frames],
            "values": told_by_files(clip.frames, classes),
            "numbered": classes.numbered_objects,
            "instance_classes": list(classes.instance_classes),
        }

    def make(self, clip: Clip) -> Iterator[FrameInstances]:
        """The objects of each frame, with the score 1. Those of groups that nobody told apart are left out.

        Raises:
            InputError: a file cannot be read, changed since the manifest was made, or has another size.
        """
        for position in range(len(clip.frames)):
            told = self.read(self.manifest, clip, position)
            yield FrameInstances(told.masks, told.classes, np.ones(len(told.classes), np.float32))
