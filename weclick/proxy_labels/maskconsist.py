"""Labels of two frames, completed by what a network predicts alike on both (MaskConsist).

Liu, Ramanathan, Mahajan, Yuille and Yang, CVPR 2021. Labels that no person drew miss objects. A network that
learns from them finds some of these. A prediction that is found again on another frame, where the flow says,
is worth a label there; a mistake seldom is. The steps are functions of their own, so that each can be left
out in an experiment.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from weclick.common.errors import InputError
from weclick.proxy_labels.aggregation import HALF, carry
from weclick.proxy_labels.instance_arrays import Instances, alike, as_flow, as_instances
from weclick.proxy_labels.matching import match, outermost
from weclick.proxy_labels.overlaps import box_iou, mask_iou

Overlap = Literal["box", "mask"]
Matching = Literal["each", "shared"]
IomOrder = Literal["area", "labels_first"]

MOST_APART = 0.5
"""A prediction and a label are of one object if their IoU exceeds this."""

WARPED_AT_ONCE = 16
"""Masks of one warp. It bounds the memory of frames at full size."""


class Completed(NamedTuple):
    """What becomes of the labels of a frame.

    Attributes:
        kept: (K,) int64, ascending: which of the given labels stay.
        new: labels that come after these.
    """

    kept: Tensor
    new: Instances


@torch.no_grad()
def maskconsist_labels(
    predicted_t: Any,
    labels_t: Any,
    predicted_u: Any,
    labels_u: Any,
    flow_t_to_u: Any,
    flow_u_to_t: Any,
    **options: Any,
) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """The labels of two frames t and u, with those that consistent predictions add.

    1. Predictions on a frame that overlap the same label are joined to one more prediction (`expanded`).
    2. Predictions of t are warped to u and matched with those of u, so that the sum of IoU is largest.
    3. A matched pair whose prediction on t belongs to a label of t is a new label of u: the union of both
       masks. So from u to t.
    4. Labels and new labels that lie in a larger one are dropped (`iom_nms`).

    All arrays are numpy, or all torch. Instances are pairs of masks (N, H, W) bool and classes (N,) integers,
    on one grid; N may be 0. Predictions may carry scores as a third item, which are not read.

    Args:
        predicted_t: the network's instances of frame t, e.g. its 100 best.
        labels_t: the labels of frame t.
        predicted_u: as `predicted_t`, of frame u.
        labels_u: as `labels_t`, of frame u.
        flow_t_to_u: (2, H, W) floating point (dx, dy) px, on the grid of t.
        flow_u_to_t: likewise, on the grid of u.
        options: those of `completed_labels`.

    Returns:
        The labels of t and those of u, each a pair of masks (N, H, W) bool and classes (N,) int64: first the
        given labels that are kept, in their order, then new ones.

    Raises:
        InputError: shapes or types do not fit, or a choice is unknown.
    """
    given = {
        "predicted_t": predicted_t,
        "labels_t": labels_t,
        "predicted_u": predicted_u,
        "labels_u": labels_u,
    }
    found = {name: as_instances(value, name) for name, value in given.items()}
    told: list[Any] = [*found.values(), flow_t_to_u, flow_u_to_t]
    completed = completed_labels(*told, **options)

    def result(name: str, one: Completed) -> tuple[Any, Any]:
        labels = found[name].of(one.kept).and_also(one.new)
        return alike(labels.masks, given[name][0]), alike(labels.classes, given[name][0])

    return result("labels_t", completed[0]), result("labels_u", completed[1])


@torch.no_grad()
def completed_labels(
    predicted_t: Instances,
    labels_t: Instances,
    predicted_u: Instances,
    labels_u: Instances,
    flow_t_to_u: Any,
    flow_u_to_t: Any,
    *,
    intra: bool = True,
    inter: bool = True,
    iom: bool = True,
    overlap: Overlap = "box",
    matching: Matching = "each",
    min_iou: float = 0.0,
    iom_across_classes: bool = False,
    iom_order: IomOrder = "area",
) -> tuple[Completed, Completed]:
    """As `maskconsist_labels`, of instances of torch; tells which labels stay.

    Args:
        predicted_t, labels_t, predicted_u, labels_u, flow_t_to_u, flow_u_to_t: as there.
        intra: whether step 1 is taken.
        inter: whether steps 2 and 3 are taken. Without them, the unions of step 1 are new labels of their own
            frame. The paper leaves steps out in its table 5, and does not say what remains.
        iom: whether step 4 is taken.
        overlap: what has to overlap a label in step 3. The paper's algorithm says boxes, its text masks.
        matching: each matches for both frames, since IoU differs with the warp. shared takes the pairs that
            were found on u for t, too.
        min_iou: pairs have a larger IoU than this. The paper has no threshold.
        iom_across_classes: step 4 compares masks of different classes, too.
        iom_order: step 4 begins with the largest masks, or with the labels (the largest first).

    Returns:
        For t and u, which labels stay, and the new ones.

    Raises:
        InputError: as there.
    """
    _check_choices(overlap=(overlap, Overlap), matching=(matching, Matching), iom_order=(iom_order, IomOrder))
    if not 0 <= min_iou < 1:
        raise InputError(f"min_iou is {min_iou}, expected 0 or more, and less than 1")
    _check_one_grid(predicted_t=predicted_t, labels_t=labels_t, predicted_u=predicted_u, labels_u=labels_u)
    to_t = as_flow(flow_t_to_u, labels_t.masks, "flow_t_to_u")
    to_u = as_flow(flow_u_to_t, labels_u.masks, "flow_u_to_t")
    shown_t = expanded(predicted_t, labels_t) if intra else predicted_t
    shown_u = expanded(predicted_u, labels_u) if intra else predicted_u
    if inter:
        from_t, from_u = warped(shown_t, to_u), warped(shown_u, to_t)
        pairs_u = consistent(from_t, shown_u, min_iou=min_iou)
        pairs_t = pairs_u.flip(1) if matching == "shared" else consistent(from_u, shown_t, min_iou=min_iou)
        new_u = transferred(from_t, shown_u, pairs_u, belonging(shown_t, labels_t, overlap))
        new_t = transferred(from_u, shown_t, pairs_t, belonging(shown_u, labels_u, overlap))
    else:
        new_t, new_u = (
            Instances(shown.masks[len(before.masks) :], shown.classes[len(before.masks) :])
            for shown, before in ((shown_t, predicted_t), (shown_u, predicted_u))
        )

    def result(old: Instances, new: Instances) -> Completed:
        count = len(old.masks)
        if not iom:
            return Completed(torch.arange(count, device=old.masks.device), new)
        both = old.and_also(new)
        classes = None if iom_across_classes else both.classes
        kept = outermost(both.masks, classes, first=count if iom_order == "labels_first" else 0)
        return Completed(kept[kept < count], both.of(kept[kept >= count]))

    return result(labels_t, new_t), result(labels_u, new_u)


def expanded(predictions: Instances, labels: Instances) -> Instances:
    """Predictions, and of each label the union of those that overlap it (boxes, same class).

    One alone would only be repeated, so a union is of two or more.
    """
    near = _near(predictions, labels, "box")
    several = (near.sum(0) > 1).nonzero()[:, 0]
    unions = [predictions.masks[near[:, label]].any(0) for label in several.tolist()]
    masks = torch.stack(unions) if unions else predictions.masks[:0]
    return predictions.and_also(Instances(masks, labels.classes[several]))


def warped(instances: Instances, flow: Tensor) -> Instances:
    """Instances of one frame on the grid of another one.

    Args:
        instances: of the frame that the flow points to.
        flow: (2, H, W) px, on the grid of the result. What points outside the image fetches nothing.
    """
    masks = torch.zeros_like(instances.masks)
    for start in range(0, len(masks), WARPED_AT_ONCE):
        some = slice(start, start + WARPED_AT_ONCE)
        masks[some] = carry(instances.masks[some].float(), flow) > HALF
    return Instances(masks, instances.classes)


def consistent(carried: Instances, shown: Instances, *, min_iou: float = 0.0) -> Tensor:
    """(P, 2) int64: pairs of N warped and M own predictions of a frame, of one class and IoU > `min_iou`."""
    iou = mask_iou(carried.masks, shown.masks)
    return match(iou.where(_of_one_class(carried, shown) & (iou > min_iou), 0))


def belonging(predictions: Instances, labels: Instances, overlap: Overlap = "box") -> Tensor:
    """(N,) bool, which predictions overlap a label of their class and frame."""
    return _near(predictions, labels, overlap).any(1)


def transferred(carried: Instances, shown: Instances, pairs: Tensor, worth: Tensor) -> Instances:
    """New labels: the union of both masks of each pair whose warped prediction is worth a label.

    Args:
        carried: N predictions of the other frame, warped to this one.
        shown: M predictions of this frame.
        pairs: (P, 2) of both, see `consistent`.
        worth: (N,) bool, see `belonging`.
    """
    source, target = pairs[worth[pairs[:, 0]]].unbind(1)
    return Instances(carried.masks[source] | shown.masks[target], carried.classes[source])


def _near(predictions: Instances, labels: Instances, overlap: Overlap) -> Tensor:
    """(N, M) bool, which predictions are of the object of which label."""
    iou = box_iou if overlap == "box" else mask_iou
    return _of_one_class(predictions, labels) & (iou(predictions.masks, labels.masks) > MOST_APART)


def _of_one_class(some: Instances, others: Instances) -> Tensor:
    return some.classes[:, None] == others.classes


def _check_choices(**choices: tuple[str, Any]) -> None:
    for name, (found, known) in choices.items():
        if found not in get_args(known):
            raise InputError(f"{name} is {found!r}, expected {' or '.join(get_args(known))}")


def _check_one_grid(**found: Instances) -> None:
    grids = {name: tuple(each.masks.shape[1:]) for name, each in found.items()}
    if len(set(grids.values())) > 1:
        told = ", ".join(f"{name} {height} x {width}" for name, (height, width) in grids.items())
        raise InputError(
            f"masks have different sizes ({told}), expected one; bring all to the grid of the flow"
        )
