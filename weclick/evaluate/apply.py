"""Class maps of images, folders and videos from a checkpoint alone; they need nothing else of a run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from weclick.common.errors import InputError, MissingFileError, room_to_write
from weclick.common.files import file_inside, written_whole
from weclick.common.progress import progress_bar
from weclick.evaluate.overlay import overlay_classes
from weclick.evaluate.stage import save_class_map
from weclick.manifest import Classes
from weclick.manifest.images import IMAGE_SUFFIXES, read_image, shrink_image
from weclick.manifest.video import decode_video, video_info, video_times, video_writer
from weclick.models.inference import fused_for_inference, predict
from weclick.store.model_file import load_model

Write = Callable[[str, np.ndarray, np.ndarray], None]
"""Takes a frame's name, its image (H, W, 3) uint8 RGB and its class ids (H, W) uint8."""


@dataclass(frozen=True)
class Predicted:
    """The outcome of a prediction.

    Attributes:
        frames: how many.
        seconds: from the first frame read to the last file written.
        network_seconds: the part of these spent in the network.
        share: (K,) part of all pixels that each class got.
        classes: of the checkpoint.
    """

    frames: int
    seconds: float
    network_seconds: float
    share: np.ndarray
    classes: Classes


def predict_files(
    source: Path, checkpoint: Path, folder: Path, *, masks: bool, overlay: bool, opacity: float, device: str
) -> Predicted:
    """Predict every frame of a source, one at a time, and write what is asked for.

    Args:
        source: an image, a folder of images (at any depth) or a video.
        checkpoint: model.safetensors of a teacher or student.
        folder: gets masks/<name>.png, palette PNGs of class ids, and overlay/<name>.jpg. A video gives
            masks/<video>/<frame>.png and overlay/<video>.mp4 (H.264, its frames at the source's times; an odd
            last row or column is doubled, since that format needs even sides).
        masks: write class maps.
        overlay: write frames with the classes' colours over them and lines between the classes.
        opacity: of the colours, 0..1.
        device: cpu or cuda.

    Raises:
        MissingFileError: there is no such source or checkpoint.
        InputError: the source has no frames or cannot be read, the file is no checkpoint, or the name of a
            file leads out of the folder.
        DiskFullError: there is no room.
    """
    frames, count = open_source(source)
    model, card = load_model(checkpoint, device)
    model = fused_for_inference(model).to(memory_format=torch.channels_last)
    pixels, network_seconds, done = np.zeros(256), 0.0, 0
    began = time.perf_counter()
    with (
        room_to_write(folder),
        ExitStack() as open_files,
        progress_bar(f"predict {source.name}", count, "frames") as bar,
    ):
        writers: list[Write] = []
        if masks:
            writers.append(_mask_writer(folder / "masks", card.classes))
        if overlay:
            paint = _painter(card.classes, opacity)
            writers.append(_overlay_writer(folder / "overlay", source, paint, open_files))
        for name, image in frames:
            began_network = time.perf_counter()
            small = shrink_image(image, card.shrink)  # the network learned from frames of this size
            class_ids = predict(model, small, device, size=image.shape[:2]).cpu().numpy()
            network_seconds += time.perf_counter() - began_network
            for write in writers:
                write(name, image, class_ids)
            pixels += np.bincount(class_ids.ravel(), minlength=256)
            done += 1
            bar.advance()
    if not done:
        raise InputError(f"{source}: holds no frame; give an image, a folder of images, or a video")
    share = pixels[: len(card.classes.names)] / pixels.sum()
    return Predicted(done, time.perf_counter() - began, network_seconds, share, card.classes)


def open_source(source: Path) -> tuple[Iterator[tuple[str, np.ndarray]], int]:
    """Frames of an image, a folder or a video as (name without suffix, image), and about how many there are.

    Raises:
        MissingFileError: there is no such file or folder.
        InputError: a folder without images, or a file that is no video.
    """
    if source.is_dir():
        files = [path for path in sorted(source.rglob("*")) if path.suffix.lower() in IMAGE_SUFFIXES]
        if not files:
            raise InputError(
                f"{source}: holds no image ({', '.join(IMAGE_SUFFIXES)}), here or deeper; "
                "give a folder of frames, or one video or image file"
            )
        names = [str(path.relative_to(source).with_suffix("")) for path in files]
        if len(set(names)) < len(names):  # a.jpg beside a.png
            names = [str(path.relative_to(source)) for path in files]
        return ((name, read_image(path)) for name, path in zip(names, files, strict=True)), len(files)
    if not source.is_file():
        raise MissingFileError(
            f"{source}: there is no such file or folder; give an image, a folder or a video"
        )
    if source.suffix.lower() in IMAGE_SUFFIXES:
        return iter([(source.stem, read_image(source))]), 1
    frames = ((f"{source.stem}/{i:05d}", image) for i, image in enumerate(decode_video(source)))
    return frames, video_info(source).frames


def _mask_writer(folder: Path, classes: Classes) -> Write:
    def write(name: str, image: np.ndarray, class_ids: np.ndarray) -> None:
        save_class_map(class_ids, file_inside(folder, f"{name}.png"), classes.palette)

    return write


def _painter(classes: Classes, opacity: float) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    palette = np.array(classes.palette, np.uint8)
    return lambda image, class_ids: overlay_classes(image, class_ids, palette, opacity)


def _overlay_writer(
    folder: Path,
    source: Path,
    paint: Callable[[np.ndarray, np.ndarray], np.ndarray],
    open_files: ExitStack,
) -> Write:
    """Writes a video into one .mp4, open from its first frame until `open_files` closes; else .jpg files."""
    if source.is_file() and source.suffix.lower() not in IMAGE_SUFFIXES:
        rate, times = video_info(source).rate, video_times(source)
        add = open_files.enter_context(video_writer(folder / f"{source.stem}.mp4", rate, times))
        return lambda name, image, class_ids: add(paint(image, class_ids))

    def write(name: str, image: np.ndarray, class_ids: np.ndarray) -> None:
        with written_whole(file_inside(folder, f"{name}.jpg")) as file:
            Image.fromarray(paint(image, class_ids)).save(file, format="JPEG", quality=92)

    return write
