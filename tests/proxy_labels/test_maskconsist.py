"""Labels of two frames, made by hand and against the paper's algorithm in loops."""

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from weclick.common.errors import InputError
from weclick.proxy_labels import maskconsist_labels

SIZE = (8, 24)


def box(y0, x0, y1, x1, size=SIZE):
    mask = np.zeros(size, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def instances(*masks, classes=None, size=SIZE):
    stacked = np.stack(masks) if masks else np.zeros((0, *size), bool)
    return stacked, np.array([1] * len(masks) if classes is None else classes, np.int64)


def pan(dx, size=SIZE):
    """Flow to a frame whose things lie `dx` px further right."""
    flow = np.zeros((2, *size), np.float32)
    flow[0] = dx
    return flow


def labels(predicted_t, labels_t, predicted_u, labels_u, dx=4, **options):
    """Both frames' labels, where everything moves to the right by dx px from t to u."""
    return maskconsist_labels(predicted_t, labels_t, predicted_u, labels_u, pan(dx), pan(-dx), **options)


A, A_LATER = box(2, 2, 6, 6), box(2, 6, 6, 10)
B, B_LATER = box(1, 12, 7, 15), box(1, 16, 7, 19)
NONE = instances()


def test_a_label_of_one_frame_becomes_one_of_the_other():
    (masks_t, _), (masks_u, classes_u) = labels(instances(A), instances(A), instances(A_LATER), NONE)
    np.testing.assert_array_equal(masks_t, [A])
    np.testing.assert_array_equal(masks_u, [A_LATER])
    assert classes_u.tolist() == [1]


def test_frames_swap_what_each_of_them_knows():
    both = instances(A, B, classes=[1, 2]), instances(A_LATER, B_LATER, classes=[1, 2])
    found_t, found_u = labels(both[0], instances(A, classes=[1]), both[1], instances(B_LATER, classes=[2]))
    np.testing.assert_array_equal(found_t[0], [A, B])
    assert found_t[1].tolist() == [1, 2]
    np.testing.assert_array_equal(found_u[0], [B_LATER, A_LATER])  # the given label stands first
    assert found_u[1].tolist() == [2, 1]


def test_turned_around_the_frames_give_the_same():
    arguments = instances(A, B), instances(A), instances(A_LATER, B_LATER), instances(B_LATER)
    found = labels(*arguments)
    turned = labels(*arguments[2:], *arguments[:2], dx=-4)
    for one, other in zip(found, turned[::-1], strict=True):
        np.testing.assert_array_equal(one[0], other[0])


def test_a_prediction_without_a_label_or_without_a_partner_adds_nothing():
    _, found = labels(instances(A, B), instances(A), instances(B_LATER), NONE)
    assert found[0].shape == (0, *SIZE)
    _, found = labels(instances(A, B), instances(A), instances(box(2, 14, 6, 18)), NONE)
    assert found[0].shape == (0, *SIZE)


def test_classes_do_not_mix():
    _, found = labels(instances(A), instances(A), instances(A_LATER, classes=[2]), NONE)
    assert len(found[0]) == 0
    _, found = labels(instances(A, classes=[2]), instances(A), instances(A_LATER, classes=[2]), NONE)
    assert len(found[0]) == 0


def test_a_label_that_is_there_is_kept_once():
    _, (masks, _) = labels(instances(A), instances(A), instances(A_LATER), instances(A_LATER))
    np.testing.assert_array_equal(masks, [A_LATER])


def test_the_new_label_is_the_union_of_both_masks():
    upper, lower = box(2, 6, 5, 10), box(3, 2, 6, 6)
    _, (masks, _) = labels(instances(lower), instances(A), instances(upper), NONE)
    np.testing.assert_array_equal(masks, [A_LATER])


def test_fragments_of_a_label_become_one_prediction():
    """Neither part covers half of the whole on the other frame, but their union does."""
    whole, whole_later = box(1, 2, 7, 12), box(1, 6, 7, 16)
    parts = box(1, 2, 7, 8), box(1, 6, 7, 12)
    _, (masks, _) = labels(instances(*parts), instances(whole), instances(whole_later), NONE)
    np.testing.assert_array_equal(masks, [whole_later])
    halves = box(1, 2, 7, 7), box(1, 7, 7, 12)  # box IoU of a half is .5, which does not exceed .5
    _, (masks, _) = labels(instances(*halves), instances(whole), instances(whole_later), NONE)
    assert len(masks) == 0


def test_masks_have_to_overlap_where_boxes_need_not():
    """A label of the corners of its box. The prediction fills its middle."""
    corners = box(2, 2, 6, 6) & ~box(2, 3, 6, 5)
    middle, later = box(2, 2, 6, 5), box(2, 6, 6, 9)
    arguments = instances(middle), instances(corners), instances(later), NONE
    assert len(labels(*arguments)[1][0]) == 1
    assert len(labels(*arguments, overlap="mask")[1][0]) == 0


def test_a_shared_matching_has_pairs_that_only_one_way_finds():
    """Nothing is believed to come from u to t: its flow leaves the image."""
    arguments = instances(A), NONE, instances(A_LATER), instances(A_LATER)
    away = np.full((2, *SIZE), np.nan, np.float32)
    each, _ = maskconsist_labels(*arguments, away, pan(-4))
    shared, _ = maskconsist_labels(*arguments, away, pan(-4), matching="shared")
    assert len(each[0]) == 0
    np.testing.assert_array_equal(shared[0], [A])


def test_pairs_may_need_a_larger_iou():
    arguments = instances(A), instances(A), instances(box(2, 8, 6, 12)), NONE  # IoU of 8 / 24 on u
    assert len(labels(*arguments, min_iou=0.33)[1][0]) == 1
    assert len(labels(*arguments, min_iou=0.34)[1][0]) == 0


def test_iom_across_classes_and_order():
    inner, inner_later, around = box(2, 2, 6, 6), box(2, 6, 6, 10), box(1, 5, 7, 11)
    arguments = instances(inner), instances(inner), instances(inner_later), instances(around, classes=[2])
    assert len(labels(*arguments)[1][0]) == 2
    np.testing.assert_array_equal(labels(*arguments, iom_across_classes=True)[1][0], [around])
    larger = instances(around, classes=[1])
    arguments = instances(inner), instances(inner), larger, instances(inner_later)
    np.testing.assert_array_equal(labels(*arguments)[1][0], [around])
    np.testing.assert_array_equal(labels(*arguments, iom_order="labels_first")[1][0], [inner_later])


@pytest.mark.parametrize("matching", ["each", "shared"])
@pytest.mark.parametrize("overlap", ["box", "mask"])
def test_empty_frames(overlap, matching):
    full, later = instances(A, B), instances(A_LATER, B_LATER)
    for arguments in [
        (NONE, NONE, NONE, NONE),
        (full, NONE, later, NONE),
        (NONE, full, NONE, later),
        (full, full, NONE, NONE),
    ]:
        found = labels(*arguments, overlap=overlap, matching=matching)
        for given, (masks, classes) in zip(arguments[1::2], found, strict=True):
            np.testing.assert_array_equal(masks, given[0])
            assert masks.dtype == bool
            assert classes.dtype == np.int64
            assert len(classes) == len(masks)


def test_one_pixel():
    dot = instances(np.ones((1, 1), bool))
    still = np.zeros((2, 1, 1), np.float32)
    nothing = instances(size=(1, 1))
    found = maskconsist_labels(dot, dot, dot, nothing, still, still)
    assert [masks.tolist() for masks, _ in found] == [[[[True]]], [[[True]]]]


def test_torch_gives_torch_and_scores_may_come_along():
    def tensors(pair):
        return tuple(map(torch.from_numpy, pair))

    arguments = instances(A), instances(A), instances(A_LATER), NONE
    expected = labels(*arguments)
    given = [tensors(pair) for pair in arguments]
    given[0] = (*given[0], torch.tensor([0.7]))
    found = maskconsist_labels(*given, torch.from_numpy(pan(4)), torch.from_numpy(pan(-4)).requires_grad_())
    for one, other in zip(found, expected, strict=True):
        assert isinstance(one[0], torch.Tensor)
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


def box_iou_in_loops(one, other):
    if not one.any() or not other.any():
        return 0.0
    spans = []
    for mask in (one, other):
        y, x = np.nonzero(mask)
        spans.append((y.min(), y.max() + 1, x.min(), x.max() + 1))
    (a, b, c, d), (e, f, g, h) = spans
    common = max(0, min(b, f) - max(a, e)) * max(0, min(d, h) - max(c, g))
    return common / ((b - a) * (d - c) + (f - e) * (h - g) - common)


def in_loops(predicted, labelled, later, labelled_later, dx):
    """Labels of the later frame, as the paper's algorithm tells; everything moves by dx columns."""

    def expand(frame, known):
        out = [*zip(*frame, strict=True)]
        for mask, number in zip(*known, strict=True):
            near = [p for p, c in zip(*frame, strict=True) if c == number and box_iou_in_loops(p, mask) > 0.5]
            out += [(np.logical_or.reduce(near), number)] if len(near) > 1 else []
        return out

    def shift(mask):
        out = np.zeros_like(mask)
        out[:, dx:] = mask[:, :-dx]
        return out

    ours, theirs = expand(predicted, labelled), expand(later, labelled_later)
    weights = np.zeros((len(ours), len(theirs)))
    for i, (mask, number) in enumerate(ours):
        for j, (other, same) in enumerate(theirs):
            whole = (shift(mask) | other).sum()
            weights[i, j] = (shift(mask) & other).sum() / whole if number == same and whole else 0
    final = [*zip(*labelled_later, strict=True)]
    for i, j in zip(*linear_sum_assignment(weights, maximize=True), strict=True):
        mask, number = ours[i]
        for label, same in zip(*labelled, strict=True):
            if weights[i, j] > 0 and number == same and box_iou_in_loops(mask, label) > 0.5:
                final.append((shift(mask) | theirs[j][0], number))
                break
    kept = []
    for index in sorted(range(len(final)), key=lambda k: -final[k][0].sum()):
        mask, number = final[index]
        others = [final[k][0] for k in kept if final[k][1] == number]
        if all((mask & o).sum() / max(min(mask.sum(), o.sum()), 1) <= 0.5 for o in others):
            kept.append(index)
    return [final[k] for k in sorted(kept)]


def drawn(rng, count, dx=0):
    """Objects at a few places, each seen with other borders."""
    masks = []
    for place in rng.integers(0, 3, count):
        y, x = np.array([1, 2 + 6 * place + dx]) + rng.integers(-1, 2, 2)
        masks.append(box(max(y, 0), x, y + rng.integers(2, 7), x + rng.integers(2, 7)))
    return instances(*masks, classes=rng.integers(1, 3, count))


def test_it_is_what_the_algorithm_gives_in_loops():
    rng, new = np.random.default_rng(0), 0
    for _ in range(12):
        arguments = drawn(rng, 8), drawn(rng, 3), drawn(rng, 8, dx=2), drawn(rng, 2, dx=2)
        _, (masks, classes) = labels(*arguments, dx=2)
        expected = in_loops(*arguments, dx=2)
        assert classes.tolist() == [number for _, number in expected]
        np.testing.assert_array_equal(masks, [mask for mask, _ in expected])
        new += sum(all((mask != label).any() for label in arguments[3][0]) for mask, _ in expected)
    assert new > 5


def test_strange_input_is_told():
    good = instances(A)
    with pytest.raises(InputError, match="predicted_t are a ndarray, expected a pair of masks"):
        labels(good[0], good, good, good)
    with pytest.raises(InputError, match=r"different sizes \(predicted_t 4 x 4, labels_t 8 x 24"):
        labels(instances(size=(4, 4)), good, good, good)
    with pytest.raises(
        InputError, match=r"flow_t_to_u is float32 of shape \(2, 4, 4\), expected .*\(2, 8, 24\)"
    ):
        maskconsist_labels(good, good, good, good, pan(0, (4, 4)), pan(0))
    with pytest.raises(InputError, match="overlap is 'iou', expected box or mask"):
        labels(good, good, good, good, overlap="iou")
    with pytest.raises(InputError, match="min_iou is 1, expected 0 or more"):
        labels(good, good, good, good, min_iou=1)
