"""Six families of timm's backbones, each as teacher and as student, from training to an ONNX file."""

import onnxruntime
import pytest
import torch

from weclick.evaluate.export import export_model
from weclick.proxy_labels.soft_labels import compute_soft_labels
from weclick.store import Store
from weclick.store.model_file import load_model
from weclick.train.data.stream import Caches
from weclick.train.recipe import Recipe
from weclick.train.stage import train_recipe

FAMILIES = {
    "ResNet": "resnet26",
    "EfficientNet": "efficientnet_b0",
    "MobileNetV3": "mobilenetv3_small_100",
    "RegNet": "regnety_002",
    "ConvNeXt": "convnext_atto",
    "HRNet": "hrnet_w18_small",
}
"""The smallest or nearly smallest of each."""

OF_FIXED_SIZE = ("ConvNeXt", "HRNet")
"""Their export needs a size."""


def recipe(street, store, role, backbone, stride, soft_labels=None):
    told = {**street.config[role], "backbone": f"timm/{backbone}", "output_stride": stride}
    config = {**street.config, role: {**told, "pretrained": None, "steps": 2}}
    if role == "teacher":
        config = {name: config[name] for name in ("seed", "teacher", "partial_cross_entropy", "gated_crf")}
    caches = Caches(store, street.frames, street.flow, soft_labels or {})
    return Recipe(role, config, street.train, street.clicks, caches, street.val)


@pytest.mark.slow
@pytest.mark.parametrize(("family", "backbone"), FAMILIES.items(), ids=list(FAMILIES))
def test_a_family_teaches_and_learns(street, tmp_path, family, backbone):
    store = Store([*street.store.roots, tmp_path / "models"])
    stride = 32 if family in ("HRNet",) else 16
    train_recipe(recipe(street, store, "teacher", backbone, stride), tmp_path / "teacher", device="cpu")
    weights = tmp_path / "teacher/model.safetensors"
    labels = compute_soft_labels(street.train, weights, chunk_px=16, store=store, codec="root8")
    student = recipe(street, store, "student", backbone, stride, labels)
    train_recipe(student, tmp_path / "student", device="cpu")
    before, after = (load_model(tmp_path / role / "model.safetensors")[0] for role in ("teacher", "student"))
    assert before.options["backbone"] == after.options["backbone"] == f"timm/{backbone}"
    assert after(torch.zeros(1, 3, 64, 96)).shape == (1, 9, 64 // after.stride, 96 // after.stride)

    size = (64, 96) if family in OF_FIXED_SIZE else None
    (done,) = export_model(
        tmp_path / "student/model.safetensors", tmp_path / "onnx", formats=("onnx",), size=size
    )
    assert done.relative <= 1e-4
    session = onnxruntime.InferenceSession(done.path, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"rgb": torch.rand(1, 3, 64, 96).mul(255).numpy()})
    assert logits.shape == (1, 9, 64, 96)
