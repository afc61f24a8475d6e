"""A small untrained network of class maps, in the file that trainings write."""

import torch

from weclick.models import build_model
from weclick.store.model_file import model_bytes


def write_network(path, classes):
    """A DeepLabv3+ of random weights, the same every time; returns the path."""
    torch.manual_seed(1)
    model = build_model("deeplabv3plus", "mobilenetv2_compact", len(classes.names), channels=16)
    path.write_bytes(model_bytes(model, classes))
    return path
