"""Cityscapes' average precision of instances: cases by hand, and the benchmark's rules by plain loops."""

import numpy as np
import pytest

from weclick.common.errors import InputError
from weclick.evaluate import cityscapes_instance_ap
from weclick.evaluate.instances.cityscapes import THINGS, VOID

SIZE = (24, 60)
CAR, PERSON = 26, 24


def square(y, x, height=12, width=12):
    mask = np.zeros(SIZE, bool)
    mask[y : y + height, x : x + width] = True
    return mask


def ids(*drawn, ground=7):
    """(H, W) ids as in instanceIds.png: (mask, id) one over the other, road elsewhere."""
    image = np.full(SIZE, ground, np.uint16)
    for mask, number in drawn:
        image[mask] = number
    return image


def found(*given):
    """(mask, class, score)"""
    masks = np.array([mask for mask, _, _ in given], bool).reshape(-1, *SIZE)
    return masks, np.array([c for _, c, _ in given], int), np.array([s for _, _, s in given], float)


HERE, THERE = square(0, 0), square(12, 30)
TWO_CARS = ids((HERE, 26001), (THERE, 26002))


def ap(image, *given, **options):
    return cityscapes_instance_ap([(image, found(*given))], **options)


def test_all_is_found():
    told = ap(TWO_CARS, (HERE, CAR, 0.9), (THERE, CAR, 0.8))
    assert (told["AP"], told["AP50"]) == (1, 1)
    assert told["per_class"][CAR] == {"AP": 1, "AP50": 1}
    assert np.isnan(told["per_class"][PERSON]["AP"])
    assert set(told["per_class"]) == set(THINGS)


def test_half_is_found():
    """Precision 1 weighs half of the recall .5 to 0, and again half: the curve's two points."""
    assert ap(TWO_CARS, (HERE, CAR, 0.9))["AP"] == pytest.approx(0.5)


def test_a_surer_wrong_one():
    """Points (recall, precision) (1, .5), (0, 0), (0, 1): the first weighs one half."""
    one = ids((HERE, 26001))
    assert ap(one, (THERE, CAR, 0.9), (HERE, CAR, 0.8))["AP"] == pytest.approx(0.25)
    assert ap(one, (THERE, CAR, 0.7), (HERE, CAR, 0.8))["AP"] == pytest.approx(1)


def test_predictions_of_one_score_count_together():
    """Points (1, .5), (0, 1): one half each."""
    assert ap(ids((HERE, 26001)), (THERE, CAR, 0.8), (HERE, CAR, 0.8))["AP"] == pytest.approx(0.75)


def test_the_overlap_has_to_exceed_the_threshold():
    told = ap(ids((square(0, 0, 12, 12), 26001)), (square(0, 0, 12, 24), CAR, 0.9))
    assert (told["AP"], told["AP50"]) == (0, 0)
    told = ap(ids((square(0, 0, 12, 12), 26001)), (square(0, 0, 12, 18), CAR, 0.9))  # 2/3
    assert (told["AP"], told["AP50"]) == (pytest.approx(0.4), 1)


def test_of_two_predictions_the_surer_is_right():
    """Points (1, .5), (1, 1), (0, 1) if the surer one is right; it is, whichever comes first."""
    other = square(0, 0, 12, 11)
    one = ids((HERE, 26001))
    for given in (((HERE, CAR, 0.9), (other, CAR, 0.8)), ((other, CAR, 0.8), (HERE, CAR, 0.9))):
        assert ap(one, *given)["AP50"] == pytest.approx(1)


@pytest.mark.parametrize("excuse", [26, 0, 15, 26007])
def test_groups_void_and_small_instances_excuse(excuse):
    """A surer prediction lies in a group of cars, in void, or in an instance of 96 px."""
    region = square(12, 30, 8, 12)
    image = ids((HERE, 26001), (region, excuse))
    assert ap(image, (region, CAR, 0.9), (HERE, CAR, 0.8))["AP"] == pytest.approx(1)


@pytest.mark.parametrize("no_excuse", [7, 24, 25001])
def test_other_regions_do_not(no_excuse):
    region = square(12, 30, 8, 12)
    image = ids((HERE, 26001), (region, no_excuse))
    assert ap(image, (region, CAR, 0.9), (HERE, CAR, 0.8))["per_class"][CAR]["AP"] == pytest.approx(0.25)


def test_the_share_that_excuses_has_to_exceed_the_overlap():
    """Two thirds of the surer prediction lie in void: that excuses it up to the overlap .65."""
    image = ids((HERE, 26001), (square(12, 30, 8, 12), 0))
    told = ap(image, (square(12, 30, 12, 12), CAR, 0.9), (HERE, CAR, 0.8))
    assert told["AP50"] == pytest.approx(1)
    assert told["AP"] == pytest.approx(0.4 * 1 + 0.6 * 0.25)


def test_empty_masks_and_other_classes_are_left_out():
    told = ap(ids((HERE, 26001)), (HERE & False, CAR, 1), (THERE, 7, 1), (HERE, CAR, 0.5))
    assert told["AP"] == pytest.approx(1)


def test_nothing_found_and_nothing_there():
    assert ap(TWO_CARS)["AP"] == 0
    assert ap(ids((HERE, 26001), (THERE, 0)), (THERE, CAR, 0.9))["AP"] == 0  # all that was found is excused
    assert np.isnan(ap(ids(), (HERE, CAR, 0.9))["AP"])
    assert np.isnan(cityscapes_instance_ap([])["AP"])


def test_images_count_together_and_classes_alike():
    frames = [(TWO_CARS, found((HERE, CAR, 0.9))), (ids((HERE, 24001)), found((HERE, PERSON, 0.1)))]
    told = cityscapes_instance_ap(frames)
    assert told["AP"] == pytest.approx((0.5 + 1) / 2)


def test_other_data_sets_name_their_labels():
    image = ids((HERE, 8001), (square(12, 30, 4, 4), 8002), ground=0)
    given = ((HERE, 8, 0.9), (square(12, 30, 4, 4), 8, 0.8))
    assert ap(image, *given, class_ids=(7, 8), void=(), min_pixels=1)["AP"] == 1
    assert ap(image, *given[:1], class_ids=(7, 8), void=(), min_pixels=1)["AP"] == pytest.approx(0.5)


# --------------------------------------------------------------------------- at random


def plain(frames, class_id, threshold):
    """The benchmark's rules for one class: points of the curve one score after another."""
    entries, truths = [], 0
    for image, (masks, classes, scores) in frames:
        singles = [n for n in np.unique(image) if n // 1000 == class_id and (image == n).sum() >= 100]
        small = [n for n in np.unique(image) if n // 1000 == class_id and (image == n).sum() < 100]
        truths += len(singles)
        hits = {n: [] for n in singles}
        for mask, c, score in zip(masks, classes, scores, strict=True):
            if c != class_id or not mask.any():
                continue
            of = [n for n in singles if (mask & (image == n)).sum() / (mask | (image == n)).sum() > threshold]
            for n in of:
                hits[n].append(score)
            excuse = np.isin(image, VOID) | (image == class_id) | np.isin(image, small)
            if not of and (mask & excuse).sum() / mask.sum() <= threshold:
                entries.append((score, False))
        for of_one in hits.values():
            entries += [(score, i == 0) for i, score in enumerate(sorted(of_one, reverse=True))]
    if not truths:
        return np.nan
    curve = [(0.0, 1.0)]
    for level in sorted({score for score, _ in entries}, reverse=True):
        kept = [right for score, right in entries if score >= level]
        curve.append((sum(kept) / truths, sum(kept) / len(kept)))
    area = 0.0
    for i, (_, precision) in enumerate(curve):
        after = curve[min(i + 1, len(curve) - 1)][0]
        area += precision * (after - curve[max(i - 1, 0)][0]) / 2
    return area


@pytest.mark.parametrize("seed", range(5))
def test_it_agrees_with_plain_loops(seed):
    rng = np.random.default_rng(seed)

    def somewhere():
        return square(rng.integers(0, 12), rng.integers(0, 48), rng.integers(6, 13), rng.integers(8, 13))

    frames = []
    for _ in range(3):
        numbers = rng.choice([0, 15, 24, 26, 24001, 24002, 26001, 26002, 26003], 6)
        drawn = [(somewhere(), number) for number in numbers]
        given = [(somewhere(), rng.choice([CAR, PERSON]), round(float(rng.random()), 1)) for _ in range(3)]
        near = [
            (mask & (rng.random(SIZE) < rng.uniform(0.6, 1)), c, round(float(rng.random()), 1))
            for mask, number in drawn
            if (c := number // 1000 or number) in (CAR, PERSON)
        ]
        frames.append((ids(*drawn), found(*given, *near)))
    told = cityscapes_instance_ap(frames)
    for class_id in (CAR, PERSON):
        curves = [plain(frames, class_id, t) for t in np.linspace(0.5, 0.95, 10)]
        assert told["per_class"][class_id]["AP"] == pytest.approx(np.mean(curves), abs=1e-12, nan_ok=True)
        assert told["per_class"][class_id]["AP50"] == pytest.approx(curves[0], abs=1e-12, nan_ok=True)


@pytest.mark.parametrize(
    ("image", "given", "told"),
    [
        (np.zeros(SIZE), found(), "image 0: ids are .* float64, expected"),
        (np.zeros((3, 4, 5), int), found(), "expected .H, W. of whole numbers"),
        (np.zeros((3, 4), int), found(), "image 0: masks are .* expected .N, 3, 4. bool"),
    ],
)
def test_what_does_not_fit_is_refused(image, given, told):
    with pytest.raises(InputError, match=told):
        cityscapes_instance_ap([(image, given)])
