"""The targets of a training from labels that no person drew: the frames that have such a label."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from weclick.common.errors import InputError
from weclick.manifest import Clip, Manifest
from weclick.store import Entry
from weclick.train.data.instances import InstanceReader
from weclick.train.data.stream import Caches, listed_in


def with_proxy_targets(manifest: Manifest, caches: Caches, *, among_targets: bool) -> Manifest:
    """The split with the frames that have a proxy label as its targets.

    Args:
        manifest: the training split.
        caches: with the proxy labels of its clips.
        among_targets: keep only those that were targets before. A loss along the flow needs that, since other
            frames have no flow to their neighbours.

    Raises:
        InputError: no frame has a proxy label, or a clip is not in the index.
    """
    if not caches.proxy_labels:
        return manifest  # the recipe says what is missing

    def kept(clip: Clip) -> Clip:
        listed = listed_in(_entry(clip, caches, "proxy_labels"), "proxy_labels")
        return _among(clip, listed, clip.targets if among_targets else None)

    found, todo = "", "with proxy_labels.source f2f, lower proxy_labels.tau or set proxy_labels.filter: false"
    if among_targets:
        found, todo = " on a target, which losses along the flow need", "set mfd.weight: 0"
    clips = tuple(map(kept, manifest.clips))
    if not any(clip.targets for clip in clips):
        raise InputError(
            f"none of the {len(clips)} clips of split {manifest.split!r} has a proxy label{found}; make "
            f"labels of more frames, or {todo}"
        )
    return replace(manifest, clips=clips)


def with_confident_targets(manifest: Manifest, caches: Caches) -> Manifest:
    """The split with the frames that have confident labels as its targets, whether or not they were before.

    Args:
        manifest: the training split.
        caches: with the confident labels of its clips.

    Raises:
        InputError: no frame has such labels, or a clip is not in the index.
    """
    if not caches.confident_labels:
        return manifest  # the recipe says what is missing

    def kept(clip: Clip) -> Clip:
        return _among(clip, listed_in(_entry(clip, caches, "confident_labels"), "confident_labels"))

    clips = tuple(map(kept, manifest.clips))
    if not any(clip.targets for clip in clips):
        raise InputError(
            f"none of the {len(clips)} clips of split {manifest.split!r} has a frame with confident labels; "
            "lower confident_labels.foreground, or tag more frames"
        )
    return replace(manifest, clips=clips)


def with_instance_targets(manifest: Manifest, caches: Caches) -> Manifest:
    """The split with the frames that have an instance as its targets, whether or not they were before.

    A frame without any would tell a detector that there is nothing, though labels miss much. It still may
    be the partner of a target.

    Args:
        manifest: the training split.
        caches: with the instances of its clips.

    Raises:
        InputError: no frame has an instance, or a clip is not in the index.
        DamagedEntryError: an entry is not what was committed.
    """
    if not caches.instances:
        return manifest  # the recipe says what is missing
    reader = InstanceReader(caches.store, manifest.classes.names)

    def kept(clip: Clip) -> Clip:
        entry = reader.entry(clip, _entry(clip, caches, "instances").key)
        return _among(clip, {digest for digest in entry.digests if entry.count(digest)})

    clips = tuple(map(kept, manifest.clips))
    if not any(clip.targets for clip in clips):
        raise InputError(
            f"none of the {len(clips)} clips of split {manifest.split!r} has an instance; lower "
            "instances.min_score or instances.min_share, or look at the labels that they are made from"
        )
    return replace(manifest, clips=clips)


def _entry(clip: Clip, caches: Caches, kind: str) -> Entry:
    keys = getattr(caches, kind)
    if clip.id not in keys:
        raise InputError(
            f"clip {clip.id!r} is in the manifest, but not in the {kind} index of {len(keys)} clips; run the "
            f"{kind} stage again, and give the index of every shard"
        )
    return caches.store.get(kind, keys[clip.id])


def _among(clip: Clip, listed: Collection[str], targets: Collection[int] | None = None) -> Clip:
    """The clip with those targets, of the given ones or of all frames, whose digest is listed."""
    every = range(len(clip.frames)) if targets is None else targets
    held = set(listed)
    return replace(clip, targets=tuple(t for t in every if clip.frames[t].digest in held))
