"""What a network makes of random pixels of frames, as they are on disk."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from weclick.clicks.asking import PIXELS, Looked, random_pixels
from weclick.common.spread import spread_over
from weclick.losses.partial_cross_entropy import sample_logits
from weclick.manifest.images import read_image, shrink_image
from weclick.manifest.video import video_info
from weclick.manifest.video_seek import VideoFrames
from weclick.models import normalize
from weclick.models.inference import fused_for_inference
from weclick.runs.click.media import Media, Place
from weclick.store.model_file import load_model


def looked_at(logits: Tensor, size: tuple[int, int], pixels: int, rng: np.random.Generator) -> Looked:
    """Margins and classes at random pixels of a frame.

    Args:
        logits: (1, K, h, w), which are read bilinearly, as a prediction of the full size would be.
        size: (H, W) px of the frame.
        pixels: so many at most.
        rng: draws them.
    """
    yx = random_pixels(size, pixels, rng)
    points = torch.from_numpy(np.pad(yx, ((0, 0), (1, 0)))).double()
    return margins(sample_logits(logits, points.to(logits.device), size), yx, size)


def margins(logits: Tensor, yx: np.ndarray, size: tuple[int, int]) -> Looked:
    """What (N, K) logits at the (N, 2) pixels `yx` of a frame say."""
    probabilities, classes = logits.float().softmax(1).topk(min(2, logits.shape[1]), 1)
    margin = probabilities[:, 0] - (probabilities[:, 1] if probabilities.shape[1] > 1 else 0)
    return Looked(yx, margin.cpu().numpy(), classes[:, 0].cpu().numpy(), size)


def frames_to_look_at(media: Media, every_s: float, at_most: int) -> list[Place]:
    """Frames of all clips, evenly spaced.

    Args:
        media: the clips.
        every_s: seconds from one frame of a video to the next; of a shorter video the middle frame is taken.
            Of a folder of images all are taken, since nobody says how far they are apart.
        at_most: so many of all of them, evenly chosen.
    """
    places = []
    for number, clip in enumerate(media.clips):
        is_video = media.video_frame((number, 0)) is not None
        rate = float(video_info(media.path((number, 0))).rate) if is_video else 0.0
        step = max(round(min(every_s * rate, len(clip.frames))), 1) if is_video else 1
        places += [(number, frame) for frame in range(step // 2, len(clip.frames), step)]
    return spread_over(places, at_most)


class Observer:
    """A network that looks at frames.

    Args:
        checkpoint: its model.safetensors.
        media: whose classes it must have.
        device: cpu or cuda.

    Raises:
        MissingFileError: there is no such network.
        InputError: it has other classes, or is damaged.
    """

    def __init__(self, checkpoint: Path, media: Media, device: str = "cpu") -> None:
        model, card = load_model(checkpoint, device, classes=media.classes.names)
        self._media, self._device, self._shrink = media, device, card.shrink
        self._model: nn.Module = fused_for_inference(model)

    def look(self, places: list[Place], rng: np.random.Generator, pixels: int = PIXELS) -> Iterator[Looked]:
        """Look at frames, which are in the order of the clips.

        Raises:
            InputError: a frame cannot be read.
        """
        for image in _images(self._media, places):
            yield self._look(image, rng, pixels)

    @torch.inference_mode()
    def _look(self, image: np.ndarray, rng: np.random.Generator, pixels: int) -> Looked:
        small = torch.tensor(shrink_image(image, self._shrink), device=self._device)
        logits: Any = self._model(normalize(small.permute(2, 0, 1)[None].float()))
        return looked_at(logits.float(), image.shape[:2], pixels, rng)


def _images(media: Media, places: list[Place]) -> Iterator[np.ndarray]:
    """Frames as (H, W, 3) uint8 RGB; a video is decoded once."""
    for _, of_clip in groupby(places, key=itemgetter(0)):
        video: VideoFrames | None = None
        for place in of_clip:
            at = media.video_frame(place)
            if at is None:
                yield read_image(media.path(place))
                continue
            video = video or VideoFrames(media.path(place))
            yield cv2.cvtColor(video.read(at)[at], cv2.COLOR_BGR2RGB)
        if video:
            video.close()
