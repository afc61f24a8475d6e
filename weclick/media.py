"""Reading of images, labels and videos that a manifest names."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from weclick.manifest import IGNORE, Clip, Frame, Manifest

CLICK_COLUMNS = ("clip", "frame", "y", "x", "class")


def read_image(path: Path) -> np.ndarray:
    """An image file as (H, W, 3) uint8 RGB.

    Raises:
        ValueError: the file is missing, or no image.
    """
    with _open(path) as image:
        return np.asarray(image.convert("RGB"))


def read_ids(path: Path) -> np.ndarray:
    """A label file's stored values: (H, W) indices of a palette or grey file, or (H, W, 3) colours."""
    with _open(path) as image:
        if image.mode in ("P", "L", "I", "I;16", "1"):
            return np.asarray(image)
        return np.asarray(image.convert("RGB"))


def shrunk_size(size: tuple[int, int], shrink: int) -> tuple[int, int]:
    """(H, W) px of a frame read at 1/shrink of its size, rounded half up."""
    height, width = ((2 * side + shrink) // (2 * shrink) for side in size)
    return height, width


def read_label(manifest: Manifest, frame: Frame) -> np.ndarray:
    """The class map of a frame: (H, W) uint8 class ids, 255 ignored.

    Raises:
        ValueError: the frame has no label, or its file holds values outside the data set's classes.
    """
    if frame.label is None:
        raise ValueError(f"frame {frame.name} of {manifest.split} has no label file, but one is needed here")
    path = manifest.path(frame.label)
    return _shrink(_to_classes(read_ids(path), manifest, path), manifest.shrink, Image.Resampling.NEAREST)


def read_instances(manifest: Manifest, frame: Frame) -> np.ndarray | None:
    """The instance map of a frame as (H, W) int32, or None where the data set has none."""
    if frame.instances is None:
        return None
    instances = read_ids(manifest.path(frame.instances)).astype(np.int32)
    return _shrink(instances, manifest.shrink, Image.Resampling.NEAREST)


def read_click_file(path: Path) -> list[tuple[int, dict[str, str]]]:
    """The rows of a click table that people made, as (line number, column -> text).

    The table is CSV in UTF-8 with a header; `frame` is a frame's name or number, `class` a name or id,
    `y` and `x` are pixels counted from 0 at the centre of the upper left pixel. More columns do no harm.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a column is missing in the header, or a value in a row.
    """
    with Path(path).open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, skipinitialspace=True)
        missing = [name for name in CLICK_COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(
                f"{path}: its header lacks {', '.join(missing)}; "
                f"the first line should be {','.join(CLICK_COLUMNS)}"
            )
        rows = [
            (reader.line_num, {name: (row[name] or "").strip() for name in CLICK_COLUMNS}) for row in reader
        ]
    for line, row in rows:
        if "" in row.values():
            raise ValueError(
                f"{path}, line {line}: a value is missing in {row}; give all five or drop the line"
            )
    return rows


def read_clip(manifest: Manifest, clip: Clip) -> Iterator[np.ndarray]:
    """All frames of a clip in order, each (H, W, 3) uint8 RGB; a video file is decoded once.

    Raises:
        ValueError: a frame is missing or has another size than the clip.
    """
    video = clip.frames[0].video_frame is not None
    images = _read_video_frames(manifest, clip) if video else _read_image_frames(manifest, clip)
    for frame, whole in zip(clip.frames, images, strict=True):
        image = _shrink(whole, manifest.shrink, Image.Resampling.BOX)
        if image.shape[:2] != clip.size:
            raise ValueError(
                f"{manifest.path(frame.image)}: is {image.shape[0]}x{image.shape[1]} px (HxW), but its clip "
                f"{clip.id} began with {clip.height_px}x{clip.width_px}; all frames of a clip need one size"
            )
        yield image


def decode_video(path: Path) -> Iterator[np.ndarray]:
    """Frames of a video file in presentation order, each (H, W, 3) uint8 RGB.

    Raises:
        ValueError: the file cannot be decoded.
    """
    import av

    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                yield frame.to_ndarray(format="rgb24")
    except (av.FFmpegError, IndexError, OSError) as error:
        raise ValueError(
            f"{path}: cannot be decoded as a video ({error}); re-encode it, e.g. as H.264"
        ) from error


def _shrink(array: np.ndarray, shrink: int, how: Image.Resampling) -> np.ndarray:
    """An image or map at 1/shrink of its size: colours by area means, ids by their nearest pixel."""
    if shrink == 1:
        return array
    height, width = shrunk_size(array.shape[:2], shrink)
    return np.asarray(Image.fromarray(array).resize((width, height), how))


def _read_image_frames(manifest: Manifest, clip: Clip) -> Iterator[np.ndarray]:
    for frame in clip.frames:
        yield read_image(manifest.path(frame.image))


def _read_video_frames(manifest: Manifest, clip: Clip) -> Iterator[np.ndarray]:
    wanted = iter(clip.frames)
    frame = next(wanted)
    for number, image in enumerate(decode_video(manifest.path(clip.frames[0].image))):
        if number == frame.video_frame:
            yield image
            following = next(wanted, None)
            if following is None:
                return
            frame = following
    raise ValueError(
        f"{manifest.path(clip.frames[0].image)}: ends before frame {frame.video_frame}; "
        "the file changed since the manifest was made: run `weclick manifest` again"
    )


def _open(path: Path) -> Image.Image:
    try:
        image = Image.open(path)
        image.load()
        return image
    except (OSError, SyntaxError, ValueError) as error:  # Pillow's three words for a damaged file
        raise ValueError(
            f"{path}: cannot be read as an image ({error}); restore the file or drop the frame"
        ) from error


def _to_classes(values: np.ndarray, manifest: Manifest, path: Path) -> np.ndarray:
    label_map = manifest.classes.label_map
    if label_map is not None and (values.ndim == 3) != ("colors" in label_map):
        found, wanted = (
            ("RGB colours", "class ids") if values.ndim == 3 else ("grey or palette values", "colours")
        )
        raise ValueError(
            f"{path}: holds {found}, but labels of {manifest.dataset} are {wanted}; convert the file"
        )
    if label_map is None:
        bad = np.setdiff1d(np.unique(values), [*range(manifest.num_classes), IGNORE])
        if values.ndim != 2 or bad.size:
            found = f"values {bad[:8].tolist()}" if values.ndim == 2 else "RGB colours"
            raise ValueError(
                f"{path}: holds {found}, expected class ids 0..{manifest.num_classes - 1} or {IGNORE} "
                f"(ignored) for {manifest.num_classes} classes; correct the file or the list of classes"
            )
        return values.astype(np.uint8)
    if "colors" in label_map:
        packed = values.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
        table = {_pack(color): class_id for color, class_id in label_map["colors"].items()}
        known, where = np.unique(packed, return_inverse=True)
        return np.array([table.get(int(v), IGNORE) for v in known], np.uint8)[where].reshape(packed.shape)
    return _id_table(tuple(label_map["ids"].items()))[np.clip(values.astype(np.int32), 0, 65535)]


def _pack(color: str) -> int:
    red, green, blue = (int(part) for part in color.split(","))
    return red * 65536 + green * 256 + blue


@lru_cache(maxsize=4)
def _id_table(items: tuple[tuple[str, int], ...]) -> np.ndarray:
    table = np.full(65536, IGNORE, np.uint8)
    for value, class_id in items:
        table[int(value)] = class_id
    return table
