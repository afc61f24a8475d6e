"""Proxy labels from a network of an earlier round."""

import shutil

import numpy as np
import pytest
import torch

from weclick.common.errors import InputError
from weclick.manifest import IGNORE, Classes
from weclick.manifest.read import read_clip
from weclick.models import build_model
from weclick.models.inference import predict
from weclick.proxy_labels.predictions import Predictions, refined
from weclick.proxy_labels.proxy_labels import make_proxy_labels, read_proxy_labels
from weclick.store import Store
from weclick.store.model_file import model_bytes


@pytest.fixture(scope="module")
def network(street, tmp_path_factory):
    """A network with random weights, and its file."""
    torch.manual_seed(0)
    classes = street.train.classes
    net = build_model("deeplabv3plus", "mobilenetv2_compact", len(classes.names), channels=16)
    path = tmp_path_factory.mktemp("round") / "model.safetensors"
    path.write_bytes(model_bytes(net, classes))
    return net.eval(), path


def test_the_labels_are_the_networks_predictions_on_every_frame(street, network):
    net, path = network
    clip = street.train.clips[0]
    found = Predictions(street.train, path, None, 0.0).make(clip)
    assert [position for position, _ in found] == list(range(len(clip.frames)))
    for (_, classes), image in zip(found, read_clip(street.train, clip), strict=True):
        assert classes.dtype == np.uint8
        # probabilities are interpolated, where predict interpolates logits: they differ along borders
        assert (classes == predict(net, image).numpy()).mean() > 0.95


def test_unsure_pixels_are_ignored(street, network):
    _, path = network
    clip = street.train.clips[0].restrict([0])
    ((_, classes),) = Predictions(street.train, path, None, 1.0).make(clip)
    assert (classes == IGNORE).all()


def test_the_crf_moves_labels_to_the_borders_of_colours():
    probs = torch.full((1, 2, 4, 8), 0.5)
    probs[:, 0, :, :3], probs[:, 1, :, :3] = 0.9, 0.1
    probs[:, 0, :, 5:], probs[:, 1, :, 5:] = 0.1, 0.9
    rgb = torch.zeros(1, 3, 16, 32)
    rgb[..., 16:] = 255
    found = refined(probs, rgb, "sec").argmax(1)[0]
    assert found.tolist() == [[0] * 4 + [1] * 4] * 4


def test_the_key_follows_weights_and_options_and_no_path(street, network, tmp_path):
    _, path = network
    clip = street.train.clips[0]
    copy = shutil.copy(path, tmp_path / "other.safetensors")

    def inputs(where=path, crf="sec", at_least=0.0):
        return Predictions(street.train, where, crf, at_least).key_inputs(clip)

    assert inputs() == inputs(copy)
    assert inputs() != inputs(crf=None) != inputs(crf="irn")
    assert inputs() != inputs(at_least=0.5)
    net = build_model("deeplabv3plus", "mobilenetv2_compact", len(street.train.classes.names), channels=16)
    (tmp_path / "new.safetensors").write_bytes(model_bytes(net, street.train.classes))
    assert inputs() != inputs(tmp_path / "new.safetensors")


def test_they_become_entries_once(street, network, tmp_path):
    _, path = network
    store = Store([tmp_path])
    source = Predictions(street.train, path, "sec", 0.0)
    keys = make_proxy_labels(street.train, source, chunk_px=32, store=store)
    clip = street.train.clips[0]
    entry = store.get("proxy_labels", keys[clip.id])
    assert entry.attributes["source"] == "network"
    assert len(list(read_proxy_labels(entry, clip))) == len(clip.frames)
    again = Predictions(street.train, path, "sec", 0.0)
    assert make_proxy_labels(street.train, again, chunk_px=32, store=store) == keys
    assert again._model is None, "nothing was missing, and yet the network was loaded"


def test_a_network_of_other_classes_is_refused(street, network, tmp_path):
    net = build_model("deeplabv3plus", "mobilenetv2_compact", 2, channels=16)
    path = tmp_path / "two.safetensors"
    path.write_bytes(model_bytes(net, Classes(("ground", "car"), ((0, 0, 0), (9, 9, 9)))))
    with pytest.raises(InputError, match="was trained for the classes ground, car, but the data set has"):
        Predictions(street.train, path, None, 0.0).make(street.train.clips[0])
