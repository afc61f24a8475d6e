"""Weights that are larger inside than outside, or than the network that they name."""

from __future__ import annotations

import json
import resource
import zipfile

import pytest
import torch

from weclick.common.errors import InputError
from weclick.flow.weights import read_state
from weclick.manifest import Classes
from weclick.models import build_model
from weclick.models.archive import check_archive
from weclick.models.weights import load_backbone_weights
from weclick.store.model_file import load_model, model_bytes

CLASSES = Classes(("a", "b"), ((0, 0, 0), (9, 9, 9)))


def test_what_torch_writes_is_let_through_in_both_formats(tmp_path):
    for name, new in (("new.pth", True), ("old.pth", False)):
        torch.save({"a": torch.ones(3)}, tmp_path / name, _use_new_zipfile_serialization=new)
        check_archive(tmp_path / name)
        assert read_state(tmp_path / name)["a"].sum() == 3


def test_compressed_weights_are_refused_by_every_reader(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"a": torch.zeros(2**20)}, tmp_path / "plain.pth")
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for member in plain.infolist():
            packed.writestr(member.filename, plain.read(member))
    for read in (read_state, lambda path: load_backbone_weights(torch.nn.Linear(1, 1), "resnet18", path)):
        with pytest.raises(ValueError, match=r"weights\.pth: cannot be read .*is compressed, which torch"):
            read(path)


def test_a_long_description_of_tensors_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "weights.pth", "w") as archive:
        archive.writestr("archive/data.pkl", bytes(2**23))
    with pytest.raises(ValueError, match=r"archive/data\.pkl in it has 8388608 bytes, at most"):
        check_archive(tmp_path / "weights.pth")


def safetensors(header: dict, length: int) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(length)


@pytest.mark.parametrize(
    ("size", "told"), [(2**31, "its weights are of another network .*missing"), (2**36, "at most 4294967296")]
)
def test_a_network_that_promises_gigabytes_takes_no_memory(tmp_path, size, told):
    options = build_model("deeplabv3plus", "mobilenetv2_compact", 2, channels=8).options
    card = {
        "options": options,
        "classes": {"names": ["a", "b"], "palette": [[0, 0, 0], [9, 9, 9]]}
        | {"instance_classes": [], "label_map": None},
    }
    header = {
        "__metadata__": {"weclick": json.dumps(card)},
        "huge": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]},
    }
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors(header, 0))
    with path.open("ab") as file:
        file.truncate(path.stat().st_size + size)  # a sparse file
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=told):
        load_model(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 2**10  # KiB


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"options": {"architecture": "deeplabv3plus"}}, "'backbone' is a required property"),
        ({"options": 3}, "3 is not of type 'object'"),
        ({"classes": {"names": "a"}}, "is a required property"),
        ({"shrink": 0}, "shrink 0 .* is out of range"),
        ({"shrink": 1.5}, r"shrink is 1\.5"),
        ({"channels": 10**9}, "channels 1000000000 is out of range"),
    ],
)
def test_cards_that_no_training_writes_are_told(tmp_path, change, told):
    model = build_model("deeplabv3plus", "mobilenetv2_compact", 2, channels=8)
    raw = model_bytes(model, CLASSES)
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    card = json.loads(header["__metadata__"]["weclick"])
    if "channels" in change:
        change = {"options": {**card["options"], **change}}
    header["__metadata__"]["weclick"] = json.dumps({**card, **change})
    (tmp_path / "model.safetensors").write_bytes(safetensors(header, 0) + raw[8 + length :])
    with pytest.raises(InputError, match=rf"its model card describes no network .*{told}"):
        load_model(tmp_path / "model.safetensors")
