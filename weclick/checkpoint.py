"""A trained network as one safetensors file that explains itself."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from weclick.manifest import Classes
from weclick.models import build_model


@dataclass(frozen=True)
class ModelCard:
    """What a checkpoint says of itself: enough to build the network and name its classes."""

    options: dict[str, Any]
    classes: Classes


def model_bytes(model: nn.Module, classes: Classes) -> bytes:
    """A network's weights and its card as the content of a .safetensors file."""
    card = {"options": model.options, "classes": asdict(classes)}
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    return save(state, metadata={"weclick": json.dumps(card, sort_keys=True)})


def load_model(path: Path, device: str = "cpu") -> tuple[nn.Module, ModelCard]:
    """Build the network that a checkpoint describes, load its weights, and put it in eval mode.

    Nothing in the file is executed or unpickled.

    Raises:
        ValueError: the file is no weclick checkpoint.
    """
    try:
        with safe_open(str(path), framework="pt", device=device) as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path}: cannot be read as a .safetensors checkpoint ({error})") from error
    if "weclick" not in metadata:
        raise ValueError(
            f"{path}: is a safetensors file without weclick's model card; give the model.safetensors of a "
            "trained teacher or student, e.g. results/student/model.safetensors"
        )
    card = json.loads(metadata["weclick"])
    model = build_model(**card["options"])
    model.load_state_dict(state)
    classes = card["classes"]
    return model.to(device).eval(), ModelCard(
        options=card["options"],
        classes=Classes(
            names=tuple(classes["names"]),
            palette=tuple(tuple(color) for color in classes["palette"]),
            instance_classes=tuple(classes["instance_classes"]),
            label_map=classes["label_map"],
        ),
    )
