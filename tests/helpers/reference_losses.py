"""The losses as in their formulas: loops over pixels and classes, differentiated by torch.

They are slow and obviously right. They share no code with the package.
"""

from math import exp, floor

import numpy as np
import torch
import torch.nn.functional as F


def value_and_gradients(loss, *sources):
    """The loss of the sources, and its gradient with respect to each."""
    sources = [source.detach().clone().requires_grad_() for source in sources]
    value = loss(*sources)
    gradients = torch.autograd.grad(value, sources, allow_unused=True, materialize_grads=True)
    return value.detach(), *gradients


def assert_agree(found, expected, rtol, atol=None):
    """Values and gradients agree. `atol` is a tenth of `rtol` unless it is given."""
    for ours, theirs in zip(found, expected, strict=True):
        ours, theirs = ours.double().cpu(), theirs.double().cpu()
        torch.testing.assert_close(ours, theirs, rtol=rtol, atol=rtol / 10 if atol is None else atol)


def softmax(numbers):
    top = max(number.item() for number in numbers)
    powers = [(number - top).exp() for number in numbers]
    return [power / sum(powers) for power in powers]


def knowledge_distillation(logits, teacher, direction="teacher_student", temperature=1.0, valid=None):
    """t^2 KL(T || S) or t^2 KL(S || T) of softened sides, mean over the valid pixels."""
    batch, classes, height, width = logits.shape
    total, count = 0 * logits.sum(), 0
    for b, y, x in np.ndindex(batch, height, width):
        if valid is not None and not valid[b, 0, y, x]:
            continue
        count += 1
        student = softmax([logits[b, c, y, x] / temperature for c in range(classes)])
        powers = [teacher[b, c, y, x].item() ** (1 / temperature) for c in range(classes)]
        truth = [power / (sum(powers) or 1) for power in powers]
        for p, q in zip(student, truth, strict=True):
            if direction == "student_teacher":
                total = total + p * (p.log() - np.log(max(q, 1e-6)))
            elif q > 0:
                total = total + q * (np.log(q) - p.log())
    return temperature**2 * total / max(count, 1)


def consistency(warped, teacher, mode="exp_neg"):
    """W of a single class."""
    return {"exp_neg": exp(-abs(warped - teacher)), "as_printed": exp(abs(warped - teacher)), "none": 1.0}[
        mode
    ]


def memory_flow_distillation(target, warped, teacher, valid, target_of, mode="exp_neg", reduction="mean"):
    """sum_c W_c (p_c - w_c)^2 of each valid pixel. W is a number, so no gradient flows through it."""
    pixels = {}
    for m, y, x in np.ndindex(len(warped), *warped.shape[2:]):
        if valid[m, 0, y, x]:
            k, pixels[m, y, x] = int(target_of[m]), 0 * target.sum()
            for c in range(target.shape[1]):
                trust = consistency(warped[m, c, y, x].item(), teacher[k, c, y, x].item(), mode)
                pixels[m, y, x] = pixels[m, y, x] + trust * (target[k, c, y, x] - warped[m, c, y, x]) ** 2
    total = sum(pixels.values(), start=0 * target.sum() + 0 * warped.sum())
    return total / max(len(pixels), 1) if reduction == "mean" else total


def partial_cross_entropy(logits, points, classes, input_size, class_weights=None):
    """The weighted mean over clicks of -log softmax of bilinearly read logits."""
    total, weights = 0 * logits.nan_to_num(0, 0, 0).sum(), 0.0
    for (b, *position), kind in zip(points.tolist(), classes.tolist(), strict=True):
        corners = [[], []]
        for axis in (0, 1):
            cells = logits.shape[axis + 2]
            cell = (position[axis] + 0.5) * cells / input_size[axis] - 0.5
            cell = min(max(cell, 0.0), cells - 1.0)
            for at in {floor(cell), min(floor(cell) + 1, cells - 1)}:
                corners[axis].append((at, 1 - abs(cell - at)))
        read = sum(
            wy * wx * logits[int(b), :, y, x] for y, wy in corners[0] for x, wx in corners[1] if wy * wx > 0
        )
        weight = 1.0 if class_weights is None else class_weights[kind].item()
        total = total - weight * softmax(list(read))[kind].log()
        weights += weight
    return total / weights if weights else total


def cross_entropy_of_upsampled(logits, points, classes, input_size, class_weights=None):
    """The same for clicks on whole pixels, by upsampling all logits."""
    full = F.interpolate(logits, size=input_size, mode="bilinear", align_corners=False)
    batch, y, x = points.long().T
    return F.cross_entropy(full[batch, :, y, x], classes, weight=class_weights)
