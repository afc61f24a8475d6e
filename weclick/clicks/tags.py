"""The `tags` stage: which classes occur in each frame or clip of a split, from labels, people or names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from weclick.clicks.sourced_tags import SourcedTags, read_tags, write_tags, write_tags_json
from weclick.clicks.tag_reach import reaching_rows
from weclick.clicks.tag_sources import Rows, tags_of_file, tags_of_folders, tags_of_labels, tags_of_voc
from weclick.common.errors import InputError
from weclick.common.sections import TagsSection
from weclick.manifest import Clip, Manifest
from weclick.manifest.names import plain
from weclick.manifest.tag_file import read_tag_file, tag_file

__all__ = ["SourcedTags", "make_tags", "read_tags", "write_tags", "write_tags_json"]

_MAKERS: dict[str, Callable[[Manifest, TagsSection], Rows]] = {
    "labels": tags_of_labels,
    "file": tags_of_file,
    "folders": tags_of_folders,
    "voc": tags_of_voc,
}
"""`tags.source` -> what makes the rows of a split."""


def make_tags(manifest: Manifest, options: TagsSection) -> SourcedTags:
    """The tags of a split. A folder names what people searched for, so such tags are never complete.

    Frames without tags may take those of a frame beside them, see `reaching_rows`.

    Args:
        manifest: a whole split, see `read_manifests`.
        options: the config section `tags`: source, file, min_pixels, min_pixels_at, complete, reach_frames.

    Raises:
        MissingFileError, InputError: a label or a file of tags is missing or malformed, it names a class or a
            frame that is none, or a clip has not one tag.
    """
    source = options["source"]
    told = reaching_rows(manifest, _MAKERS[source](manifest, options), options["reach_frames"])
    rows = {place: ids for place, ids in told.items() if ids}
    table = SourcedTags(
        classes=manifest.classes.names,
        complete=options["complete"] and source != "folders",
        rows=rows,
        split=manifest.split,
        sources=dict.fromkeys(rows, source),
    )
    _check_clips(manifest, options, table)
    return table


def _check_clips(manifest: Manifest, options: TagsSection, table: SourcedTags) -> None:
    untagged = [clip for clip in manifest.clips if not table.of_clip(clip.id)]
    if not untagged:
        return
    named = ", ".join(repr(clip.id) for clip in untagged[:5]) + ", ..." * (len(untagged) > 5)
    raise InputError(
        f"split {manifest.split!r} of {manifest.root}: {len(untagged)} of {len(manifest.clips)} clips have "
        f"no tag ({named}); {_todo(manifest, options, untagged[0])}, or take them out of the data set"
    )


def _todo(manifest: Manifest, options: TagsSection, clip: Clip) -> str:
    """What brings tags to a clip."""
    if options["source"] == "labels":
        return "label some of their frames, lower tags.min_pixels, name another tags.source"
    if options["source"] == "voc":
        return f"give their frames files such as Annotations/{clip.frames[0].name}.xml with an object"
    path = tag_file(options["file"], Path(manifest.root))
    known = {plain(each.id) for each in manifest.clips}
    others = sorted({row.clip for row in read_tag_file(path) if plain(row.clip) not in known})
    hint = f" (it names {', '.join(map(repr, others[:5]))}, no clip of this split)" if others else ""
    return f"add rows such as {clip.id},,{manifest.classes.names[-1]} to {path}{hint}"
