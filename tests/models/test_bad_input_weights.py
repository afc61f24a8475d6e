"""Weights that are not there, not whole, of another network, or that want to run code."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import resource
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torchvision.models import resnet18

from weclick import cli
from weclick.common.errors import InputError
from weclick.flow.weights import read_state
from weclick.models import build_model
from weclick.store import file_digest
from weclick.store.model_file import load_model, model_bytes
from weclick.train.checkpoint import Trained, load_checkpoint, save_checkpoint


def compact(**options):
    return build_model("deeplabv3plus", "mobilenetv2_compact", 3, channels=8, **options)


@pytest.fixture(scope="module")
def backbone():
    return compact().backbone.state_dict()


class Trap:
    """A pickle that makes a folder when it is loaded."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("archive", [True, False])
def test_a_pickle_that_wants_to_run_code_is_refused_and_does_not_run(tmp_path, archive):
    path, sprung = tmp_path / "weights.pth", tmp_path / "sprung"
    if archive:
        torch.save({"features.0.0.weight": Trap(sprung)}, path)
    else:
        path.write_bytes(pickle.dumps({"features.0.0.weight": Trap(sprung)}))
    with pytest.raises(ValueError, match=r"weights\.pth: .*wants to run code, which was refused and not run"):
        compact(pretrained=path)
    with pytest.raises(InputError, match=r"weights\.pth: cannot be read as a \.safetensors checkpoint"):
        load_model(path)
    assert not sprung.exists()
    torch.load(path, weights_only=False) if archive else pickle.loads(path.read_bytes())
    assert sprung.exists(), "the trap works where nobody refuses it"


def test_a_name_that_promises_a_digest_has_to_keep_it(tmp_path, backbone):
    save_file(backbone, tmp_path / "net.safetensors")
    digest = file_digest(tmp_path / "net.safetensors")
    if digest[:8].isdecimal():
        pytest.skip("the digest looks like a date")
    good = (tmp_path / "net.safetensors").rename(tmp_path / f"net-{digest[:8]}.safetensors")
    compact(pretrained=good)
    bad = good.rename(tmp_path / "net-deadbeef.safetensors")
    with pytest.raises(
        ValueError, match=rf"begins with {digest[:8]}, but its name promises deadbeef; .*again"
    ):
        compact(pretrained=bad)
    compact(pretrained=bad.rename(tmp_path / "net-20260131.safetensors"))


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04" + bytes(100), bytes(range(256)) * 40])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_what_are_no_weights(tmp_path, content, suffix):
    path = tmp_path / f"weights.{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"weights\.{suffix}: cannot be read as"):
        compact(pretrained=path)


def test_a_list_is_no_state_dict(tmp_path):
    torch.save([torch.zeros(2)], tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=r"holds a list, expected a state_dict of tensors by name"):
        compact(pretrained=tmp_path / "weights.pth")


def test_missing_weights_are_told_by_the_verb(street, tmp_path, monkeypatch, capsys):
    from weclick.clicks import write_clicks
    from weclick.manifest import write_manifest
    from weclick.store import write_index

    write_manifest(street.train, tmp_path / "m.json")
    write_clicks(street.clicks, tmp_path / "c.h5")
    write_index(tmp_path / "f.json", "frames", street.frames)
    teacher = {**street.config["teacher"], "pretrained": str(tmp_path / "none.pth")}
    config = {**street.config, "teacher": teacher, "cache": {"roots": [str(street.store.roots[0])]}}
    words = ["--manifest", "m.json", "--clicks", "c.h5", "--frames", "f.json", "--val-manifest", "m.json"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        sys, "argv", ["weclick", "teacher", "--config", json.dumps(config), "--output", "out", *words]
    )
    with pytest.raises(SystemExit, match="1"):
        cli.main()
    said = capsys.readouterr().err
    assert "none.pth: there is no such file; correct the path where it is named" in said
    assert "Traceback" not in said


@pytest.fixture
def checkpoint(street, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(model_bytes(compact(), street.train.classes))
    return path


def altered(path, card=None, drop=None):
    with safe_open(str(path), "pt") as file:
        metadata = file.metadata()
    state = load_file(path)
    for key in drop or ():
        del state[key]
    save_file(state, path, metadata={"weclick": card if card is not None else metadata["weclick"]})


def test_a_checkpoint_of_another_network_names_the_first_keys(checkpoint):
    first = next(iter(load_file(checkpoint)))
    altered(checkpoint, drop=[first])
    with pytest.raises(InputError, match=rf"1 keys differ, first {first} missing; train the network again"):
        load_model(checkpoint)


@pytest.mark.parametrize("card", ["{", "[]", "{}", '{"options": {"architecture": "x"}, "classes": {}}'])
def test_a_damaged_model_card(checkpoint, card):
    altered(checkpoint, card=card)
    with pytest.raises(InputError, match=r"model\.safetensors: its model card describes no network"):
        load_model(checkpoint)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_refused(checkpoint, value):
    state = load_file(checkpoint)
    first, second, *_ = (name for name, tensor in state.items() if tensor.is_floating_point())
    state[first].view(-1)[-1] = value
    state[second].view(-1)[0] = -value
    with safe_open(str(checkpoint), "pt") as file:
        save_file(state, checkpoint, metadata=file.metadata())
    told = (
        rf"model\.safetensors: 2 weights in 2 of {len(state)} keys are NaN or infinite, first 1 of "
        rf"{state[first].numel()} in {first}; expected finite numbers: its training has diverged"
    )
    with pytest.raises(InputError, match=told):
        load_model(checkpoint)


def test_large_weights_are_finite_though_their_sum_is_not(checkpoint):
    state = load_file(checkpoint)
    key = next(name for name, tensor in state.items() if tensor.is_floating_point() and tensor.numel() > 1)
    state[key].fill_(3e38)
    with safe_open(str(checkpoint), "pt") as file:
        save_file(state, checkpoint, metadata=file.metadata())
    network, _ = load_model(checkpoint)
    assert torch.equal(network.state_dict()[key], state[key])


def test_a_truncated_checkpoint(checkpoint):
    checkpoint.write_bytes(checkpoint.read_bytes()[:-10])
    with pytest.raises(
        InputError,
        match=r"cannot be read as a \.safetensors checkpoint .* If this was one, .* run that stage",
    ):
        load_model(checkpoint)
    told = "there is no such checkpoint; the teacher, student and detector stages make"
    with pytest.raises(InputError, match=told):
        load_model(checkpoint.with_name("none"))


def test_of_a_run_without_a_student_the_error_names_its_detector(checkpoint, tmp_path):
    made = tmp_path / "results/detector/model.safetensors"
    made.parent.mkdir(parents=True)
    made.write_bytes(checkpoint.read_bytes())
    told = f"there is no such checkpoint; its run has made {re.escape(str(made))}: name that one"
    with pytest.raises(InputError, match=told):
        load_model(tmp_path / "results/student/model.safetensors")


@pytest.mark.parametrize(
    "options",
    [{"channels": 20_000}, {"num_classes": 2**40}, {"channels": 2**62}, {"pretrained": "/etc/passwd"}],
)
def test_a_model_card_that_promises_a_huge_network_takes_no_memory_and_reads_nothing(checkpoint, options):
    with safe_open(str(checkpoint), "pt") as file:
        card = json.loads(file.metadata()["weclick"])
    altered(checkpoint, card=json.dumps({**card, "options": {**card["options"], **options}}))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=r"of another network than its model card|describes no network"):
        load_model(checkpoint)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 2**10  # KiB


def saved(content) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def flipped(content: bytes, state: dict) -> bytes:
    """One bit of the weights another, as a failing disk has it."""
    damaged, weights = bytearray(content), state["model"]["weight"].numpy().tobytes()
    damaged[content.index(weights) + 1] ^= 0x40
    return bytes(damaged)


BROKEN = {
    "empty": lambda good, state: b"",
    "cut": lambda good, state: good[: len(good) // 2],
    "cut at its end": lambda good, state: good[:-10],
    "text": lambda good, state: b"no state",
    "a bit": flipped,
    "a list": lambda good, state: saved([state]),
    "no keys": lambda good, state: saved({}),
    "no optimizer": lambda good, state: saved({**state, "optimizer": 3}),
    "other shapes": lambda good, state: saved({**state, "model": {"weight": torch.zeros(2)}}),
    "no number": lambda good, state: saved({**state, "step": "x"}),
    "code": lambda good, state: saved({**state, "model": Trap("sprung")}),
    "code alone": lambda good, state: pickle.dumps(Trap("sprung")),
}


@pytest.mark.parametrize("damage", BROKEN)
def test_a_damaged_state_of_a_training_is_told_and_nothing_in_it_is_run(tmp_path, monkeypatch, damage):
    monkeypatch.chdir(tmp_path)
    path, model = tmp_path / "checkpoint.pt", nn.Linear(40, 30)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    save_checkpoint(path, model, optimizer, "r", Trained(step=3))
    assert load_checkpoint(path, model, optimizer, "r").step == 3
    path.write_bytes(BROKEN[damage](path.read_bytes(), torch.load(path, weights_only=True)))
    told = r"checkpoint\.pt: is no whole state of a training \(.*; restore the file, or delete .*begins anew"
    with pytest.raises(InputError, match=told) as refused:
        load_checkpoint(path, model, optimizer, "r")
    assert "weights_only" not in str(refused.value), "torch's own text advises to run the file"
    assert not (tmp_path / "sprung").exists()


def test_flow_weights_that_want_to_run_code_are_refused_without_torchs_advice(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flow.pth").write_bytes(saved({"a": Trap("sprung")}))
    with pytest.raises(ValueError, match="wants to run code, which was refused and not run") as refused:
        read_state(tmp_path / "flow.pth")
    assert "weights_only" not in str(refused.value)
    assert not (tmp_path / "sprung").exists()


def test_cached_imagenet_weights_are_compared_with_their_name(tmp_path, monkeypatch):
    """Torch compares them at the download alone."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached = tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    cached.parent.mkdir(parents=True)
    torch.save(resnet18(weights=None).state_dict(), cached)
    with pytest.raises(ValueError, match=r"f37072fd\.pth: its SHA-256 begins with .* promises f37072fd"):
        build_model("deeplabv3plus", "resnet18", 3, pretrained="imagenet")
