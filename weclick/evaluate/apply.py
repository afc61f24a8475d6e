"""Class maps of images, folders and videos from a checkpoint alone; they need nothing else of a run."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from weclick.common.crf_package import require_crf
from weclick.common.errors import InputError, room_to_write
from weclick.common.files import file_inside
from weclick.common.progress import progress_bar
from weclick.common.short_names import short_path
from weclick.evaluate.apply_instances import MIN_SCORE, predict_instances
from weclick.evaluate.dense_crf import refined_classes
from weclick.evaluate.flow_in_loop import Estimator, clips_of
from weclick.evaluate.overlay import overlay_classes
from weclick.evaluate.own_files import is_own, save_class_map
from weclick.evaluate.own_overlays import MASKS, OVERLAY, Predicted, check_not_in_use, overlay_writer
from weclick.evaluate.segmenting import Segmenter, full_logits
from weclick.evaluate.sources import Source, find_sources, frames_of
from weclick.manifest import Classes
from weclick.manifest.video import video_info
from weclick.models.build import DETECTOR
from weclick.store.model_file import load_model

Write = Callable[[str, np.ndarray, np.ndarray], None]
"""Takes a frame's name, its image (H, W, 3) uint8 RGB and its class ids (H, W) uint8."""


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
    min_score: float = MIN_SCORE,
) -> Predicted:
    """Predict every frame of one or several sources, one at a time, and write what is asked for.

    Args:
        source: images, videos, folders of them (at any depth), and patterns; see `find_sources`.
        checkpoint: model.safetensors of a teacher or student, or of a detector, see `predict_instances`.
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
        min_score: of a detector's instances, see `predict_instances`.

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
    check_not_in_use(sources, places)
    model, card = load_model(checkpoint, device, with_motion=True, architectures=None)
    if card.options["architecture"] == DETECTOR:
        if crf:
            raise InputError(f"{checkpoint}: is a detector, whose masks get no CRF; leave --crf out")
        return predict_instances(
            model,
            card,
            sources,
            folder,
            files=masks,
            overlay=overlay,
            opacity=opacity,
            min_score=min_score,
            device=device,
            flow=flow,
            count=count,
        )
    network = Segmenter(model, card, checkpoint, device, flow)
    paint = _painter(card.classes, opacity)
    pixels, done = np.zeros(256), 0
    began = time.perf_counter()
    told = sources[0].path.name if len(sources) == 1 else f"{len(sources)} files"
    with room_to_write(folder), progress_bar(f"predict {told}", count, "frames") as bar:
        for clip in clips_of(sources) if network.in_time else ([each] for each in sources):
            with ExitStack() as open_files:
                writers: list[Write] = []
                if masks:
                    writers.append(_mask_writer(folder / MASKS, card.classes))
                if overlay:
                    writers.append(_overlay_writer(folder / OVERLAY, clip[0], paint, open_files))
                frames = itertools.chain.from_iterable(frames_of(each) for each in clip)
                for name, image, class_ids, coarse in network(frames):
                    if crf:
                        class_ids = refined_classes(full_logits(coarse, image.shape[:2]), image, crf)
                    for write in writers:
                        write(name, image, class_ids)
                    pixels += np.bincount(class_ids.ravel(), minlength=256)
                    done += 1
                    bar.advance()
    if not done:
        raise InputError(f"{given[0]}: holds no frame; give an image, a folder of images, or a video")
    share = pixels[: len(card.classes.names)] / pixels.sum()
    return Predicted(done, time.perf_counter() - began, network.seconds, share, card.classes)


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
    add = overlay_writer(folder, source, open_files)
    return lambda name, image, class_ids: add(name, paint(image, class_ids))
