"""Reading of images, labels and videos that a manifest names."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from weclick.errors import InputError, MissingFileError
from weclick.manifest import IGNORE, Clip, Frame, Manifest

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
CLICK_COLUMNS = ("clip", "frame", "y", "x", "class")


class VideoInfo(NamedTuple):
    """What the header of a video file tells: number of frames, size, and frames a second."""

    frames: int
    height_px: int
    width_px: int
    rate: Fraction


def read_image(path: Path) -> np.ndarray:
    """An image file as (H, W, 3) uint8 RGB.

    Raises:
        MissingFileError: there is no such file.
        InputError: the file is no image, damaged, or of more than 8 bits a channel.
    """
    return _read(path, _rgb)


def image_size(path: Path) -> tuple[int, int]:
    """(H, W) in px of an image file, from its header alone.

    Raises:
        InputError: the file is no image.
    """
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except Exception as error:  # as in _read
        raise _no_image(path, error) from error


def read_ids(path: Path) -> np.ndarray:
    """A label file's stored values: (H, W) indices of a palette or grey file, or (H, W, 3) colours."""
    return _read(path, _stored)


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
        raise InputError(f"frame {frame.name} of {manifest.split} has no label file, but one is needed here")
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
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: there is no such click table; correct data.clicks") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is no CSV in UTF-8 ({error}); save the table as that") from error
    try:
        rows = _rows(path, csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True))
    except csv.Error as error:
        raise InputError(f"{path}: cannot be read as CSV ({error}); save the table as that") from error
    for line, row in rows:
        if "" in row.values():
            raise InputError(
                f"{path}, line {line}: a value is missing in {row}; give all five or drop the line"
            )
    return rows


def _rows(path: Path, reader: csv.DictReader) -> list[tuple[int, dict[str, str]]]:
    missing = [name for name in CLICK_COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise InputError(
            f"{path}: its header lacks {', '.join(missing)}; "
            f"the first line should be {','.join(CLICK_COLUMNS)}"
        )
    return [(reader.line_num, {name: (row[name] or "").strip() for name in CLICK_COLUMNS}) for row in reader]


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
        ValueError: it is missing, or of another size than its clip.
    """
    return next(read_clip(manifest, clip.restrict([position])))


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
        raise InputError(
            f"{path}: cannot be decoded as a video ({error}); re-encode it, e.g. as H.264"
        ) from error


def video_info(path: Path) -> VideoInfo:
    """Size and length of a video file; frames are counted in packets where the header does not tell.

    Raises:
        ValueError: the file holds no video.
    """
    import av

    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            frames = stream.frames or sum(packet.size > 0 for packet in container.demux(stream))
            return VideoInfo(frames, stream.height, stream.width, stream.average_rate or Fraction(25))
    except (av.FFmpegError, IndexError, OSError) as error:
        raise InputError(
            f"{path}: cannot be opened as a video ({error}); re-encode it, e.g. as H.264"
        ) from error


def shrink_image(image: np.ndarray, shrink: int) -> np.ndarray:
    """A frame (H, W, 3) uint8 at 1/shrink of its size, by means over areas."""
    return _shrink(image, shrink, Image.Resampling.BOX)


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
    raise InputError(
        f"{manifest.path(clip.frames[0].image)}: ends before frame {frame.video_frame}; "
        "the file changed since the manifest was made: run `weclick manifest` again"
    )


def _read(path: Path, convert: Callable[[Image.Image], np.ndarray]) -> np.ndarray:
    try:
        with Image.open(path) as image:
            image.load()
            return convert(image)
    except FileNotFoundError as error:
        raise MissingFileError(
            f"{path}: cannot be read as an image (there is no such file); restore the file or drop the frame"
        ) from error
    except Exception as error:  # a damaged file fails anywhere in Pillow, in any words
        raise _no_image(path, error) from error


def _no_image(path: Path, error: Exception) -> InputError:
    size = f"{Path(path).stat().st_size} bytes" if Path(path).is_file() else "not a file"
    return InputError(
        f"{path}: cannot be read as an image ({size}: {error}); restore the file or drop the frame"
    )


def _rgb(image: Image.Image) -> np.ndarray:
    if image.mode == "F" or image.mode.startswith("I"):
        raise ValueError(f"mode {image.mode}, more than 8 bits a channel; expected 8-bit grey or RGB")
    return np.asarray(image.convert("RGB"))


def _stored(image: Image.Image) -> np.ndarray:
    """Grey and palette values as they are, anything else as colours."""
    plain = image.mode in ("P", "L", "1") or image.mode.startswith("I")
    return np.asarray(image if plain else image.convert("RGB"))


def _known_ids(values: np.ndarray, ids: Iterable[str], path: Path) -> None:
    """Raises InputError where a label holds not one of the values that its data set knows."""
    found = np.unique(values)
    known = np.array([int(value) for value in ids])
    strange = np.setdiff1d(found, [*known, 0, IGNORE])
    if strange.size and not np.isin(found, known).any():
        raise InputError(
            f"{path}: holds values {strange[:8].tolist()}, not one of the data set's ({known.min()}.."
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
    if label_map is None:
        bad = np.setdiff1d(np.unique(values), [*range(manifest.num_classes), IGNORE])
        if values.ndim != 2 or bad.size:
            found = f"values {bad[:8].tolist()}" if values.ndim == 2 else "RGB colours"
            raise InputError(
                f"{path}: holds {found}, expected class ids 0..{manifest.num_classes - 1} or {IGNORE} "
                f"(ignored) in one channel for {manifest.num_classes} classes; correct the file or the "
                "list of classes"
            )
        return values.astype(np.uint8)
    if "colors" in label_map:
        packed = values.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
        table = {_pack(color): class_id for color, class_id in label_map["colors"].items()}
        known, where = np.unique(packed, return_inverse=True)
        return np.array([table.get(int(v), IGNORE) for v in known], np.uint8)[where].reshape(packed.shape)
    _known_ids(values, label_map["ids"], path)
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
