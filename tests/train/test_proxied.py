"""Trainings from proxy labels: which frames they learn from, what a batch holds, what a key says."""

import numpy as np
import pytest
import torch

from weclick.common.config import complete_config
from weclick.common.errors import InputError
from weclick.manifest.read import read_label
from weclick.proxy_labels.proxy_labels import make_proxy_labels, read_proxy_labels
from weclick.runs.wanted import Wanted
from weclick.store import Store
from weclick.train.build import begin
from weclick.train.data.stream import Caches
from weclick.train.devices import make_fabric
from weclick.train.log import read_metrics
from weclick.train.stage import train_recipe


class TrueMasks:
    """Makes labels of the true masks: of some frames of a clip, with a frame's left half unknown."""

    name = "folder"

    def __init__(self, manifest, wanted):
        self.manifest, self.wanted = manifest, wanted

    def key_inputs(self, clip):
        return {"folder": {str(t): "0" * 64 for t in self.wanted(clip)}}

    def make(self, clip):
        return [(t, self.label(clip, t)) for t in self.wanted(clip)]

    def label(self, clip, t):
        label = read_label(self.manifest, clip.frames[t]).copy()
        label[:, : label.shape[1] // 2] = 255
        return label


@pytest.fixture(scope="module")
def store(street, tmp_path_factory):
    return Store([*street.store.roots, tmp_path_factory.mktemp("proxies")])


def labelled(clip):
    return [t for t, frame in enumerate(clip.frames) if frame.label]


@pytest.fixture(scope="module")
def proxies(street, store):
    return make_proxy_labels(street.train, TrueMasks(street.train, labelled), chunk_px=32, store=store)


def make_recipe(street, store, keys, role="student", **changes):
    config = complete_config(
        {**street.config, "supervision": "proxies", "proxy_labels": {"source": "folder"}, **changes}
    )
    if role == "student" and "kd" not in changes:
        config["kd"]["weight"] = config["mfd"]["weight"] = 0.0
    caches = Caches.of(store, {"frames": street.frames, "flow": street.flow, "proxy_labels": keys})
    return Wanted(config).recipe(role, train=street.train, val=street.val, caches=caches)


def test_the_targets_are_the_frames_that_have_a_label(street, store, proxies):
    recipe = make_recipe(street, store, proxies)
    for clip in recipe.manifest.clips:
        entry = store.get("proxy_labels", proxies[clip.id])
        assert clip.targets == tuple(t for t, _ in read_proxy_labels(entry, clip))
        assert clip.targets


def test_a_loss_along_the_flow_keeps_to_the_targets_that_have_a_flow(street, store):
    every = make_proxy_labels(
        street.train, TrueMasks(street.train, lambda clip: labelled(clip)[:1]), chunk_px=32, store=store
    )
    kept = make_recipe(street, store, every, kd={"weight": 1.0}).manifest
    for clip, before in zip(kept.clips, street.train.clips, strict=True):
        assert set(clip.targets) <= set(before.targets)


def test_a_batch_holds_the_labels_through_the_crop(street, store, proxies):
    recipe = make_recipe(street, store, proxies)
    begun = begin(recipe, make_fabric("cpu", "32", 1))
    batch = next(begun.stream.batches(0, 1, torch.device("cpu")))
    known = batch.labels[batch.labels != 255]
    assert batch.labels.shape == (batch.targets, *batch.input_size)
    assert 0 < len(known) < batch.labels.numel(), "the left halves are unknown"
    assert int(known.max()) < street.train.num_classes


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_networks_learn_from_them_by_either_loss(street, store, proxies, tmp_path, role):
    seed = {"weight": 1.0, "grow": True, "balanced": True}
    losses = {"cross_entropy": {"weight": 0.5}, "seed_loss": seed, "constrain_loss": {"weight": 1.0}}
    recipe = make_recipe(street, store, proxies, role, **losses)
    train_recipe(recipe, tmp_path, device="cpu")
    lines = [line["terms"] for line in read_metrics(tmp_path / "metrics.jsonl") if "terms" in line]
    assert {"cross_entropy", "seed", "constrain"} <= set().union(*lines)
    assert "partial_cross_entropy" not in set().union(*lines)
    assert all(np.isfinite(value) and value >= 0 for line in lines for value in line.values())


def test_a_key_holds_the_labels_and_no_clicks(street, store, proxies):
    inputs = make_recipe(street, store, proxies).inputs()
    assert inputs["proxy_labels"] == proxies
    assert "clicks" not in inputs
    other = dict.fromkeys(proxies, "f" * 64)
    with pytest.raises(InputError, match="the store has no proxy_labels entry ffffffffffff"):
        make_recipe(street, store, other)


def test_without_a_label_there_is_nothing_to_learn_from(street, store):
    none = make_proxy_labels(street.train, TrueMasks(street.train, lambda clip: []), chunk_px=32, store=store)
    with pytest.raises(InputError, match=r"none of the \d+ clips .* has a proxy label; make labels"):
        make_recipe(street, store, none)


def test_a_clip_that_the_index_lacks_is_told(street, store, proxies):
    first, *_ = proxies
    some = {clip: key for clip, key in proxies.items() if clip != first}
    with pytest.raises(InputError, match=rf"clip '{first}' is in the manifest, but not in the proxy_labels"):
        make_recipe(street, store, some)


def test_no_index_is_told(street, store):
    with pytest.raises(InputError, match="supervision is 'proxies', but the student has no proxy labels"):
        make_recipe(street, store, {}).check_needs()
