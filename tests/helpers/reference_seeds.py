"""SEC's and DSRG's losses, the dense CRF and the growing of cues as in their formulas, in loops.

They are slow and obviously right. They share no code with the package. What is differentiated runs on scalars
of torch.
"""

import math

import numpy as np

from helpers.reference_losses import softmax

FLOOR = 1e-4


def probabilities(logits, b, y, x, *, sec):
    """p of one pixel: with 1e-4 added and renormalised (SEC), or the softmax cut off at 1e-4 (DSRG)."""
    classes = logits.shape[1]
    plain = softmax([logits[b, c, y, x] for c in range(classes)])
    if not sec:
        return [p.clamp(min=FLOOR) for p in plain]
    raised = [p + FLOOR for p in plain]
    return [p / sum(raised) for p in raised]


def tags(present, b):
    return [c for c in range(present.shape[1]) if c == 0 or present[b, c]]


def cue_costs(logits, cues, b, classes, *, sec):
    """- log p_c at every cue of the classes."""
    height, width = logits.shape[2:]
    costs = []
    for y, x in np.ndindex(height, width):
        p = probabilities(logits, b, y, x, sec=sec)
        costs += [-p[c].log() for c in classes if cues[b, c, y, x]]
    return costs


def seed_loss(logits, cues, present):
    total = 0 * logits.sum()
    for b in range(len(logits)):
        costs = cue_costs(logits, cues, b, tags(present, b), sec=True)
        if costs:
            total = total + sum(costs) / len(costs)
    return total / len(logits)


def balanced_seed_loss(logits, cues, present):
    total = 0 * logits.sum()
    for b in range(len(logits)):
        for classes in ([0], tags(present, b)[1:]):
            costs = cue_costs(logits, cues, b, classes, sec=False)
            total = total + sum(costs) / max(len(costs), 1e-4)
    return total / len(logits)


def pooled(values, decay):
    falling = sorted(values, key=lambda value: -value.item())
    weights = [decay**k for k in range(len(falling))]
    return sum(w * value for w, value in zip(weights, falling, strict=True)) / sum(weights)


def expand_loss(logits, present, foreground=0.996, background=0.999):
    batch, classes, height, width = logits.shape
    total = 0 * logits.sum()
    for b in range(batch):
        pixels = [probabilities(logits, b, y, x, sec=True) for y, x in np.ndindex(height, width)]
        of_class = [[pixel[c] for pixel in pixels] for c in range(classes)]
        there = tags(present, b)[1:]
        absent = [c for c in range(1, classes) if c not in there]
        if there:
            total = total - sum(pooled(of_class[c], foreground).log() for c in there) / len(there)
        if absent:
            total = total - sum((1 - pooled(of_class[c], 0.0)).log() for c in absent) / len(absent)
        total = total - pooled(of_class[0], background).log()
    return total / batch


def constrain_loss(logits, crf):
    batch, classes, height, width = logits.shape
    total = 0 * logits.sum()
    for b, y, x in np.ndindex(batch, height, width):
        p = probabilities(logits, b, y, x, sec=True)
        q = [max(crf[b, c, y, x].item(), FLOOR) for c in range(classes)]
        q = [value / sum(q) for value in q]
        total = total + sum(qc * (math.log(qc) - pc.log()) for pc, qc in zip(p, q, strict=True))
    return total / (batch * height * width)


CRF = {  # w_b, s_xy, s_rgb, w_g, s_g
    "krahenbuhl_code": (10, 60, 20, 3, 3),
    "nips2011_text": (10, 61, 11, 1, 1),
    "sec": (10, 80 / 12, 13, 3, 3 / 12),
    "deeplab_v1": (10, 80, 13, 3, 3),
    "irn": (10, 50, 5, 3, 3),
}


def mean_field(probs, image, preset, iterations=10):
    """numpy, float64: probs (K, h, w), image (h, w, 3)."""
    classes, height, width = probs.shape
    w_b, s_xy, s_rgb, w_g, s_g = CRF[preset]
    cells = list(np.ndindex(height, width))
    kernels = np.zeros((2, len(cells), len(cells)))
    for i, p in enumerate(cells):
        for j, o in enumerate(cells):
            px = (p[0] - o[0]) ** 2 + (p[1] - o[1]) ** 2
            rgb = sum((float(image[p][channel]) - float(image[o][channel])) ** 2 for channel in range(3))
            kernels[0, i, j] = math.exp(-px / (2 * s_g**2))
            kernels[1, i, j] = math.exp(-px / (2 * s_xy**2) - rgb / (2 * s_rgb**2))
    for kernel in kernels:
        scale = 1 / np.sqrt(kernel.sum(1))
        kernel *= scale[:, None] * scale
    log_p = np.log(probs.reshape(classes, -1))
    q = probs.reshape(classes, -1) / probs.reshape(classes, -1).sum(0)
    for _ in range(iterations):
        energy = log_p + w_g * (q @ kernels[0]) + w_b * (q @ kernels[1])
        powers = np.exp(energy - energy.max(0))
        q = powers / powers.sum(0)
    return q.reshape(probs.shape)


def grow_cues(probs, cues, present, foreground=0.85, background=0.99):
    """numpy: DSRG's labels, then a flood from every cue over its 8 neighbours."""
    classes, height, width = probs.shape
    there = [c for c in range(classes) if c == 0 or present[c]]
    label = np.full((height, width), -1)
    for y, x in np.ndindex(height, width):
        for c in range(classes):
            if cues[c, y, x]:
                label[y, x] = c
        best = max(there, key=lambda c: probs[c, y, x])
        if probs[best, y, x] > (foreground if best else background):
            label[y, x] = best
    grown = cues.copy()
    for c in there:
        waiting = [(y, x) for y, x in np.ndindex(height, width) if cues[c, y, x] and label[y, x] == c]
        seen = set(waiting)
        while waiting:
            y, x = waiting.pop()
            if not cues[:, y, x].any():
                grown[c, y, x] = True
            for other in np.ndindex(height, width):
                near = max(abs(other[0] - y), abs(other[1] - x)) == 1
                if near and other not in seen and label[other] == c:
                    seen.add(other)
                    waiting.append(other)
    return grown
