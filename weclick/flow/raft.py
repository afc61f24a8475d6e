"""RAFT of torchvision, small or large.

Teed and Deng, "RAFT: Recurrent All-Pairs Field Transforms for Optical Flow", ECCV 2020.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weclick.common.content import content_digest
from weclick.flow.weights import OWN_LICENCE, check_state, read_state

DEFAULT_WEIGHTS = {
    "small": ("Raft_Small_Weights", "C_T_V2", "01064c6d"),
    "large": ("Raft_Large_Weights", "C_T_SKHT_V2", "ff5fadd5"),
}
"""Model -> torchvision's class, the name of its weights, and the start of their SHA-256. A torchvision with
other defaults then gives an error, and not another flow under the same key."""

LICENCE = (
    "torchvision's RAFT weights (BSD-3-Clause), trained on FlyingChairs, FlyingThings3D and, for the large "
    "model, Sintel, KITTI and HD1K, whose owners ask for research use"
)

MULTIPLE_PX = 8
MINIMUM_PX = 128
"""The four levels of the correlation pyramid need 16 cells of 8 px."""


class Raft:
    """RAFT with torchvision's weights or a file of the same layout.

    Memory: correlating all pairs of cells takes (H W / 64)^2 * 5.3 bytes a pair: 5.7 GB at 1024x2048 px.

    Args:
        model: small (1 M parameters) or large (5 M).
        weights: "default" downloads torchvision's; else a .pth or .safetensors state dict of that model.
        updates: recurrent refinements.
        device: where it computes and leaves the flow.

    Raises:
        ValueError: an unknown model, or weights of another layout.
        FileNotFoundError: no such file, or the download failed.
    """

    name = "raft"

    def __init__(
        self, model: str = "small", weights: str = "default", updates: int = 12, *, device: str = "cpu"
    ):
        self.digest = self.describe(model, weights, updates)
        self.licence = LICENCE if weights == "default" else OWN_LICENCE
        self._updates, self._device = updates, torch.device(device)
        self._network = _load_network(model, weights).to(self._device)

    @classmethod
    def describe(cls, model: str = "small", weights: str = "default", updates: int = 12) -> dict[str, Any]:
        """Name, options and the weights' SHA-256 (its first digits for torchvision's own)."""
        if model not in DEFAULT_WEIGHTS:
            raise ValueError(f"flow.options.model is {model!r}, expected small or large")
        if not isinstance(updates, int) or updates < 1:
            raise ValueError(
                f"flow.options.updates is {updates!r}, expected a whole number from 1; 12 is usual"
            )
        digest = DEFAULT_WEIGHTS[model][2] if weights == "default" else content_digest(_weights_file(weights))
        return {"name": cls.name, "model": model, "updates": updates, "weights_sha256": digest}

    @torch.no_grad()
    def estimate(self, target: Tensor, neighbour: Tensor) -> Tensor:
        """The flow target -> neighbour; see `FlowEstimator.estimate`."""
        height, width = target.shape[2:]
        first, second = (self._prepare(images) for images in (target, neighbour))
        flow = last_flow(self._network, first, second, self._updates)
        return flow[:, :, :height, :width].contiguous()

    def _prepare(self, images: Tensor) -> Tensor:
        """uint8 -> -1..1, padded at the right and bottom by the border, up to sides that RAFT takes."""
        bottom, right = (
            -(-max(side, MINIMUM_PX) // MULTIPLE_PX) * MULTIPLE_PX - side for side in images.shape[2:]
        )
        scaled = images.to(self._device).float() / 127.5 - 1
        return F.pad(scaled, (0, right, 0, bottom), mode="replicate")


def last_flow(network: nn.Module, first: Tensor, second: Tensor, updates: int) -> Tensor:
    """The last of the flows that torchvision's RAFT gives, to the same bits.

    Its `forward` brings the flow of every update to the size of the image, for the loss of a training. Here
    that is done once.

    Args:
        network: torchvision's `RAFT`.
        first, second: (B, 3, H, W) float, -1..1, of sides that RAFT takes.
        updates: recurrent refinements.

    Returns:
        (B, 2, H, W) px, first -> second.
    """
    from torchvision.models.optical_flow._utils import make_coords_grid, upsample_flow

    net: Any = network
    net.corr_block.build_pyramid(*net.feature_encoder(torch.cat([first, second])).chunk(2))
    hidden, context = net.context_encoder(first).tensor_split([net.update_block.hidden_state_size], 1)
    hidden, context = hidden.tanh(), context.relu()
    size = context.shape
    begun = make_coords_grid(size[0], size[2], size[3]).to(context.device)
    reached = begun
    for _ in range(updates):
        seen = net.corr_block.index_pyramid(centroids_coords=reached)
        hidden, moved = net.update_block(hidden, context, seen, reached - begun)
        reached = reached + moved
    mask = None if net.mask_predictor is None else net.mask_predictor(hidden)
    return upsample_flow(flow=reached - begun, up_mask=mask)


def _weights_file(weights: str) -> Path:
    path = Path(weights)
    if not path.is_file():
        raise FileNotFoundError(
            f"flow.options.weights is {weights!r}, which is no file; give a .pth or .safetensors state dict, "
            "or 'default' for torchvision's. There are no random weights: their flow means nothing"
        )
    return path


def _load_network(model: str, weights: str) -> nn.Module:
    from torchvision.models import optical_flow

    network = getattr(optical_flow, f"raft_{model}")(weights=None)
    state = _default_state(model) if weights == "default" else read_state(_weights_file(weights))
    check_state(
        state,
        network.state_dict(),
        path=weights,
        network=f"torchvision's raft_{model}",
        hint="is it the other model (flow.options.model), or a file of the original repository, whose names "
        "differ?",
    )
    network.load_state_dict(state)
    return network.eval().requires_grad_(False)


def default_weights(model: str) -> tuple[str, Path]:
    """Where torchvision's weights of a model come from, and the file in which torch keeps them."""
    from torchvision.models import optical_flow

    family, name, _ = DEFAULT_WEIGHTS[model]
    url = getattr(optical_flow, family)[name].url
    return url, Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]


def _default_state(model: str) -> dict[str, Tensor]:
    (url, path), digest = default_weights(model), DEFAULT_WEIGHTS[model][2]
    if digest not in url:
        raise ValueError(
            f"this torchvision has other raft_{model} weights ({url}) than weclick knows ({digest}); "
            "download the ones you want and set flow.options.weights to the file"
        )
    try:
        state = torch.hub.load_state_dict_from_url(url, map_location="cpu", progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise FileNotFoundError(
            f"cannot download {url} ({error}); fetch it on another machine and put it into {path.parent}/, "
            "or set flow.options.weights to the file, or use flow.estimator: dis, which has no weights"
        ) from error
    file = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if file.is_file() and not content_digest(file).startswith(
        digest
    ):  # torch checks it at the download alone
        raise ValueError(
            f"{file}: its SHA-256 is {content_digest(file)[:12]}…, but that of torchvision's weights begins "
            f"with {digest}; it was altered or cut short: delete it, and it is downloaded again"
        )
    return state
