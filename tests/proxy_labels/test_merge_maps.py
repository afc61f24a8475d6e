"""Maps of scales and mirror images, merged: the arithmetic, in loops of its own."""

import numpy as np
import pytest
import torch

from weclick.common.errors import InputError
from weclick.proxy_labels import merge_maps

SIZE = 7, 10


def resized(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear, pixel centres at half positions (align_corners False), the edge repeated."""
    for axis, wanted in enumerate(size):
        given = plane.shape[axis]
        place = np.clip((np.arange(wanted) + 0.5) * given / wanted - 0.5, 0, given - 1)
        low = np.floor(place).astype(int)
        high = np.minimum(low + 1, given - 1)
        weight = np.expand_dims(place - low, 1 - axis)
        plane = np.take(plane, low, axis) * (1 - weight) + np.take(plane, high, axis) * weight
    return plane


def by_hand(maps: list[np.ndarray], mode: str) -> np.ndarray:
    found = []
    for k in range(maps[0].shape[1]):
        planes = []
        for each in maps:
            planes.append(resized(each[0, k], SIZE))
            if len(each) == 2:
                planes.append(resized(each[1, k], SIZE)[:, ::-1])
        merged = np.sum(planes, 0) if mode == "sum" else np.max(planes, 0)
        found.append(merged / (merged.max() + 1e-5))
    return np.stack(found)


@pytest.fixture
def maps() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    found = [np.maximum(rng.normal(size=(2, 3, *grid)), 0) for grid in ((2, 3), (4, 5), (1, 2), (9, 12))]
    for each in found:
        each[:, 1] = 0  # nothing of the second class
    return found


@pytest.mark.parametrize("mode", ["sum", "maximum"])
@pytest.mark.parametrize("mirrored", [True, False])
def test_scales_and_mirror_images_are_merged(maps, mode, mirrored):
    given = maps if mirrored else [each[:1] for each in maps]
    merged = merge_maps([torch.from_numpy(each) for each in given], SIZE, mode)
    assert merged.dtype == torch.float64
    np.testing.assert_allclose(merged.numpy(), by_hand(given, mode), atol=1e-12)


def test_an_empty_map_stays_empty(maps):
    for mode in ("sum", "maximum"):
        merged = merge_maps([torch.from_numpy(each).float() for each in maps], SIZE, mode)
        assert merged.isfinite().all()
        assert not merged[1].any()
        torch.testing.assert_close(merged[::2].amax((1, 2)), torch.ones(2), atol=1e-4, rtol=0)


def test_each_class_has_its_own_maximum():
    weak_and_strong = torch.tensor([0.25, 8.0]).view(1, 2, 1, 1).expand(1, 2, 3, 3)
    merged = merge_maps([weak_and_strong], (3, 3), "sum")
    torch.testing.assert_close(merged[:, 0, 0], torch.tensor([0.25 / 0.25001, 8 / 8.00001]))


def test_the_maximum_is_that_of_all_images():
    image, mirror = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.5, 0.0]])
    both = torch.stack([image, mirror])[:, None]
    assert merge_maps([both], (1, 2), "maximum")[0, 0].tolist() == pytest.approx([1, 0.5], abs=1e-4)
    assert merge_maps([both, both], (1, 2), "sum")[0, 0].tolist() == pytest.approx([1, 0.5], abs=1e-4)


@pytest.mark.parametrize(
    ("shapes", "mode", "told"),
    [
        ([], "sum", r"shapes \[\], expected some of \(2, K, h, w\)"),
        ([(3, 2, 4, 4)], "sum", r"\(3, 2, 4, 4\).*expected some of"),
        ([(2, 4, 4)], "sum", "expected some of"),
        ([(2, 3, 4, 4), (2, 1, 2, 2)], "sum", r"as many classes \(K\)"),
        ([(2, 3, 4, 4)], "mean", "merged by 'mean', expected maximum or sum"),
    ],
)
def test_what_cannot_be_merged_is_told(shapes, mode, told):
    with pytest.raises(InputError, match=told):
        merge_maps([torch.zeros(shape) for shape in shapes], SIZE, mode)
