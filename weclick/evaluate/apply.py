"""Class maps of images, folders and videos from a checkpoint alone; they need nothing else of a run."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from weclick.common.errors import InputError, room_to_write
from weclick.common.files import file_inside
from weclick.common.progress import progress_bar
from weclick.common.short_names import short_path
from weclick.evaluate.crf_package import require_crf
from weclick.evaluate.dense_crf import refined_classes
from weclick.evaluate.flow_in_loop import Estimator, InLoop, clips_of, estimator_of
from weclick.evaluate.overlay import overlay_classes
from weclick.evaluate.own_files import MADE_BY, is_own, save_class_map, save_overlay
from weclick.evaluate.sources import Source, find_sources
from weclick.manifest import Classes
from weclick.manifest.images import read_image, shrink_image
from weclick.manifest.video import decode_video, video_info, video_times, video_writer
from weclick.models.build import CLASSIFIER
from weclick.models.inference import class_logits, class_of, fused_for_inference
from weclick.store.model_file import load_model

MASKS, OVERLAY = "masks", "overlay"
"""Folders that predict writes into."""

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
    source: Path | Sequence[Path],
    checkpoint: Path,
    folder: Path,
    *,
    masks: bool,
    overlay: bool,
    opacity: float,
    device: str,
    crf: str | None = None,
    flow: Estimator | None = None,
) -> Predicted:
    """Predict every frame of one or several sources, one at a time, and write what is asked for.

    Args:
        source: images, videos, folders of them (at any depth), and patterns; see `find_sources`.
        checkpoint: model.safetensors of a teacher or student.
        folder: gets masks/<name>.png, palette PNGs of class ids, and overlay/<name>.jpg. A video gives
            masks/<video>/<frame>.png and overlay/<video>.mp4 (H.264, its frames at the source's times; an odd
            last row or column is doubled, since that format needs even sides). What predict wrote before is
            replaced.
        masks: write class maps.
        overlay: write frames with the classes' colours over them and lines between the classes.
        opacity: of the colours, 0..1.
        device: cpu or cuda.
        crf: a preset of `weclick.losses.mean_field`; post-process the class maps by this dense CRF.
        flow: for a network of two streams, the estimator of the flow that it looks at; None: that of its
            training. Images of one folder that follow each other there, all of one size, are a clip.

    Raises:
        MissingFileError: there is no such source or checkpoint.
        InputError: a source has no frames or cannot be read, two would have results of one name, the file is
            no checkpoint or that of a classifier, the name of a file leads out of the folder, a file there
            is not predict's own, the CRF's package is missing, or the network looks at no flow, or at one
            whose weights nobody gave.
        DiskFullError: there is no room.
    """
    if crf:
        require_crf(f"--crf is {crf}")
    given = [source] if isinstance(source, Path) else list(source)
    places = [folder / MASKS] * masks + [folder / OVERLAY] * overlay
    both = (folder / MASKS, folder / OVERLAY)
    sources = find_sources(given, is_own=is_own, leave_out=both)
    count = sum(video_info(each.path).frames if each.is_video else 1 for each in sources)
    _check_not_in_use(sources, places)
    model, card = load_model(checkpoint, device, with_motion=True)
    if flow and not card.motion:
        raise InputError(f"{checkpoint}: its network looks at images alone; leave --flow out")
    look = InLoop(card.motion, estimator_of(card.motion, flow), card.shrink, device) if card.motion else None
    if card.options["architecture"] == CLASSIFIER:
        raise InputError(
            f"{checkpoint}: is a classifier, whose maps are no class maps; give the model.safetensors of a "
            "teacher or student"
        )
    model = fused_for_inference(model).to(memory_format=torch.channels_last)
    paint = _painter(card.classes, opacity)
    pixels, network_seconds, done = np.zeros(256), 0.0, 0
    began = time.perf_counter()
    told = sources[0].path.name if len(sources) == 1 else f"{len(sources)} files"
    with room_to_write(folder), progress_bar(f"predict {told}", count, "frames") as bar:
        for clip in clips_of(sources) if look else ([each] for each in sources):
            with ExitStack() as open_files:
                writers: list[Write] = []
                if masks:
                    writers.append(_mask_writer(folder / MASKS, card.classes))
                if overlay:
                    writers.append(_overlay_writer(folder / OVERLAY, clip[0], paint, open_files))
                for name, image, stack in _with_stacks(clip, look):
                    began_network = time.perf_counter()
                    small = shrink_image(image, card.shrink)  # the network learned from frames of this size
                    logits = class_logits(model, small, device, size=image.shape[:2], stack=stack)
                    class_ids = class_of(logits).cpu().numpy()
                    network_seconds += time.perf_counter() - began_network
                    if crf:
                        class_ids = refined_classes(logits, image, crf)
                    for write in writers:
                        write(name, image, class_ids)
                    pixels += np.bincount(class_ids.ravel(), minlength=256)
                    done += 1
                    bar.advance()
    if not done:
        raise InputError(f"{given[0]}: holds no frame; give an image, a folder of images, or a video")
    share = pixels[: len(card.classes.names)] / pixels.sum()
    return Predicted(done, time.perf_counter() - began, network_seconds, share, card.classes)


def _with_stacks(
    clip: Sequence[Source], look: InLoop | None
) -> Iterator[tuple[str, np.ndarray, torch.Tensor | None]]:
    """The frames of a clip, each with the flow around it if the network looks at that."""
    frames = itertools.chain.from_iterable(_frames(source) for source in clip)
    return look(frames) if look else ((*frame, None) for frame in frames)


def _frames(source: Source) -> Iterator[tuple[str, np.ndarray]]:
    """(name without ending, (H, W, 3) uint8 RGB) of an image, or of every frame of a video."""
    if not source.is_video:
        yield source.name, read_image(source.path)
        return
    for i, image in enumerate(decode_video(source.path)):
        yield f"{source.name}/{i:05d}", image


def _check_not_in_use(sources: Sequence[Source], places: Sequence[Path]) -> None:
    """Check that no file of somebody else would be replaced.

    Raises:
        InputError: one would.
    """
    for place, source in itertools.product(places, sources):
        ending = ".png" if place.name == MASKS else ".mp4" if source.is_video else ".jpg"
        path = place / short_path(source.name, ending)
        files = [path.with_name(f"{path.name}{ending}")]
        if source.is_video and place.name == MASKS:
            files = sorted(path.glob("*.png"))[:1]
        if files and files[0].is_file() and not is_own(files[0]):
            raise InputError(
                f"{files[0]}: would be replaced, but predict did not write it, or an older version did; "
                "give another --output, or remove the file if you do not need it"
            )


def _mask_writer(folder: Path, classes: Classes) -> Write:
    def write(name: str, image: np.ndarray, class_ids: np.ndarray) -> None:
        path = file_inside(folder, f"{short_path(name, '.png')}.png")
        save_class_map(class_ids, path, classes.palette)

    return write


def _painter(classes: Classes, opacity: float) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    palette = np.array(classes.palette, np.uint8)
    return lambda image, class_ids: overlay_classes(image, class_ids, palette, opacity)


def _overlay_writer(
    folder: Path,
    source: Source,
    paint: Callable[[np.ndarray, np.ndarray], np.ndarray],
    open_files: ExitStack,
) -> Write:
    """Writes a video into one .mp4, open from its first frame until `open_files` closes; else .jpg files."""
    if source.is_video:
        path = file_inside(folder, f"{short_path(source.name, '.mp4')}.mp4")
        rate, times = video_info(source.path).rate, video_times(source.path)
        add = open_files.enter_context(video_writer(path, rate, times, comment=MADE_BY))
        return lambda name, image, class_ids: add(paint(image, class_ids))

    def write(name: str, image: np.ndarray, class_ids: np.ndarray) -> None:
        save_overlay(paint(image, class_ids), file_inside(folder, f"{short_path(name, '.jpg')}.jpg"))

    return write
