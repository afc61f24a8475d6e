"""Checkpoints that are damaged, or that promise more than they hold."""

from __future__ import annotations

import random
import tracemalloc
import zipfile
from contextlib import suppress

import pytest
import torch
from torch import nn

from weclick.common.errors import InputError
from weclick.train.checkpoint import CHECKPOINT, Trained, load_checkpoint, save_checkpoint


def network(optimizer: type = torch.optim.AdamW) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A small network after one step."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    steps = optimizer(model.parameters(), lr=0.1)
    model(torch.ones(1, 3, 5, 5)).sum().backward()
    steps.step()
    return model, steps


def save(path, **changes) -> None:
    model, optimizer = network()
    save_checkpoint(path, model, optimizer, "key", Trained(3, 1.5))
    state = torch.load(path, weights_only=True)
    torch.save({**state, **changes}, path)


def load(path) -> Trained:
    return load_checkpoint(path, *network(), "key")


def refused(path, told: str) -> None:
    with pytest.raises(InputError, match=rf"{path.name}: is no whole state of a training \(.*{told}"):
        load(path)


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.SGD])
def test_a_whole_one_goes_on(tmp_path, optimizer):
    model, steps = network(optimizer)
    save_checkpoint(tmp_path / CHECKPOINT, model, steps, "key", Trained(3, 1.5))
    again, others = network(optimizer)
    assert load_checkpoint(tmp_path / CHECKPOINT, again, others, "key") == Trained(3, 1.5)
    torch.testing.assert_close(others.state_dict()["state"], steps.state_dict()["state"], rtol=0, atol=0)


@pytest.mark.parametrize("seed", range(60))
def test_damage_is_told_or_harmless(tmp_path, seed):
    rng, path = random.Random(seed), tmp_path / CHECKPOINT
    save(path)
    content = bytearray(path.read_bytes())
    end = content.rfind(b"PK\1\2") if rng.random() < 0.5 else 0  # the directory at the end is read first
    for _ in range(rng.choice([1, 3, 20])):
        content[rng.randrange(max(end - 200, 0), len(content))] ^= rng.randrange(1, 256)
    if rng.random() < 0.2:
        del content[rng.randrange(len(content)) :]
    path.write_bytes(content)
    with suppress(InputError):
        assert load(path) == Trained(3, 1.5)


def test_a_compressed_one_is_not_inflated(tmp_path):
    with zipfile.ZipFile(tmp_path / CHECKPOINT, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(2**26))
    refused(tmp_path / CHECKPOINT, "in it is compressed, which torch.save never does")


def test_members_that_overlap_are_not_read(tmp_path):
    path = tmp_path / CHECKPOINT
    save(path)
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        size = max(each.file_size for each in archive.infolist())
    at = content.rfind(size.to_bytes(4, "little") * 2)
    path.write_bytes(content[:at] + (2**30).to_bytes(4, "little") * 2 + content[at + 8 :])
    refused(path, "")


def test_one_that_is_far_too_long_is_not_read(tmp_path):
    save(tmp_path / CHECKPOINT)
    with (tmp_path / CHECKPOINT).open("ab") as file:
        file.truncate(2**36)
    tracemalloc.start()
    refused(tmp_path / CHECKPOINT, "a state of this network has at most")
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"step": "many"}, "its steps are 'many'"),
        ({"step": -1}, "its steps are -1"),
        ({"step": 2**80}, "its steps are"),
        ({"seconds": float("nan")}, "its seconds are nan"),
        ({"best_miou": None}, "its best score is None"),
        ({"model": {"0.weight": torch.zeros(1).expand(2**40)}}, "a tensor in it .* hold"),
        ({"optimizer": {"state": {}, "param_groups": []}}, "other weights"),
        ({"optimizer": 3}, "not subscriptable"),
    ],
)
def test_values_that_no_training_writes_are_told(tmp_path, changes, told):
    save(tmp_path / CHECKPOINT, **changes)
    refused(tmp_path / CHECKPOINT, told)


def test_the_memory_of_another_weight_is_told_before_the_next_step(tmp_path):
    _, steps = network()
    state = steps.state_dict()
    state["state"][0]["exp_avg"] = torch.zeros(2, 2)
    save(tmp_path / CHECKPOINT, optimizer=state)
    refused(tmp_path / CHECKPOINT, "its optimizer remembers exp_avg of another weight")
