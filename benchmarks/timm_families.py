"""What do backbones of timm's families cost, and which output strides do they offer?

Each is the backbone of a DeepLabV3+ with 128 channels in its head. The table tells parameters, the output
strides that timm offers, and frames a second of the network alone, folded, in float32 and channels last.
Weights are random, since they change no time. Run nothing else.

    python benchmarks/timm_families.py
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import torch
from reads import show
from torch import nn

from weclick.common.machine import machine, versions
from weclick.models import build_model
from weclick.models.inference import fused_for_inference

HERE = Path(__file__).resolve().parent
FAMILIES = {
    "ResNet": ("resnet26", "resnet50"),
    "EfficientNet": ("tf_efficientnet_lite0", "efficientnet_b0"),
    "MobileNetV3": ("mobilenetv3_small_100", "mobilenetv3_large_100"),
    "RegNet": ("regnety_002", "regnety_016"),
    "ConvNeXt": ("convnext_atto", "convnext_tiny"),
    "HRNet": ("hrnet_w18_small",),
}
STRIDES = (8, 16, 32)


def main() -> None:
    options, load = parse_options(), os.getloadavg()[0]
    torch.set_num_threads(options.threads)
    rows = [row(family, name, options) for family, names in FAMILIES.items() for name in names]
    report = {
        "machine": machine() | {"load_before": round(load, 2), "threads_used": options.threads},
        "versions": versions("torch", "torchvision", "timm"),
        "size": list(options.size),
        "networks": rows,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    show(rows, f"DeepLabV3+ on timm's backbones, {options.size[0]}x{options.size[1]} px")
    print(f"written to {options.output}")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--size", type=int, nargs=2, default=(512, 1024), metavar=("H", "W"), help="of a frame, px")
    add("--frames", type=int, default=5, help="timed for each network, after one that is not")
    add("--threads", type=int, default=os.cpu_count() or 1)
    add("--output", type=Path, default=HERE / "results" / "timm_families.json", help="JSON to write")
    return parser.parse_args()


def row(family: str, name: str, options: argparse.Namespace) -> dict[str, Any]:
    """What one backbone costs, at the smallest stride of 16 or 32 that it offers."""
    offered = [stride for stride in STRIDES if built(name, stride)]
    model = built(name, 16 if 16 in offered else max(offered))
    assert model is not None, "which `offered` has seen"
    backbone = sum(parameter.numel() for parameter in model.backbone.parameters())
    return {
        "family": family,
        "backbone": f"timm/{name}",
        "output_strides": "/".join(map(str, offered)),
        "backbone_M": round(backbone / 1e6, 2),
        "parameters_M": round(sum(parameter.numel() for parameter in model.parameters()) / 1e6, 2),
        "logits_stride": int(model.stride),
        "frames_a_second": round(pace(model, options), 2),
    }


def built(name: str, stride: int) -> Any:
    """The network, or None where timm offers no such stride."""
    torch.manual_seed(0)
    try:
        return build_model("deeplabv3plus", f"timm/{name}", 19, channels=128, output_stride=stride)
    except ValueError as error:
        if "output_stride" not in str(error):
            raise
        return None


@torch.inference_mode()
def pace(model: nn.Module, options: argparse.Namespace) -> float:
    """Frames a second."""
    network = fused_for_inference(model).to(memory_format=torch.channels_last)
    image = torch.randn(1, 3, *options.size).to(memory_format=torch.channels_last)
    network(image)
    began = time.perf_counter()
    for _ in range(options.frames):
        network(image)
    return options.frames / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
