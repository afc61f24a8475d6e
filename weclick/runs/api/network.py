"""A trained network in a program: `weclick.load` reads it, `predict` uses it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args, overload

import numpy as np

from weclick.common.errors import InputError
from weclick.common.stages import WEIGHTS
from weclick.evaluate.answers import MIN_SCORE, Network, Objects, network_of, read_network
from weclick.evaluate.engines import GIVE_CLASS_MAPS, Precision, is_exported
from weclick.evaluate.flow_in_loop import Estimator
from weclick.evaluate.jobs import jobs_of
from weclick.evaluate.own_files import is_own
from weclick.evaluate.reading import Frames, Reader, Shown
from weclick.evaluate.sources import find_sources, raise_it
from weclick.flow.estimators import parse_estimator
from weclick.models.build import DETECTOR, rebuild
from weclick.runs.api.images import Image, as_clip, as_image, is_image
from weclick.runs.api.prediction import Prediction
from weclick.store.model_file import ModelCard, load_model

if TYPE_CHECKING:
    from torch import nn


class Size(NamedTuple):
    """How large a network is, and how fine it sees. A checkpoint fixes no size of frames: it takes any.

    Attributes:
        parameters: numbers that it has learned.
        shrink: frames are looked at at 1/shrink of their size, as in its training.
        stride_px: px of a given frame for each cell of the network's own, coarser answer (of a detector: of
            its finest features). Answers are brought to the size of the frame.
    """

    parameters: int
    shrink: int
    stride_px: int


class Model:
    """A trained network. `weclick.load` makes it.

    Attributes:
        path: of its checkpoint, or of its exported file.
        classes: names of the classes; the position is the class id.
        palette: (K, 3) uint8 RGB, a colour for each class.
        size: see `Size`.
        finds_objects: whether it is a detector, whose predictions have `objects`.
        device: where it computes.
    """

    def __init__(self, path: Path, model: nn.Module, card: ModelCard, device: str, network: Network) -> None:
        """Only of a detector does `model` need its weights."""
        self.path, self.device, self._card = path, device, card
        self.classes, self.palette = card.classes.names, np.array(card.classes.palette, np.uint8)
        self.finds_objects = card.options["architecture"] == DETECTOR
        stride: Any = model.stride
        parameters = sum(each.numel() for each in model.parameters())
        self.size = Size(parameters, card.shrink, int(stride) * card.shrink)
        self._network = network
        self._detector = model if self.finds_objects else None

    def __repr__(self) -> str:
        what = self._card.options["architecture"]
        return f"<weclick.Model {what}, {len(self.classes)} classes, {self.size.parameters} parameters>"

    @overload
    def predict(
        self, given: Image, *, min_score: float | None = None, batch_size: int = 1, drop: bool | None = None
    ) -> Prediction: ...
    @overload
    def predict(
        self,
        given: Sequence[Image],
        *,
        min_score: float | None = None,
        batch_size: int = 1,
        drop: bool | None = None,
    ) -> list[Prediction]: ...
    @overload
    def predict(
        self,
        given: str | Path | Iterator[Image],
        *,
        min_score: float | None = None,
        batch_size: int = 1,
        drop: bool | None = None,
    ) -> Iterator[Prediction]: ...
    def predict(
        self,
        given: Any,
        *,
        min_score: float | None = None,
        batch_size: int = 1,
        drop: bool | None = None,
    ) -> Any:
        """Predict one frame, several, or those of a file, a folder or a stream.

        A network of two streams takes all frames of a call as one clip, in their order, and estimates the
        flow between them. Videos are clips of their own, and so are images of one folder and one size.

        Args:
            given: one image, (H, W, 3) uint8 RGB: an array, or a tensor, which may also be (3, H, W). Or a
                sequence of these. Or an iterator of these, such as a generator. Or the path of an
                image, a video, or a folder of these at any depth; what `weclick predict` wrote is left out.
                Or a text that names a stream: camera:0, rtsp://host/path, or - for standard input.
            min_score: of a detector, 0..1: objects below are left out; 0.5 if left out. Others take none.
            batch_size: so many frames of one size go through the network together, as in `weclick predict`.
                So an iterator reads as many ahead.
            drop: whether a stream drops frames while nobody asks for one; None: cameras and live addresses
                do.

        Returns:
            A `Prediction` of one image, a list of a sequence. Of the rest an iterator: it reads and predicts
            the next frame when it is asked for, so a long video takes no more memory than a short one. (A
            network of two streams holds as many frames as its stack of flow reaches ahead.)

        Raises:
            MissingFileError: there is no such path.
            InputError: an image is of another shape or type, a file cannot be read, a stream breaks off,
                frames of one clip are of several sizes though the network looks at motion, or `min_score` or
                `batch_size` is out of range. An iterator raises it where it meets the frame.

        Example:
            >>> import numpy as np
            >>> import weclick
            >>> model = weclick.load("results/student/model.safetensors", device="cpu")
            >>> seen = model.predict(np.zeros((64, 96, 3), np.uint8))
            >>> seen.class_ids.shape, seen.class_ids.dtype
            ((64, 96), dtype('uint8'))
            >>> seen.probabilities().shape
            (9, 64, 96)
            >>> [each.name for each in model.predict(np.zeros((64, 96, 3), np.uint8) for _ in range(2))]
            ['00000', '00001']
        """
        network = self._with_score(min_score)
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}, expected 1 or more")
        if is_image(given):
            return next(self._clip(network, [(Shown("00000"), as_image(given, "the image"))], 1))
        if isinstance(given, str | Path):
            return self._files(network, given, batch_size, drop)
        if not isinstance(given, Iterable):
            raise InputError(
                f"a {type(given).__name__} cannot be predicted; expected an image (H, W, 3) uint8 RGB, "
                "several of them, or the path of an image, a video or a folder"
            )
        named = ((Shown(name), image) for name, image in as_clip(given, one_size=network.in_time))
        seen = self._clip(network, named, batch_size)
        return list(seen) if isinstance(given, Sequence) else seen

    def _with_score(self, min_score: float | None) -> Network:
        """The network, which shows objects from that score on."""
        score = self._checked_score(min_score)
        if self._detector is None:
            return self._network
        return Objects(self._detector, self._card, self.device, min_score=score)

    def _checked_score(self, min_score: float | None) -> float:
        if min_score is not None and not self.finds_objects:
            raise InputError(
                "min_score is of detectors, and this network gives every pixel a class; leave it out"
            )
        if min_score is not None and not 0 <= min_score <= 1:
            raise InputError(f"min_score is {min_score}, expected 0 to 1")
        return MIN_SCORE if min_score is None else min_score

    def _files(
        self, network: Network, given: str | Path, batch_size: int, drop: bool | None
    ) -> Iterator[Prediction]:
        """The path is looked at at once, so that a wrong one is told where it was given."""
        jobs = jobs_of(find_sources([given], is_own=is_own))
        reader = Reader(drop=drop, waiting=max(2, batch_size))
        clips = (clip for job in jobs for clip in job.clips(in_time=network.in_time, tell=raise_it))
        return (seen for clip in clips for seen in self._clip(network, reader.frames(clip), batch_size))

    def _clip(self, network: Network, frames: Frames, batch_size: int) -> Iterator[Prediction]:
        return (
            Prediction.of(answer, self._card.classes) for answer in network(frames, batch_size=batch_size)
        )


def load(
    path: str | Path, *, device: str = "auto", flow: str | None = None, precision: Precision | None = None
) -> Model:
    """Read a trained network: a teacher, a student or a detector. Nothing else of its run is needed.

    Nothing of the file is executed or unpickled.

    Args:
        path: of a model.safetensors, or of the folder that holds it. Or a file of `weclick export` that its
            runtime runs on the processor: model.onnx or model.int8.onnx, or model.xml of OpenVINO.
        device: auto (a GPU when there is one), cpu, or cuda, also cuda:1. Exported files take auto and cpu.
        flow: for a network of two streams, the estimator of the flow that it looks at, as `weclick predict
            --flow` takes it: dis, or raft:weights=raft.pth; None: that of its training.
        precision: of weights and features, float32 or bfloat16; None: float32. Detectors and ONNX files take
            None alone.

    Raises:
        MissingFileError: there is no such file.
        InputError: the file is no network of weclick, is damaged, or holds a network that gives neither class
            maps nor objects; there is no such device, or the runtime is not installed; or the flow or the
            precision does not fit.

    Example:
        >>> import weclick
        >>> model = weclick.load("results/student", device="cpu")
        >>> model.classes[:2]
        ('road', 'sidewalk')
        >>> model.size.shrink, model.size.stride_px
        (1, 4)
    """
    if precision not in (None, *get_args(Precision)):
        raise InputError(f"precision is {precision!r}, expected {' or '.join(get_args(Precision))}")
    file, estimator = Path(path), parse_estimator(flow, "flow") if flow else None
    if is_exported(file):
        return _exported(file, device, estimator, precision)
    on, file = _device(device), file / WEIGHTS if file.is_dir() else file
    model, card = load_model(file, on, with_motion=True, architectures=(*GIVE_CLASS_MAPS, DETECTOR))
    if card.options["architecture"] == DETECTOR and flow:
        raise InputError(f"{file}: is a detector, which looks at single frames here; leave flow out")
    return Model(
        file, model, card, on, network_of(model, card, file, on, flow=estimator, precision=precision)
    )


def _exported(file: Path, device: str, flow: Estimator | None, precision: Precision | None) -> Model:
    import torch

    if device not in ("auto", "cpu"):
        raise InputError(f"{file}: runs on the processor, but device is {device!r}; give auto or cpu")
    network, card = read_network(file, "cpu", flow=flow, precision=precision)
    with torch.device("meta"):  # the file has the weights; here the network only tells its size
        model = rebuild(card.options)
    return Model(file, model, card, "cpu", network)


def _device(wanted: str) -> str:
    """A device by the name that people give.

    Raises:
        InputError: it is no such name, or torch finds no such device here.
    """
    import torch

    kind, _, number = wanted.partition(":")
    found = torch.cuda.device_count()
    if wanted == "auto":
        return "cuda" if found else "cpu"
    if wanted == "cpu":
        return wanted
    if kind != "cuda" or not (wanted == kind or number.isdecimal()):
        raise InputError(f"device is {wanted!r}, expected auto, cpu, cuda, or one of several GPUs as cuda:1")
    if int(number or 0) >= found:
        raise InputError(
            f"device is {wanted}, but torch finds {found} GPUs here; take another, or cpu or auto"
        )
    return wanted
