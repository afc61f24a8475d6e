"""Soft-label codecs: what each promises, on distributions that are sharp, flat and in between."""

import numpy as np
import pytest
import torch

from weclick.common.errors import InputError
from weclick.common.schemas import load_schema
from weclick.store import SOFT_LABEL_CODECS, decode_soft_labels

K = 19


@pytest.fixture(scope="module")
def probabilities() -> np.ndarray:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1, (K, 20, 30)) * rng.uniform(0, 8, (1, 20, 30))
    return np.exp(logits) / np.exp(logits).sum(0)


def there_and_back(name: str, probabilities: np.ndarray) -> np.ndarray:
    stored = SOFT_LABEL_CODECS[name].encode(probabilities)
    assert stored.dtype == SOFT_LABEL_CODECS[name].dtype
    attributes = {"codec": name, "classes": [str(i) for i in range(len(probabilities))]}
    return decode_soft_labels(torch.from_numpy(stored), attributes).numpy()


@pytest.mark.parametrize(
    ("name", "worst_kl", "agreement"),
    [("float16", 3e-5, 0.999), ("log8", 2e-4, 0.98), ("root8", 5e-5, 0.99), ("root6", 8e-4, 0.97)],
)
def test_distributions_survive(probabilities, name, worst_kl, agreement):
    decoded = there_and_back(name, probabilities)
    kl = (probabilities * np.log(np.maximum(probabilities, 1e-12) / decoded)).sum(0)
    assert kl.mean() < worst_kl
    assert (decoded.argmax(0) == probabilities.argmax(0)).mean() > agreement


@pytest.mark.parametrize("name", SOFT_LABEL_CODECS)
def test_decoded_probabilities_sum_to_one(probabilities, name):
    decoded = there_and_back(name, probabilities)
    assert decoded.dtype == np.float32
    assert decoded.min() >= 0
    np.testing.assert_allclose(decoded.sum(0), 1, rtol=1e-5)


@pytest.mark.parametrize("name", SOFT_LABEL_CODECS)
def test_certain_probabilities_stay_certain(name):
    decoded = there_and_back(name, np.array([1.0, 0, 0, 0, 0, 0]).reshape(6, 1, 1))
    np.testing.assert_allclose(decoded[:, 0, 0], [1, 0, 0, 0, 0, 0], atol=1e-4)


def test_top4_spreads_the_rest_equally():
    given = np.array([0.05, 0.4, 0.03, 0.2, 0.02, 0.2, 0.1])[:, None, None]
    decoded = there_and_back("top4", given)[:, 0, 0]
    np.testing.assert_allclose(decoded[[1, 3, 5, 6]], [0.4, 0.2, 0.2, 0.1], atol=0.003)
    np.testing.assert_allclose(decoded[[0, 2, 4]], 0.1 / 3, atol=0.003)


@pytest.mark.parametrize("classes", [2, 4])
def test_top4_keeps_all_of_few_classes(classes):
    given = np.linspace(1, 2, classes)[:, None, None] / np.linspace(1, 2, classes).sum()
    np.testing.assert_allclose(there_and_back("top4", given), given, atol=0.003)


@pytest.mark.parametrize("name", SOFT_LABEL_CODECS)
def test_windows_of_many_frames_decode_alike(probabilities, name):
    stored = torch.from_numpy(SOFT_LABEL_CODECS[name].encode(probabilities))
    codec = SOFT_LABEL_CODECS[name]
    many = codec.decode(torch.stack([stored, stored.flip(-1)])[..., 3:9, :], K)
    torch.testing.assert_close(many[0], codec.decode(stored, K)[:, 3:9])
    torch.testing.assert_close(many[1], codec.decode(stored, K)[:, 3:9].flip(-1))


@pytest.mark.parametrize("name", SOFT_LABEL_CODECS)
def test_cells_without_a_label_decode_to_zeros_and_no_distribution_looks_like_them(probabilities, name):
    codec = SOFT_LABEL_CODECS[name]
    flat, sure = np.full((254, 1, 3), 1 / 254), np.eye(254)[:, None, :3]
    for known in (probabilities, flat, sure, np.roll(flat, 1) * 0.9):
        assert not codec.is_empty(torch.from_numpy(codec.encode(known))).any()
    gaps = probabilities.copy()
    gaps[:, 3:9, ::2] = 0
    stored = torch.from_numpy(codec.encode(gaps))
    attributes = {"codec": name, "classes": [str(i) for i in range(K)]}
    whole, partial = (decode_soft_labels(stored, attributes | more) for more in ({}, {"partial": True}))
    assert not partial[:, 3:9, ::2].any()
    kept = torch.from_numpy(gaps.any(0))
    assert torch.equal(partial[:, kept], whole[:, kept])
    many = decode_soft_labels(torch.stack([stored, stored]), attributes | {"partial": True})
    assert torch.equal(many[1], partial)


def test_an_unknown_codec_is_told():
    with pytest.raises(ValueError, match=r"codec 'top9', this version knows float16.*run the soft_labels"):
        decode_soft_labels(torch.zeros(1, 1, 1), {"codec": "top9", "classes": ["a"]})


@pytest.mark.parametrize(
    ("codec", "planes", "classes"), [("root6", 5, 4), ("top4", 3, 9), ("top4", 8, 10**6)]
)
def test_planes_that_do_not_belong_to_the_classes_are_refused(codec, planes, classes):
    attributes = {"codec": codec, "classes": ["a"] * classes}
    with pytest.raises(InputError, match=rf"of {classes} classes are stored in {planes} planes, expected"):
        decode_soft_labels(torch.zeros(planes, 2**9, 2**9, dtype=torch.uint8), attributes)


def test_a_class_that_is_none_is_taken_for_the_last():
    stored = torch.full((6, 1, 1), 255, dtype=torch.uint8)
    assert torch.isfinite(decode_soft_labels(stored, {"codec": "top4", "classes": ["a", "b", "c"]})).all()


def test_configuration_and_entries_know_the_same_codecs():
    option = load_schema("config")["properties"]["soft_labels"]["properties"]["codec"]
    assert option["enum"] == load_schema("soft_labels")["properties"]["codec"]["enum"] == [*SOFT_LABEL_CODECS]
