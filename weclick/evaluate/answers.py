"""What networks say of the frames of a clip: class maps, or objects. All who predict ask here."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from torch import Tensor, nn

from weclick.common.batches import in_batches
from weclick.common.errors import InputError
from weclick.evaluate.dense_crf import refined_classes
from weclick.evaluate.engines import Precision, exported_engine, is_exported, torch_engine
from weclick.evaluate.flow_in_loop import Estimator, ToPrevious
from weclick.evaluate.instances.detecting import as_image, detect_together
from weclick.evaluate.instances.drawing import overlay_instances
from weclick.evaluate.instances.found import Instances
from weclick.evaluate.instances.semantic import semantic_from_instances
from weclick.evaluate.instances.tracks import Linker, Track
from weclick.evaluate.overlay import overlay_classes
from weclick.evaluate.reading import Frames, Shown
from weclick.evaluate.segmenting import Segmenter, full_logits
from weclick.manifest import Classes
from weclick.manifest.images import shrink_image
from weclick.models.build import DETECTOR
from weclick.proxy_labels import ImageInstances
from weclick.store.model_file import ModelCard, load_model

MIN_SCORE = 0.5
"""Objects from this score on are shown and linked to tracks."""

ESTIMATOR: Estimator = ("dis", {})
"""Of the flow along which objects are linked, if nobody names another."""


class Answer(NamedTuple):
    """A frame and what a network says of it.

    Attributes:
        frame: which one.
        image: (H, W, 3) uint8 RGB.
        class_ids: (H, W) uint8. Of a detector the class of the surest object that is shown there, else 255.
        coarse: (K, h, w) float32, the logits of a network of class maps.
        codes: all that a detector found, however unsure.
        shown: the objects that are shown; None if the network is no detector.
        numbers: of the tracks of these; None if they are not linked.
    """

    frame: Shown
    image: np.ndarray
    class_ids: np.ndarray
    coarse: Tensor | None = None
    codes: ImageInstances | None = None
    shown: Instances | None = None
    numbers: list[int] | None = None


class Network(Protocol):
    """A network at work."""

    @property
    def in_time(self) -> bool:
        """Whether it looks at neighbouring frames, so that images of one folder and size are a clip."""

    @property
    def finds_objects(self) -> bool:
        """Whether it is a detector."""

    @property
    def seconds(self) -> float:
        """Spent in it so far."""

    @property
    def told(self) -> str:
        """By what it runs, in words."""

    @property
    def tracks(self) -> list[Track]:
        """Of the last clip that was linked and had an end."""

    def __call__(
        self, frames: Frames, *, batch_size: int = 1, linked: bool = False, endless: bool = False
    ) -> Iterator[Answer]:
        """What it says of each frame of a clip, in order.

        Args:
            frames: in order, all of one size if it looks at neighbours or links.
            batch_size: so many neighbours of one size go through the network together.
            linked: whether objects are linked to tracks.
            endless: whether the clip may have no end, so that of tracks the numbers alone are kept.
        """


class ClassMaps:
    """A network that gives every pixel a class. Attributes are those of `Network`.

    Args:
        segmenter: the network.
        crf: a preset of `weclick.losses.mean_field`; post-process the class maps by this dense CRF.
    """

    finds_objects = False

    def __init__(self, segmenter: Segmenter, crf: str | None = None) -> None:
        self._segmenter, self._crf = segmenter, crf
        self.in_time, self.tracks = segmenter.in_time, list[Track]()

    @property
    def seconds(self) -> float:
        """Spent in the network so far."""
        return self._segmenter.seconds

    @property
    def told(self) -> str:
        """By what it runs."""
        return self._segmenter.told

    def __call__(
        self, frames: Frames, *, batch_size: int = 1, linked: bool = False, endless: bool = False
    ) -> Iterator[Answer]:
        """See `Network`."""
        for frame, image, class_ids, coarse in self._segmenter(frames, batch_size):
            if self._crf:
                class_ids = refined_classes(full_logits(coarse, image.shape[:2]), image, self._crf)
            yield Answer(frame, image, class_ids, coarse)


class Objects:
    """A detector. Attributes are those of `Network`.

    Args:
        model: in eval mode, on `device`.
        card: its card.
        device: where it computes.
        flow: name and options of the estimator of the flow along which objects are linked; None: ESTIMATOR,
            and images of one folder are no clip.
        min_score: objects below it are neither shown nor linked.
    """

    finds_objects = True

    def __init__(
        self,
        model: nn.Module,
        card: ModelCard,
        device: str,
        *,
        flow: Estimator | None = None,
        min_score: float = MIN_SCORE,
    ) -> None:
        self._model, self._card, self._device, self._min_score = model, card, device, min_score
        self._estimator, self.in_time = flow or ESTIMATOR, flow is not None
        self._to_previous: ToPrevious | None = None
        self.told = device
        self.seconds, self.tracks = 0.0, list[Track]()

    def __call__(
        self, frames: Frames, *, batch_size: int = 1, linked: bool = False, endless: bool = False
    ) -> Iterator[Answer]:
        """See `Network`."""
        linker = Linker(keep=not endless) if linked else None
        if linker:
            self._to_previous = self._to_previous or ToPrevious(
                self._estimator, self._card.shrink, self._device
            )
            self._to_previous.begin()
        for batch in in_batches(frames, batch_size, lambda frame: frame[1].shape):
            images = [image for _, image in batch]
            for (frame, image), found in zip(batch, self._found(images), strict=True):
                yield self._answer(frame, image, found, linker)
        self.tracks = linker.tracks() if linker and not endless else []

    def _found(self, images: list[np.ndarray]) -> list[Instances]:
        began = time.perf_counter()
        small = [shrink_image(image, self._card.shrink) for image in images]  # as it has learned from
        size = images[0].shape[0], images[0].shape[1]
        found = detect_together(self._model, small, self._device, size=size)
        self.seconds += time.perf_counter() - began
        return found

    def _answer(self, frame: Shown, image: np.ndarray, found: Instances, linker: Linker | None) -> Answer:
        shown, numbers = found.chosen(found.scores >= self._min_score), None
        if linker and self._to_previous:
            kept = linker.add(shown, self._to_previous(image))
            shown = shown.chosen(np.array([at for at, _ in kept], np.int64))
            numbers = [number for _, number in kept]
        classes = len(self._card.classes.names)
        class_ids = semantic_from_instances(*shown, num_classes=classes, size=shown.size)
        codes = as_image(frame.name, found)
        return Answer(frame, image, class_ids, codes=codes, shown=shown, numbers=numbers)


def network_of(
    model: nn.Module,
    card: ModelCard,
    checkpoint: Path,
    device: str,
    *,
    flow: Estimator | None = None,
    crf: str | None = None,
    min_score: float = MIN_SCORE,
    precision: Precision | None = None,
) -> Network:
    """The network of a checkpoint, ready to work.

    Args:
        model: in eval mode, on `device`.
        card: its card.
        checkpoint: its file, for errors.
        device: where it computes.
        flow: see `Segmenter` and `Objects`.
        crf: see `ClassMaps`.
        min_score: see `Objects`.
        precision: of weights and features of a network of class maps; None: float32.

    Raises:
        InputError: as `Segmenter`, the network gives neither class maps nor objects, or a detector is to have
            a CRF or a precision.
    """
    if card.options["architecture"] != DETECTOR:
        engine = torch_engine(model, card, checkpoint, device, precision)
        return ClassMaps(Segmenter(engine, checkpoint, device, flow), crf)
    if crf:
        raise InputError(f"{checkpoint}: is a detector, whose masks get no CRF; leave --crf out")
    if precision:
        raise InputError(f"{checkpoint}: is a detector, which runs in float32; leave the precision out")
    return Objects(model, card, device, flow=flow, min_score=min_score)


def read_network(
    path: Path,
    device: str,
    *,
    flow: Estimator | None = None,
    crf: str | None = None,
    min_score: float = MIN_SCORE,
    precision: Precision | None = None,
) -> tuple[Network, ModelCard]:
    """The network of a file, ready to work, and its card.

    Args:
        path: a checkpoint, or a file that `weclick export` wrote, which runs on the processor.
        device, flow, crf, min_score, precision: see `network_of`.

    Raises:
        MissingFileError: there is no such file.
        InputError: as `network_of`, `load_model` and `exported_engine`.
    """
    if is_exported(path):
        engine = exported_engine(path, precision)
        return ClassMaps(Segmenter(engine, path, device, flow), crf), engine.card
    model, card = load_model(path, device, with_motion=True, architectures=None)
    network = network_of(
        model, card, path, device, flow=flow, crf=crf, min_score=min_score, precision=precision
    )
    return network, card


def draw(answer: Answer, classes: Classes, opacity: float) -> np.ndarray:
    """The frame with colours over it, (H, W, 3) uint8 RGB: those of classes, or one for each object."""
    if answer.shown is None:
        palette = np.array(classes.palette, np.uint8)
        return overlay_classes(answer.image, answer.class_ids, palette, opacity)
    return overlay_instances(
        answer.image, answer.shown, classes.names, opacity=opacity, numbers=answer.numbers
    )
