"""What the present student makes of a frame, as a picture to lay over it."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from weclick.common.errors import InputError, MissingFileError
from weclick.manifest import Classes
from weclick.runs.click.frames import Frames
from weclick.runs.click.media import Place

KEPT = 32


class PresentNet:
    """A student that is loaded when it is first asked, and again when a training has replaced it.

    Args:
        checkpoint: its model.safetensors, which need not be there.
        frames: what it looks at.
    """

    def __init__(self, checkpoint: Path, frames: Frames) -> None:
        self.checkpoint, self._frames = Path(checkpoint), frames
        self._lock = threading.Lock()
        self._stamp: tuple[int, int] | None = None
        self._predict: Callable[[np.ndarray], np.ndarray] | None = None
        self._made: OrderedDict[Place, bytes] = OrderedDict()

    @property
    def is_there(self) -> bool:
        """Whether there is a network to ask."""
        return self.checkpoint.is_file()

    def picture(self, place: Place) -> bytes:
        """A palette PNG (H, W) of the classes of a frame, in the colours of the classes file.

        Raises:
            MissingFileError: there is no student yet.
            InputError: the student has other classes, or is damaged.
        """
        with self._lock:
            self._load()
            if place not in self._made:
                assert self._predict is not None
                ids = self._predict(self._frames.image(place))
                self._made[place] = _png(ids, self._frames.media.classes)
                while len(self._made) > KEPT:
                    self._made.popitem(last=False)
            return self._made[place]

    def _load(self) -> None:
        if not self.is_there:
            raise MissingFileError(
                f"{self.checkpoint}: there is no student yet; train one, or name another results folder with "
                "--results"
            )
        status = self.checkpoint.stat()
        stamp = status.st_mtime_ns, status.st_ino
        if stamp != self._stamp:
            self._predict, self._stamp = _loaded(self.checkpoint, self._frames.media.classes), stamp
            self._made.clear()


def _loaded(checkpoint: Path, classes: Classes) -> Callable[[np.ndarray], np.ndarray]:
    from weclick.manifest.images import shrink_image  # these load torch, which takes seconds
    from weclick.models.inference import fused_for_inference, predict
    from weclick.store.model_file import load_model

    model, card = load_model(checkpoint, classes=classes.names)
    fused: Any = fused_for_inference(model)

    def ids(image: np.ndarray) -> np.ndarray:
        small = shrink_image(image, card.shrink)
        return predict(fused, small, size=image.shape[:2]).numpy()

    return ids


def _png(ids: np.ndarray, classes: Classes) -> bytes:
    from PIL import Image

    if int(ids.max(initial=0)) >= len(classes.palette):
        raise InputError("the student predicts a class that classes.yaml lacks; train it again")
    picture = Image.fromarray(ids)
    picture.putpalette([level for color in classes.palette for level in color])
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=1)
    return file.getvalue()
