"""The estimator `flownet2`: FlowNet2 or one of its parts, on images of any size."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weclick.common.content import content_digest
from weclick.flow.flownet2.networks import MULTIPLE_PX, VARIANTS
from weclick.flow.weights import check_state, read_state

PRECISIONS = {"fp32": None, "tf32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Name -> type of the convolutions under autocast. Flows and warps are always in float32."""

LICENCE = (
    "FlowNet2's published weights are for research use only (their authors' terms, whatever the licence of "
    "the code); so is what is made with them. Weights of your own training have your own terms"
)


class FlowNet2Estimator:
    """FlowNet2 with weights from a file, in the layout of NVIDIA's PyTorch port.

    It pads the images at the right and at the bottom to multiples of 64 by repeating the border, and crops
    the flow. One pair takes some 0.3 GB at 512x1024 px and 1.1 GB at 1024x2048, beside 0.65 GB of weights.

    Args:
        variant: FlowNet2, or a part of it: FlowNet2C, FlowNet2S, FlowNet2SD, FlowNet2CS, FlowNet2CSS.
        weights: path of a .pth, .pth.tar or .safetensors state dict; there is no download.
        sha256: the beginning of the file's SHA-256; None accepts any.
        precision: fp32 (exact), tf32 (on a GPU, the matrix units' 10-bit mantissa), bf16 or fp16.
        compile: use torch.compile; the first pair of every size then takes minutes.
        device: that computes and holds the flow.

    Raises:
        ValueError: the variant or precision is unknown, or the weights do not fit.
        FileNotFoundError: no such file.
    """

    name = "flownet2"
    licence = LICENCE

    def __init__(
        self,
        variant: str = "FlowNet2",
        weights: str = "",
        sha256: str | None = None,
        precision: str = "fp32",
        compile: bool = False,
        *,
        device: str = "cpu",
    ):
        self.digest = self.describe(variant, weights, sha256, precision, compile)
        self._device, self._precision = torch.device(device), precision
        self._network = load_network(variant, Path(weights)).to(self._device)
        self._shares = variant not in ("FlowNet2S", "FlowNet2SD")
        if compile:
            self._network.compile()

    @classmethod
    def describe(
        cls,
        variant: str = "FlowNet2",
        weights: str = "",
        sha256: str | None = None,
        precision: str = "fp32",
        compile: bool = False,
    ) -> dict[str, Any]:
        """Name, variant, precision and the weights' SHA-256; compiling changes the last bits only."""
        if variant not in VARIANTS:
            raise ValueError(f"flow.options.variant is {variant!r}, expected one of {', '.join(VARIANTS)}")
        if precision not in PRECISIONS:
            raise ValueError(
                f"flow.options.precision is {precision!r}, expected one of {', '.join(PRECISIONS)}"
            )
        if not Path(weights).is_file():
            raise FileNotFoundError(
                f"flow.options.weights is {weights!r}, which is no file; flownet2 has no weights of its own: "
                f"fetch {variant}_checkpoint.pth.tar by the link in the README of NVIDIA/flownet2-pytorch "
                "(research use only) and give its path, or set flow.estimator: dis, which needs none"
            )
        found = content_digest(weights)
        if sha256 and not found.startswith(sha256.lower()):
            raise ValueError(
                f"{weights}: its SHA-256 is {found}, but flow.options.sha256 is {sha256}; it was altered or "
                "cut short: fetch it again, or correct flow.options.sha256"
            )
        return {"name": cls.name, "variant": variant, "precision": precision, "weights_sha256": found}

    @torch.no_grad()
    def estimate(self, target: Tensor, neighbour: Tensor) -> Tensor:
        """The flow target -> neighbour; see `FlowEstimator.estimate`."""
        height, width = target.shape[2:]
        with self._computing():
            flow = self._network(self._prepare(target, neighbour))
        return flow[:, :, :height, :width].contiguous()

    @torch.no_grad()
    def estimate_both(self, target: Tensor, neighbour: Tensor) -> tuple[Tensor, Tensor]:
        """The flows target -> neighbour and back; FlowNetC's features of a frame serve both."""
        if not self._shares:
            return self.estimate(target, neighbour), self.estimate(neighbour, target)
        height, width = target.shape[2:]
        with self._computing():
            flows = self._network(self._prepare(target, neighbour), both=True)
        there, back = flows[:, :, :height, :width].contiguous().chunk(2)
        return there, back

    def _prepare(self, target: Tensor, neighbour: Tensor) -> Tensor:
        """uint8, twice -> (B, 3, 2, H', W') float32 with sides that are multiples of 64."""
        bottom, right = (-side % MULTIPLE_PX for side in target.shape[2:])
        frames = [each.to(self._device).float() for each in (target, neighbour)]
        return torch.stack([F.pad(each, (0, right, 0, bottom), mode="replicate") for each in frames], 2)

    def _computing(self) -> AbstractContextManager[Any]:
        """Autocast for half types; for fp32 without TensorFloat32, which torch uses by default."""
        stack = ExitStack()
        half = PRECISIONS[self._precision]
        if half is not None:
            stack.enter_context(torch.autocast(self._device.type, half))
        elif self._device.type == "cuda":
            stack.enter_context(
                torch.backends.cudnn.flags(enabled=True, allow_tf32=self._precision == "tf32")
            )
        return stack


def load_network(variant: str, path: Path) -> nn.Module:
    """A variant with the weights of a file, ready to estimate. It makes no random weights first.

    Raises:
        ValueError: the file cannot be read, or its keys are not those of the variant.
    """
    with torch.device("meta"):
        network = VARIANTS[variant]()
    state = read_state(path)
    check_state(
        state,
        network.state_dict(),
        path=path,
        network=variant,
        hint="is it another variant (flow.options.variant), or a file of another port, whose names differ?",
    )
    # One tensor at a time, so that memory holds the weights only once.
    ours = {
        key: state.pop(key).to(torch.float32, copy=True, memory_format=_layout(value))
        for key, value in network.state_dict().items()
    }
    network.load_state_dict(ours, assign=True)
    return network.eval().requires_grad_(False)


def _layout(value: Tensor) -> torch.memory_format:
    return torch.channels_last if value.ndim == 4 else torch.contiguous_format
