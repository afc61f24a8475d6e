"""The data set that an adapter gives, and the manifest made of it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from weclick.common.digest import canonical_json
from weclick.common.errors import InputError
from weclick.common.findings import Finding
from weclick.common.sections import Mix
from weclick.datasets.digests import edited_files, file_digests
from weclick.datasets.file_names import in_utf8
from weclick.datasets.orientations import file_orientations
from weclick.manifest import (
    Classes,
    Clip,
    Frame,
    Manifest,
    class_list,
    frame_digest,
    read_manifest,
    shard_of,
)
from weclick.manifest.addresses import address_of, file_of
from weclick.manifest.frame_size import frame_size
from weclick.manifest.images import IMAGE_SUFFIXES, image_size, shrunk_size
from weclick.manifest.people import people_digest


@dataclass(frozen=True)
class Dataset:
    """A data set as an adapter sees it: names of files, nothing opened. A split is listed once.

    Attributes:
        name: the adapter.
        root: folder that all paths of its frames are relative to.
        classes: the label space.
        splits: those on disk.
        list_clips: split -> its clips, without digests and sizes.
        click_file: a table or log of clicks made by people, relative to the root; None: clicks come from
            labels.
        shrink: frames and labels are read at 1/shrink of their size.
        unscored: a split that may lack frames to score, since people's clicks and tags train without a mask.
        mix: which clicks count where there is a click file.
        look: split -> what is strange in a layout that is the data set's own; the checks say it.
    """

    name: str
    root: Path
    classes: Classes
    splits: tuple[str, ...]
    list_clips: Callable[[str], tuple[Clip, ...]]
    click_file: str | None = None
    shrink: int = 1
    unscored: str | None = None
    mix: Mix = "human"
    look: Callable[[str], Sequence[Finding]] = lambda split: ()
    _listed: dict[str, tuple[Clip, ...]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def clips(self, split: str) -> tuple[Clip, ...]:
        """All clips of a split, ordered by id; digests are empty and sizes 0.

        Listing the 90,000 files of Cityscapes train takes about 1 s, so the answer is kept.

        Raises:
            ValueError: the data set has no such split, the split has no frame that is a target or scored and
                is not `unscored`, or a label belongs to no frame.
            FileNotFoundError: a file that a list names is missing.
        """
        if split not in self._listed:
            self._listed[split] = self._list(split)
        return self._listed[split]

    def _list(self, split: str) -> tuple[Clip, ...]:
        if split not in self.splits:
            raise InputError(
                f"{self.root}: has no split {split!r} of {self.name}; "
                f"found: {', '.join(self.splits) or 'none'}; correct data.train, data.val or data.root"
            )
        clips = tuple(sorted(self.list_clips(split), key=lambda clip: clip.id))
        if not any(clip.targets or clip.scored for clip in clips) and split != self.unscored:
            clicked = f", and {self.click_file} has no click on a frame of it" if self.click_file else ""
            mine = self.name == "folder"
            how = f"click in it (`weclick click --root {self.root}`), add labels" if mine else "add labels"
            raise InputError(
                f"{self.root}: split {split!r} has {len(clips)} clips, but no labelled frame to train on or "
                f"score{clicked}; {how}, tag its clips if the method learns from tags (tags.source), or "
                "name another split in data.train or data.val"
            )
        return clips


def build_manifest(
    dataset: Dataset,
    split: str,
    shard: int,
    shards: int,
    *,
    reach_frames: int,
    whole: bool = False,
    remember: Path | None = None,
) -> Manifest:
    """The manifest of one shard: what later stages need, with digests of content.

    Args:
        dataset: from `open_dataset`.
        split: e.g. train.
        shard: which part, 0 .. shards - 1; a shard may be empty.
        shards: parts of the split.
        reach_frames: frames farther than this (by number) from every target and scored frame are left out,
            and so are clips without such frames.
        whole: keep all frames of clips with targets all the same.
        remember: file that keeps digests between runs (see `file_digests`); None reads every file.

    Raises:
        ValueError: the split is unknown or empty, or an image cannot be read.
        FileNotFoundError: a file is missing.
    """
    clips = [trim(clip, reach_frames, whole=whole) for clip in _shard(dataset, split, shard, shards)]
    clips = [clip for clip in clips if clip.frames]
    names = {name for clip in clips for name in _names(clip)}
    files = sorted({*map(file_of, names)})
    digests = file_digests([dataset.root / name for name in files], remember)
    by_name = {name: _content_digest(dataset.root, name, digests) for name in sorted(names)}
    images = dict.fromkeys(frame.image for clip in clips for frame in clip.frames)
    orientations = file_orientations(dataset.root, {name: by_name[name] for name in images}, remember)
    return Manifest(
        dataset=dataset.name,
        root=str(dataset.root),
        split=split,
        shard=shard,
        shards=shards,
        classes=dataset.classes,
        clips=tuple(_complete(clip, dataset, by_name, orientations) for clip in clips),
        click_file=dataset.click_file,
        click_file_digest=people_digest(dataset.root / dataset.click_file) if dataset.click_file else None,
        shrink=dataset.shrink,
    )


def listing_digest(
    dataset: Dataset,
    split: str,
    shard: int,
    shards: int,
    *,
    remember: Path | None = None,
    made: Path | None = None,
) -> str:
    """SHA-256 (hex) over names and sizes of all files of a shard, and over what was edited: a cheap sign.

    Content decides, not the time of change: a file that was only touched, a copy and a fresh checkout are the
    same data set, while an edit that kept size and time is none. Content is read only where the memory knows
    a file and its signature changed. Classes and click table are always read.

    Args:
        dataset, split, shard, shards: as in `build_manifest`.
        remember: the memory of `build_manifest`; None: an edit of the same size is not seen.
        made: the shard's manifest, if there is one. Its digests count if the memory was lost.

    Raises:
        ValueError, FileNotFoundError: as in `build_manifest`.
    """
    clips = _shard(dataset, split, shard, shards)
    names = sorted({file_of(name) for clip in clips for name in _names(clip)})
    root = os.path.abspath(dataset.root)  # noqa: PTH100 (the memory's names have no `..`)
    files = edited_files(
        [f"{root}/{name}" for name in names],
        remember,
        digested=[f"{root}/{clip.frames[i].image}" for clip in clips for i in (*clip.targets, *clip.scored)],
        otherwise=lambda: _digests_in(made),
    )
    listing = {
        "files": [(name, size) for name, (size, _) in zip(names, files, strict=True)],
        "edited": [(name, edit) for name, (_, edit) in zip(names, files, strict=True) if edit],
        "roles": [(clip.id, clip.targets, clip.scored) for clip in clips],
        "classes": class_list(dataset.classes),
        "clicks": people_digest(dataset.root / dataset.click_file) if dataset.click_file else None,
    }
    return hashlib.sha256(canonical_json(listing).encode()).hexdigest()


def _digests_in(made: Path | None) -> dict[str, str]:
    """Path -> digest of the files that a manifest names; none where there is no manifest that can be read."""
    if made is None or not made.is_file():
        return {}
    with suppress(InputError):
        manifest = read_manifest(made)
        named = (
            pair
            for clip in manifest.clips
            for frame in clip.frames
            for pair in (
                (frame.image, frame.image_sha256),
                (frame.label, frame.label_digest),
                (frame.instances, frame.instances_digest),
            )
        )
        return {str(manifest.path(name)): digest for name, digest in named if name and digest}
    return {}


def trim(clip: Clip, reach_frames: int, *, whole: bool = False) -> Clip:
    """The clip with only those frames that lie within `reach_frames` of a target or scored frame.

    If clips are to stay `whole`, one with targets keeps all of its frames.
    """
    if whole and clip.targets:
        return clip
    anchors = {clip.frames[i].number for i in (*clip.targets, *clip.scored)}
    near = {number + gap for number in anchors for gap in range(-reach_frames, reach_frames + 1)}
    return clip.restrict(i for i, frame in enumerate(clip.frames) if frame.number in near)


def assign_roles(clip: Clip, labelled: Iterable[int], *, training: bool) -> Clip:
    """The clip with its labelled frames as targets in training, and as scored frames elsewhere."""
    positions = tuple(labelled)
    return replace(clip, targets=positions) if training else replace(clip, scored=positions)


def list_files(folder: Path, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> list[Path]:
    """Files of a folder with one of the suffixes, by name; none where there is no such folder.

    Raises:
        InputError: a name is not in UTF-8.
    """
    if not folder.is_dir():
        return []
    found = (path for path in folder.iterdir() if path.suffix.lower() in suffixes and path.name[0] != ".")
    return sorted(map(in_utf8, found), key=lambda path: path.name)


def list_folders(folder: Path) -> list[Path]:
    """Folders inside a folder, by name; none where there is no such folder.

    Raises:
        InputError: a name is not in UTF-8.
    """
    if not folder.is_dir():
        return []
    return sorted(in_utf8(path) for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")


def _shard(dataset: Dataset, split: str, shard: int, shards: int) -> list[Clip]:
    return [clip for clip in dataset.clips(split) if shard_of(clip.id, shards) == shard]


def _names(clip: Clip) -> list[str]:
    """Its images, labels and instances: files, or addresses in files."""
    named = (name for frame in clip.frames for name in (frame.image, frame.label, frame.instances))
    return [name for name in named if name is not None]


def _content_digest(root: Path, name: str, digests: Mapping[Path, str]) -> str:
    """The digest of what a name stands for: of its file, or of what a file says of one frame."""
    address = address_of(name)
    if address is None:
        return digests[root / name]
    from weclick.manifest.video_truth import truth_digest  # here, since it loads pycocotools

    return truth_digest(root / address.file, address)


def _complete(clip: Clip, dataset: Dataset, digests: dict[str, str], orientations: dict[str, int]) -> Clip:
    whole = frame_size(dataset.root / clip.frames[0].image)
    height, width = shrunk_size(whole, dataset.shrink)
    if not height or not width:
        raise InputError(
            f"{dataset.root / clip.frames[0].image}: is {whole[0]}x{whole[1]} px (HxW), of which data.shrink "
            f"{dataset.shrink} leaves nothing; lower it"
        )
    _check_label_sizes(clip, dataset.root, whole)
    frames = tuple(
        _with_digests(frame, digests, dataset.shrink, orientations[frame.image]) for frame in clip.frames
    )
    return replace(clip, frames=frames, height_px=height, width_px=width)


def _with_digests(frame: Frame, digests: dict[str, str], shrink: int, orientation: int) -> Frame:
    return replace(
        frame,
        digest=frame_digest(
            digests[frame.image],
            video_frame=frame.video_frame,
            shrink=shrink,
            orientation=orientation,
        ),
        label_digest=digests[frame.label] if frame.label else None,
        instances_digest=digests[frame.instances] if frame.instances else None,
    )


def _check_label_sizes(clip: Clip, root: Path, expected: tuple[int, int]) -> None:
    named = [name for frame in clip.frames for name in (frame.label, frame.instances) if name]
    for name in named:
        height, width = _label_size(root, name)
        if (height, width) != expected:
            raise InputError(
                f"{root / name}: is {height}x{width} px (HxW), its frame {expected[0]}x{expected[1]}; a "
                "label needs the size of its frame: resize it by nearest neighbour, or restore it"
            )


def _label_size(root: Path, name: str) -> tuple[int, int]:
    address = address_of(name)
    if address is None:
        return image_size(root / name)
    from weclick.manifest.video_truth import truth_size  # as in _content_digest

    return truth_size(root / address.file, address)
