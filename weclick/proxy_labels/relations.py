"""A trained network of relations at work: the edges of a frame, and where its cells belong (IRN)."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from weclick.common.content import RUN_AGAIN, check_content
from weclick.models import normalize
from weclick.models.build import RELATION
from weclick.proxy_labels.detecting import STRIDE_PX
from weclick.store import file_digest
from weclick.store.model_file import load_model


class Related(NamedTuple):
    """What the network tells of a frame, on the grid of stride 4.

    Attributes:
        edge: (h, w) probability of an edge, 0..1.
        displacement: (2, h, w), (dy, dx) cells from each cell to its object's centre.
    """

    edge: Tensor
    displacement: Tensor


class Relations:
    """Looks at frames with a network of relations. It is loaded when the first frame comes.

    Args:
        path: the network's model.safetensors.
        classes: names that the network must have been trained for.
        device: that it computes on.

    Attributes:
        sha256: of the file.

    Raises:
        MissingFileError: there is no such file.
    """

    def __init__(self, path: Path, classes: tuple[str, ...], device: str = "cpu"):
        self.sha256 = file_digest(path)
        self._path, self._classes, self._device = path, classes, device
        self._model: nn.Module | None = None

    @torch.inference_mode()
    def of(self, image: np.ndarray) -> Related:
        """Edges and displacements of a frame.

        Edges are the sigmoid of the mean logit of the image and its mirror image, displacements are those of
        the image. Its last column is repeated up to a whole cell, so that both images have the same cells.

        Args:
            image: (H, W, 3) uint8 RGB.

        Raises:
            InputError: the file holds another kind of network or other classes, or it changed meanwhile.
        """
        rgb = torch.tensor(image, device=self._device).permute(2, 0, 1)[None].float()
        whole = pad(rgb, (0, -rgb.shape[-1] % STRIDE_PX, 0, 0), mode="replicate")
        both = normalize(torch.cat([whole, whole.flip(-1)]))
        edges, moved = self._network()(both)
        edge = (edges[0, 0] + edges[1, 0].flip(-1)) / 2
        return Related(edge.float().sigmoid().cpu(), moved[0].float().cpu())

    def _network(self) -> nn.Module:
        if self._model is None:
            self._model = load_model(
                self._path, self._device, classes=self._classes, architectures=[RELATION]
            )[0]
            check_content(self._path, self.sha256, RUN_AGAIN)
        return self._model
