"""The losses of tags and heatmaps as in their formulas: loops in numpy, float64.

They are slow and obviously right. They share no code with the package.
"""

import numpy as np


def softmax(numbers):
    powers = np.exp(numbers - numbers.max())
    return powers / powers.sum()


def probabilities(logits):
    return np.apply_along_axis(softmax, 1, logits)


def shown_cells(valid, b, shape):
    return [at for at in np.ndindex(*shape) if valid is None or valid[b, 0][at]]


def pooled(values, pooling, r):
    if pooling == "max":
        return max(values)
    if pooling == "mean":
        return sum(values) / len(values)
    return np.log(sum(np.exp(r * value) for value in values) / len(values)) / r


def tag_loss(logits, present, pooling="lse", r=5.0, valid=None):
    """- mean_{k in T} log P_k - mean_{k not in T} log(1 - P_k), mean over images."""
    probs, images = probabilities(logits), []
    for b, tags in enumerate(present):
        cells, there, absent = shown_cells(valid, b, logits.shape[2:]), [], []
        for k in range(logits.shape[1]):
            if cells:
                share = pooled([probs[b, k][at] for at in cells], pooling, r)
                share = min(max(share, 1e-6), 1 - 1e-6)
                (there if tags[k] else absent).append(-np.log(share if tags[k] else 1 - share))
        images.append(sum(sum(part) / len(part) for part in (there, absent) if part))
    return sum(images) / len(images)


def heatmap_loss(logits, masks, present, divisor="tags", valid=None):
    """- 1/|T| sum_{k in T} 1/|B_k| sum_{B_k} log S_k, mean over images."""
    probs, images = probabilities(logits), []
    for b, tags in enumerate(present):
        cells, terms = shown_cells(valid, b, logits.shape[2:]), []
        for k in np.flatnonzero(tags):
            of_class = [at for at in cells if masks[b, k][at]]
            if of_class:
                terms.append(-sum(np.log(probs[b, k][at]) for at in of_class) / len(of_class))
        count = tags.sum() if divisor == "tags" else len(terms)
        images.append(sum(terms) / count if terms else 0.0)
    return sum(images) / len(images)
