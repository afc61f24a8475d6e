"""One click per object of a label map (paper, Sec. 4.2)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal

import cc3d
import numpy as np

from weclick.common.errors import InputError
from weclick.manifest.click_table import POINT

FIRST_INSTANCE = 1000
"""Values of an instance map from here on are objects; smaller ones do not tell objects apart (Cityscapes)."""

LONGEST_TABLE = 2**24
"""Instance maps of 16 bits fit into such a table, whatever their values are."""


def clicks_from_labels(
    labels: np.ndarray,
    *,
    instances: np.ndarray | None = None,
    instance_classes: Collection[int] = (),
    min_pixels: int = 512,
    ignore: int = 255,
    seed: int,
    point: Literal["centroid", "random"] = "centroid",
    device: str = "cpu",
) -> np.ndarray:
    """One click per object.

    Objects of `instance_classes` are the instance masks, however small: all pixels of one class with one
    value >= 1000 in `instances`. All other objects are 8-connected components of one class; those under
    `min_pixels` are dropped. So a Cityscapes group (value < 1000) is clicked by components.

    The click is the centroid, rounded half up, if that pixel belongs to the object. Else it is a random
    pixel of the object. The draw depends on `seed`, the class and the object's first pixel, not on other
    objects.

    Args:
        labels: (H, W) uint8 class ids.
        instances: (H, W) int32, or None where no instances are known.
        instance_classes: class ids whose objects `instances` tells apart.
        min_pixels: smallest component that is clicked, px.
        ignore: label value without class.
        seed: >= 0; give every image its own.
        point: "random" draws a random pixel for every object.
        device: "cpu", or "cuda" to find the objects there; the clicks are the same.

    Returns:
        (N,) array of dtype POINT, sorted by (class_id, y, x).

    Raises:
        ValueError: labels are not (H, W) uint8, instances are not of the same size, or the device is unknown
            or missing.
    """
    _check(labels, instances)
    find = _finder(device)
    objects, num_components, statistics = find(*_split(labels, instances, instance_classes, ignore))
    area = statistics["voxel_counts"]
    number = np.arange(len(area))
    wanted = (number > 0) & (area > 0) & ((number > num_components) | (area >= min_pixels))
    return _clicks(labels, objects, np.flatnonzero(wanted), statistics, seed, point)


def scaled_min_pixels(min_pixels: int, min_pixels_at: Sequence[int] | None, size: tuple[int, int]) -> int:
    """A threshold carried over by area to another image size: 512 px at 1024x2048 is 42 px at 360x480.

    Args:
        min_pixels: the threshold at `min_pixels_at`.
        min_pixels_at: (H, W) that it was chosen for; None leaves it as it is.
        size: (H, W) of the images at hand.
    """
    if min_pixels_at is None:
        return min_pixels
    return round(min_pixels * (size[0] * size[1]) / (min_pixels_at[0] * min_pixels_at[1]))


def _check(labels: np.ndarray, instances: np.ndarray | None) -> None:
    if labels.ndim != 2 or labels.dtype != np.uint8:
        raise ValueError(f"labels are {labels.dtype} of shape {labels.shape}, expected uint8 of shape (H, W)")
    if instances is not None and instances.shape != labels.shape:
        raise ValueError(
            f"instances are of shape {instances.shape}, expected that of the labels, {labels.shape}"
        )


def find_objects(
    values: np.ndarray, named: tuple[np.ndarray, np.ndarray] | None
) -> tuple[np.ndarray, int, Mapping[str, Any]]:
    """Number the 8-connected components of equal value, and after them the objects known already.

    Args:
        values: (H, W) uint8 or uint16, 0 for no component.
        named: the mask (H, W) bool of objects known already, and for each of its pixels in raster order the
            object 0..m - 1; `values` is 0 there. Or None.

    Returns:
        Numbers of the objects (H, W) uint32, 0 none, 1..n components, n + 1..n + m known ones; n; and the
        `cc3d.statistics` of every number.
    """
    # One call labels all classes at once.
    objects, num_components = cc3d.connected_components(
        values, connectivity=8, return_N=True, out_dtype=np.uint32
    )
    if named is not None:
        objects[named[0]] = named[1] + num_components + 1
    return objects, num_components, cc3d.statistics(objects, no_slice_conversion=True)


def _finder(device: str) -> Callable[..., tuple[np.ndarray, int, Mapping[str, Any]]]:
    if device == "cpu":
        return find_objects
    if device == "cuda":
        from weclick.clicks import components_cuda

        return components_cuda.find_objects
    raise InputError(f"device is {device!r}, expected cpu or cuda")


def _split(
    labels: np.ndarray, instances: np.ndarray | None, instance_classes: Collection[int], ignore: int
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray] | None]:
    """`values` and `named` of `find_objects`: the classes to split into components, and the instances."""
    # 0 is background, hence the shift by one.
    shifted = labels + np.uint8(1) if ignore == 255 else np.where(labels == ignore, 0, labels + np.uint16(1))
    if instances is None or not len(instance_classes):
        return shifted, None
    told_apart = (instances >= FIRST_INSTANCE) & np.isin(labels, list(instance_classes)) & (labels != ignore)
    pairs = instances[told_apart].astype(np.int64) * 256 + labels[told_apart]
    return np.where(told_apart, 0, shifted), (told_apart, _ranks(pairs))


def _ranks(values: np.ndarray) -> np.ndarray:
    """Of each value its position among the different ones, sorted. A table is faster than sorting."""
    if not values.size or np.ptp(values) >= LONGEST_TABLE:
        return np.unique(values, return_inverse=True)[1]
    places = values - values.min()
    seen = np.zeros(places.max() + 1, bool)
    seen[places] = True
    return (np.cumsum(seen) - 1)[places]


def _clicks(
    labels: np.ndarray,
    objects: np.ndarray,
    numbers: np.ndarray,
    statistics: Mapping[str, Any],
    seed: int,
    point: str,
) -> np.ndarray:
    """The clicks of some objects, by their numbers, sorted: (N,) of dtype POINT."""
    area = statistics["voxel_counts"][numbers]
    y, x = np.floor(statistics["centroids"][numbers] + 0.5).astype(np.int64).reshape(-1, 2).T
    drawn = range(len(numbers)) if point == "random" else np.flatnonzero(objects[y, x] != numbers)
    for i in drawn:
        box = statistics["bounding_boxes"][numbers[i]].tolist()
        y[i], x[i] = _random_pixel(labels, objects, int(numbers[i]), box, int(area[i]), seed)
    points = np.empty(len(numbers), POINT)
    points["y"], points["x"], points["class_id"], points["area"] = y, x, labels[y, x], area
    return points[np.lexsort([points[key] for key in ("area", "x", "y", "class_id")])]


def _random_pixel(
    labels: np.ndarray, objects: np.ndarray, number: int, box: Sequence[int], area: int, seed: int
) -> tuple[int, int]:
    """(y, x) of a random pixel of an object. `box` is (top, bottom, left, right), all inclusive."""
    top, bottom, left, right = box
    own = np.flatnonzero(objects[top : bottom + 1, left : right + 1] == number)

    def pixel(place: int) -> tuple[int, int]:
        down, along = divmod(int(own[place]), right + 1 - left)
        return top + down, left + along

    first = pixel(0)
    return pixel(int(np.random.default_rng((seed, int(labels[first]), *first)).integers(area)))
