"""Pretrained weights of a backbone: torchvision's own by name, or a file of its key names."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError

import safetensors.torch
import torch
import torchvision.models as tv
from safetensors import SafetensorError
from torch import Tensor, nn

CLASSIFIER = ("fc.", "classifier.")
"""Prefixes of the keys of torchvision's ImageNet classifiers, which a backbone does not have."""


def load_backbone_weights(backbone: nn.Module, name: str, source: str | Path) -> None:
    """Load ImageNet weights into a backbone.

    Args:
        backbone: with torchvision's key names.
        name: e.g. resnet18; for "imagenet" it names torchvision's weights, which are downloaded once.
        source: "imagenet", or the path of a .safetensors or .pth file. Classifier keys are passed over, and
            so are deeper blocks than the backbone has.

    Raises:
        ValueError: an unreadable file; or missing keys or wrong shapes, the first few of them named.
    """
    state = _download(name) if source == "imagenet" else _read(Path(source))
    own = backbone.state_dict()
    given = {key: value for key, value in state.items() if not key.startswith(CLASSIFIER)}
    missing = [key for key in own if key not in given and not key.endswith("num_batches_tracked")]
    wrong = [key for key in own if key in given and given[key].shape != own[key].shape]
    deeper = [key for key in given if key not in own]
    if deeper and not missing and not name.endswith("_compact"):
        raise ValueError(
            f"{source}: holds {len(deeper)} keys beyond backbone {name}, first {deeper[0]}; it is of a "
            "deeper network: give the weights of this one"
        )
    if missing or wrong:
        first = (missing or wrong)[0]
        raise ValueError(
            f"{source}: does not fit backbone {name}: {len(missing)} keys missing, {len(wrong)} of another "
            f"shape, first {first} {tuple(own[first].shape)}; expected torchvision's key names for this "
            f"backbone, but the file begins with {', '.join(list(given)[:3])}"
        )
    backbone.load_state_dict({key: given[key] for key in own if key in given}, strict=False)


def _download(name: str) -> dict[str, Tensor]:
    model = "mobilenet_v2" if name.startswith("mobilenetv2") else name
    return tv.get_model_weights(model).DEFAULT.get_state_dict(progress=True, check_hash=True)


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, RuntimeError, EOFError, UnpicklingError) as error:
        raise ValueError(
            f"{path}: cannot be read as .safetensors or .pth weights ({error}); give an existing file, or "
            "imagenet for torchvision's own"
        ) from error
    return state.get("state_dict", state)
