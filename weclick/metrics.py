"""Segmentation scores from one confusion matrix over all images, and average precision of classifiers."""

from __future__ import annotations

from typing import Any

import numpy as np


class ConfusionMatrix:
    """Counts pixels by true and by predicted class.

    It follows the rules of the official Cityscapes score. Pixels that the truth ignores do not count. A
    prediction that is no class, on a pixel that has one, is a false negative. A class absent from truth and
    prediction is NaN and left out of means. A class that is predicted but absent from the truth scores 0.

    Args:
        num_classes: K.
        ignore: label of the pixels in the truth that do not count.

    Attributes:
        matrix: (K, K + 1) int64, rows true classes, columns predicted ones; the last column counts
            predictions that are no class.

    Example:
        One of the four pixels is ignored, and the second is wrong.

        >>> scores = ConfusionMatrix(num_classes=2)
        >>> scores.update(pred=[0, 1, 1, 0], truth=[0, 0, 1, 255])
        >>> scores.iou().tolist()  # each class: one pixel is found, of two in the union
        [0.5, 0.5]
        >>> scores.miou(), scores.mean_accuracy(), round(scores.pixel_accuracy(), 4)
        (0.5, 0.75, 0.6667)
    """

    def __init__(self, num_classes: int, ignore: int = 255):
        if num_classes < 1 or 0 <= ignore < num_classes:
            raise ValueError(
                f"num_classes is {num_classes} and ignore {ignore}, expected at least one class, and a label "
                f"to ignore outside 0..num_classes-1"
            )
        self.num_classes = num_classes
        self.ignore = ignore
        self.matrix = np.zeros((num_classes, num_classes + 1), dtype=np.int64)

    def update(self, pred: Any, truth: Any) -> None:
        """Add images.

        Args:
            pred: integer class ids, numpy or torch, any shape.
            truth: likewise, of the same shape; 0..K-1 or `ignore`.

        Raises:
            ValueError: shapes differ, or the truth holds another value.
        """
        pred, truth = _as_numpy(pred), _as_numpy(truth)
        if pred.shape != truth.shape:
            raise ValueError(
                f"pred has shape {pred.shape} and truth {truth.shape}, expected one shape; "
                f"upsample the prediction to the size of the labels"
            )
        counted = truth != self.ignore
        pred, truth = pred[counted].astype(np.int64), truth[counted].astype(np.int64)
        self._check_truth(truth)
        pred[(pred < 0) | (pred >= self.num_classes)] = self.num_classes
        cells = np.bincount(truth * (self.num_classes + 1) + pred, minlength=self.matrix.size)
        self.matrix += cells.reshape(self.matrix.shape)

    def __iadd__(self, other: ConfusionMatrix) -> ConfusionMatrix:
        if (self.num_classes, self.ignore) != (other.num_classes, other.ignore):
            raise ValueError(
                f"cannot add a matrix of {other.num_classes} classes (ignore {other.ignore}) to one of "
                f"{self.num_classes} (ignore {self.ignore})"
            )
        self.matrix += other.matrix
        return self

    def iou(self) -> np.ndarray:
        """(K,) float64, intersection over union of each class; NaN for a class that occurs nowhere."""
        return _ratio(self._hits(), self._true() + self.matrix.sum(0)[:-1] - self._hits())

    def miou(self) -> float:
        """Mean IoU over the classes that occur; NaN if none does."""
        return _mean_of_known(self.iou())

    def mean_accuracy(self) -> float:
        """Share of a class's pixels that was found, mean over the classes of the truth (mPA)."""
        return _mean_of_known(_ratio(self._hits(), self._true()))

    def pixel_accuracy(self) -> float:
        """Share of counted pixels whose class was found; NaN if there are none."""
        return float(_ratio(self._hits().sum(), self.matrix.sum()))

    def _hits(self) -> np.ndarray:
        return self.matrix.diagonal()

    def _true(self) -> np.ndarray:
        return self.matrix.sum(1)

    def _check_truth(self, truth: np.ndarray) -> None:
        if truth.size and (truth.min() < 0 or truth.max() >= self.num_classes):
            wrong = sorted(set(truth[(truth < 0) | (truth >= self.num_classes)].tolist()))[:5]
            raise ValueError(
                f"truth holds labels {wrong}, expected 0..{self.num_classes - 1} or {self.ignore} (ignored); "
                f"map the data set's labels to training classes first"
            )


def average_precision(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """How well scores put the images that show a class before the others.

    The mean, over the images that show it, of the precision among all images with at least their score: the
    area below the precision-recall curve in steps. Images of equal score count together.

    Args:
        scores: (N, K) of N images, higher is more likely.
        truth: (N, K) bool, the classes that the images show.

    Returns:
        (K,) float64, 0..1; NaN for a class that no image shows.

    Example:
        The second of three images is put last, though it shows the class.

        >>> average_precision(np.array([[0.9], [0.1], [0.5]]), np.array([[True], [True], [False]]))
        array([0.83333333])
    """
    found = np.full(truth.shape[1], np.nan)
    for k, (score, shown) in enumerate(zip(scores.T, truth.T, strict=True)):
        if shown.any():
            first = score[None] >= score[shown][:, None]
            found[k] = ((first & shown).sum(1) / first.sum(1)).mean()
    return found


def _as_numpy(labels: Any) -> np.ndarray:
    array = labels.detach().cpu().numpy() if hasattr(labels, "detach") else np.asarray(labels)
    if array.dtype == bool or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(
            f"labels are {array.dtype}, expected integer class ids; take the argmax of logits first"
        )
    return array


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole; NaN where the whole is 0."""
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)


def _mean_of_known(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
