"""The targets of a training from proxy labels: the frames that have one."""

from __future__ import annotations

from dataclasses import replace

from weclick.common.errors import InputError
from weclick.manifest import Clip, Manifest
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
    clips = tuple(_with_targets(clip, caches, among_targets) for clip in manifest.clips)
    if not any(clip.targets for clip in clips):
        found, todo = (
            "",
            "with proxy_labels.source f2f, lower proxy_labels.tau or set proxy_labels.filter: false",
        )
        if among_targets:
            found, todo = " on a target, which losses along the flow need", "set mfd.weight: 0"
        raise InputError(
            f"none of the {len(clips)} clips of split {manifest.split!r} has a proxy label{found}; make "
            f"labels of more frames, or {todo}"
        )
    return replace(manifest, clips=clips)


def _with_targets(clip: Clip, caches: Caches, among_targets: bool) -> Clip:
    if not caches.proxy_labels:
        return clip  # the recipe says what is missing
    if clip.id not in caches.proxy_labels:
        raise InputError(
            f"clip {clip.id!r} is in the manifest, but not in the proxy_labels index of "
            f"{len(caches.proxy_labels)} clips; run the proxy_labels stage again, and give the index of "
            "every shard"
        )
    entry = caches.store.get("proxy_labels", caches.proxy_labels[clip.id])
    labelled = set(listed_in(entry, "proxy_labels"))
    kept = clip.targets if among_targets else range(len(clip.frames))
    return replace(clip, targets=tuple(t for t in kept if clip.frames[t].digest in labelled))
