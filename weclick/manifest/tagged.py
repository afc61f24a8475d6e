"""Which targets a classifier can learn from: those that have a tag."""

from __future__ import annotations

from dataclasses import replace

from weclick.common.errors import InputError
from weclick.manifest.clips import Clip, Manifest
from weclick.manifest.tag_table import TagTable


def tagged(manifest: Manifest, tags: TagTable) -> Manifest:
    """The split without the targets that tags tell nothing of.

    A target with no tag at all is one that nobody looked at. If tags are complete, a target with the tag of
    class 0 alone stays: it shows that the other classes are absent. Otherwise it says nothing, and goes.

    Args:
        manifest: the training split.
        tags: of its frames and clips.

    Raises:
        InputError: the tags name other classes than the data set; or no target has a tag of a class beyond 0.
    """
    names = manifest.classes.names
    if tags.classes != names:
        raise InputError(
            f"the tags name the classes {', '.join(tags.classes)}, but split {manifest.split!r} has "
            f"{', '.join(names)}; run the tags stage again"
        )

    def tells(clip: Clip, target: int) -> bool:
        found = tags.of(clip.id, clip.frames[target].name)
        return bool(found if tags.complete else found - {0})

    def kept(clip: Clip) -> Clip:
        return replace(clip, targets=tuple(target for target in clip.targets if tells(clip, target)))

    clips = tuple(map(kept, manifest.clips))
    targets = [(clip.id, clip.frames[target].name) for clip in clips for target in clip.targets]
    if not any(tags.of(*target) - {0} for target in targets):
        count = sum(len(clip.targets) for clip in manifest.clips)
        raise InputError(
            f"none of the {count} targets of split {manifest.split!r} has a tag of a class beside "
            f"{names[0]!r}, so a classifier has nothing to learn; tag its clips or frames, and look at "
            "section tags of the configuration"
        )
    return replace(manifest, clips=clips)
