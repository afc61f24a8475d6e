"""Frames, class maps and instance maps that a manifest names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from weclick.common.content import check_content
from weclick.common.errors import InputError
from weclick.manifest import IGNORE, Clip, Frame, Manifest
from weclick.manifest.addresses import address_of
from weclick.manifest.images import (
    IMAGE_SUFFIXES,
    check_orientation,
    image_orientation,
    read_ids,
    read_image,
    read_object_mask,
    shrink_array,
    shrink_image,
)
from weclick.manifest.label_colors import classes_of_colors, classes_of_listed_colors
from weclick.manifest.object_masks import class_of_mask, classes_of_mask
from weclick.manifest.video import VIDEO_SUFFIXES, decode_video, video_info

if TYPE_CHECKING:
    from weclick.manifest.video_truth import Truth


def file_orientation(path: Path) -> int:
    """How the pixels of an image or video file are to be turned: 1..8 as in EXIF. Other files are 1."""
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return image_orientation(path)
    return video_info(path).orientation if path.suffix.lower() in VIDEO_SUFFIXES else 1


def read_label(manifest: Manifest, frame: Frame) -> np.ndarray:
    """The class map of a frame: (H, W) uint8 class ids, 255 ignored.

    Raises:
        ValueError: the frame has no label, or its file holds values outside the data set's classes.
    """
    if frame.label is None:
        raise InputError(
            f"frame {frame.name} of {manifest.split} has no label file; add one and run "
            "`weclick manifest` again"
        )
    path = manifest.path(frame.label)
    masks = (manifest.classes.label_map or {}).get("masks")
    if truth := _truth_in_json(manifest, frame.label, frame.label_digest):
        classes = truth.classes
    elif masks:
        class_id = class_of_mask(frame.label, masks)
        classes = classes_of_mask(read_object_mask(path, frame.label_digest), class_id)
    else:
        classes = _to_classes(read_ids(path, frame.label_digest), manifest, path)
    return shrink_array(classes, manifest.shrink, Image.Resampling.NEAREST)


def read_label_of(manifest: Manifest, clip: Clip, frame: Frame) -> np.ndarray:
    """The class map of a frame of a clip, as `read_label` reads it.

    Raises:
        InputError: as in `read_label`, or it has another size than the clip.
    """
    label = read_label(manifest, frame)
    if label.shape != clip.size:
        raise InputError(
            f"{manifest.path(frame.label or '')}: is {label.shape[0]}x{label.shape[1]} px (HxW), its frame "
            f"{clip.height_px}x{clip.width_px}; a label needs the size of its frame"
        )
    return label


def read_instances(manifest: Manifest, frame: Frame) -> np.ndarray | None:
    """The instance map of a frame as (H, W) int32, or None where the data set has none.

    Values from 1000 on number objects, also where files number them from 1 on.
    """
    if frame.instances is None:
        return None
    if truth := _truth_in_json(manifest, frame.instances, frame.instances_digest):
        return shrink_array(truth.instances, manifest.shrink, Image.Resampling.NEAREST)
    path, numbered = manifest.path(frame.instances), manifest.classes.numbered_objects
    instances = read_ids(path, frame.instances_digest).astype(np.int32)
    if instances.ndim != 2:
        wanted = "numbers of objects" if numbered else "class id * 1000 + number in one channel of 16 bits"
        raise InputError(f"{path}: holds colours, expected {wanted}; convert it")
    if numbered:
        instances = np.where((instances > 0) & (instances < IGNORE), 1000 + instances, 0).astype(np.int32)
    return shrink_array(instances, manifest.shrink, Image.Resampling.NEAREST)


def _truth_in_json(manifest: Manifest, name: str, digest: str | None) -> Truth | None:
    """What a JSON file says of a frame; None if `name` is that of an image file."""
    address = address_of(name)
    if address is None:
        return None
    from weclick.manifest.video_truth import read_truth  # here, since it loads pycocotools

    return read_truth(manifest.path(address.file), address, digest, manifest.classes.names)


def read_clip(manifest: Manifest, clip: Clip) -> Iterator[np.ndarray]:
    """All frames of a clip in order, each (H, W, 3) uint8 RGB; a video file is decoded once.

    Raises:
        ValueError: a frame is missing or has another size than the clip.
    """
    video = clip.frames[0].video_frame is not None
    images = _read_video_frames(manifest, clip) if video else _read_image_frames(manifest, clip)
    for frame, whole in zip(clip.frames, images, strict=True):
        image = shrink_image(whole, manifest.shrink)
        if image.shape[:2] != clip.size:
            raise InputError(
                f"{manifest.path(frame.image)}: frame {frame.name} is {image.shape[0]}x{image.shape[1]} px "
                f"(HxW), but its clip {clip.id} began with {clip.height_px}x{clip.width_px}; all frames of a "
                "clip need one size: cut the clip in two there, or resize its frames"
            )
        yield image


def read_frame(manifest: Manifest, clip: Clip, position: int) -> np.ndarray:
    """One frame of a clip of image files: (H, W, 3) uint8 RGB.

    Raises:
        ValueError: the frame is missing, or has another size than its clip.
    """
    return next(read_clip(manifest, clip.restrict([position])))


def _read_image_frames(manifest: Manifest, clip: Clip) -> Iterator[np.ndarray]:
    for frame in clip.frames:
        yield read_image(manifest.path(frame.image), frame.image_sha256, orientation=_told_orientation(frame))


def _told_orientation(frame: Frame) -> int | None:
    """The orientation that the manifest tells; None for a frame without digest, which no manifest made."""
    return frame.orientation if frame.digest else None


def _read_video_frames(manifest: Manifest, clip: Clip) -> Iterator[np.ndarray]:
    """The last frame comes only after a second look at the file, so nobody has all of a changed one."""
    path, sha256 = manifest.path(clip.frames[0].image), clip.frames[0].image_sha256
    _check_video(path, sha256)
    wanted = iter(clip.frames)
    frame = next(wanted)
    try:
        check_orientation(path, video_info(path).orientation, _told_orientation(frame))
        for number, image in enumerate(decode_video(path)):
            if number == frame.video_frame:
                following = next(wanted, None)
                if following is None:
                    _check_video(path, sha256)
                    yield image
                    return
                yield image
                frame = following
    except InputError:
        _check_video(path, sha256)  # a file that changed under the decoder is no damaged one
        raise
    _check_video(path, sha256)
    raise InputError(
        f"{path}: ends before frame {frame.video_frame}; the file changed since "
        "the manifest was made (run `weclick manifest` again), or it holds fewer frames than it says: "
        "re-encode it with ffmpeg -i OLD -c:v libx264 -crf 10 NEW.mp4"
    )


def _check_video(path: Path, sha256: str) -> None:
    try:
        check_content(path, sha256)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read as a video ({error}); restore the file or drop the clip"
        ) from error


def values_in(array: np.ndarray) -> np.ndarray:
    """The different values of an array of whole numbers, sorted. Bytes are counted, which is faster."""
    if array.dtype != np.uint8:
        return np.unique(array)
    return np.flatnonzero(np.bincount(array.ravel(), minlength=256))


def _known_ids(values: np.ndarray, ids: Iterable[str], path: Path) -> None:
    """Raises InputError if a label holds none of the values that its data set knows."""
    found = values_in(values)
    known = np.array([int(value) for value in ids])
    strange = np.setdiff1d(found, [*known, 0, IGNORE])
    if strange.size and not np.isin(found, known).any():
        raise InputError(
            f"{path}: holds values {strange[:8].tolist()}, and none of the data set's ({known.min()}.."
            f"{known.max()}); is it a label file at all? Restore the file"
        )


def _to_classes(values: np.ndarray, manifest: Manifest, path: Path) -> np.ndarray:
    label_map = manifest.classes.label_map
    if label_map is not None and (values.ndim == 3) != ("colors" in label_map):
        found, wanted = (
            ("RGB colours", "class ids") if values.ndim == 3 else ("grey or palette values", "colours")
        )
        raise InputError(
            f"{path}: holds {found}, but labels of {manifest.dataset} are {wanted}; convert the file"
        )
    if label_map is None and values.ndim == 3:
        return classes_of_colors(values, manifest.classes, path)
    if label_map is None:
        if _holds_others(values, manifest.num_classes):
            bad = np.setdiff1d(values_in(values), [*range(manifest.num_classes), IGNORE])
            raise InputError(
                f"{path}: holds values {bad[:8].tolist()}, expected class ids 0..{manifest.num_classes - 1} "
                f"or {IGNORE} (ignored) in one channel for {manifest.num_classes} classes; correct the file "
                "or the list of classes"
            )
        return values.astype(np.uint8)
    if "colors" in label_map:
        return classes_of_listed_colors(values, label_map["colors"], path)
    return _classes_of_ids(values, label_map["ids"], path)


def _holds_others(values: np.ndarray, num_classes: int) -> bool:
    """Whether values are neither class ids nor IGNORE. Bytes wrap around, so one comparison tells."""
    if values.dtype != np.uint8:
        return np.setdiff1d(np.unique(values), [*range(num_classes), IGNORE]).size > 0
    first = min(num_classes, IGNORE)
    return bool((values - np.uint8(first) < np.uint8(IGNORE - first)).any())


def _classes_of_ids(values: np.ndarray, ids: Mapping[str, int], path: Path) -> np.ndarray:
    """The classes of a data set's own ids; the ids themselves are looked at only where none has a class."""
    table = _id_table(tuple(ids.items()))
    if values.dtype not in (np.uint8, np.uint16):
        _known_ids(values, ids, path)
        return table[np.clip(values.astype(np.int32), 0, 65535)]
    classes = table.take(values)
    if not values.size or classes.min() == IGNORE:
        _known_ids(values, ids, path)
    return classes


@lru_cache(maxsize=4)
def _id_table(items: tuple[tuple[str, int], ...]) -> np.ndarray:
    table = np.full(65536, IGNORE, np.uint8)
    for value, class_id in items:
        table[int(value)] = class_id
    return table
