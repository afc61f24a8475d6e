"""Whether tags came to nothing: clips and classes that got no proxy label at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from weclick.common.findings import Finding
from weclick.common.sections import ProxyLabelsSection
from weclick.manifest import Manifest
from weclick.manifest.read import values_in
from weclick.manifest.tag_table import TagTable
from weclick.proxy_labels.proxy_labels import read_proxy_labels
from weclick.store import Store

NAMED = 5
"""At most so many clips are named."""


def unlabelled(
    manifest: Manifest, keys: Mapping[str, str], tags: TagTable, options: ProxyLabelsSection, store: Store
) -> list[Finding]:
    """A warning if clips or classes with a tag have no proxy label.

    Labels are read until each tagged class was seen, which is soon.

    Args:
        manifest: one shard of the training split.
        keys: clip id -> key of its proxy labels.
        tags: that they were made with. Class 0 needs none.
        options: the section `proxy_labels`.
        store: holds them.

    Raises:
        DamagedEntryError: an entry is not as it was committed.
    """
    tagged = {clip.id: tags.of_clip(clip.id) - {0} for clip in manifest.clips}
    empty: list[str] = []
    unseen = frozenset[int]().union(*tagged.values())
    for clip in (clip for clip in manifest.clips if tagged[clip.id]):
        entry = store.get("proxy_labels", keys[clip.id])
        if not entry.attributes["digests"]:
            empty.append(clip.id)
        elif unseen & tagged[clip.id]:
            for _, label in read_proxy_labels(entry, clip):
                unseen -= {*values_in(label).tolist()}
    if not empty and not unseen:
        return []
    clips = f"on {len(empty)} of {sum(map(bool, tagged.values()))} clips with a tag ({_named(empty)})"
    names = [manifest.classes.names[class_id] for class_id in sorted(unseen)]
    classes = f"of the tagged {'class' if len(names) == 1 else 'classes'} {', '.join(names)}"
    found = f"no label at all {' and '.join([clips] * bool(empty) + [classes] * bool(names))}"
    return [Finding("warning", f"proxy labels of {manifest.split}", found, _todo(options))]


def _named(clips: Sequence[str]) -> str:
    return ", ".join(clips[:NAMED]) + (f" and {len(clips) - NAMED} more" if len(clips) > NAMED else "")


def _todo(options: ProxyLabelsSection) -> str:
    if options["filter"]:
        return f"lower proxy_labels.tau, which is {options['tau']:g}, or set proxy_labels.filter: false"
    return (
        f"lower proxy_labels.threshold, which is {options['threshold']:g}, or for short clips "
        "proxy_labels.frames and gap_frames"
    )
