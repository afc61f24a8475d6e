"""Average precision of tracks: by hand, against an evaluator of plain loops, and against COCO's."""

import copy
from functools import cache

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from helpers.video_instances import box, data_set, listed, rle
from weclick.common.errors import InputError
from weclick.evaluate import instance_ap, video_ap

SIZE = (8, 8)
HERE, THERE = (0, 4, 0, 4), (4, 8, 4, 8)


def track(*boxes, **further):
    return listed(box(len(boxes), SIZE, boxes), **further)


def test_the_same_track_is_found():
    truth = data_set([track(HERE, HERE)])
    figures = video_ap(truth, [track(HERE, HERE, score=0.3)])
    for name in ("AP", "AP50", "AP75", "AR1", "AR10", "AR100", "AP_small", "AR_small"):
        assert figures[name] == pytest.approx(1)
    assert np.isnan(
        [figures[f"{kind}_{size}"] for kind in ("AP", "AR") for size in ("medium", "large")]
    ).all()


def test_pixels_are_summed_over_the_frames():
    figures = video_ap(
        data_set([track((0, 4, 0, 4), (0, 3, 0, 2))]), [track((0, 4, 0, 3), (0, 2, 0, 1), score=1)]
    )
    assert figures["AP"] == pytest.approx(0.3)  # (12 + 2) / (16 + 6) lies above the overlaps .5, .55 and .6
    assert figures["AR1"] == pytest.approx(0.3)
    assert (figures["AP50"], figures["AP75"]) == (pytest.approx(1), 0)


def test_a_frame_with_one_mask_adds_to_the_union_alone():
    figures = video_ap(data_set([track(HERE, HERE)]), [track(HERE, None, score=1)])
    assert (figures["AP50"], figures["AP"]) == pytest.approx((1, 0.1))
    figures = video_ap(data_set([track(HERE, None)]), [track(HERE, HERE, score=1)])
    assert (figures["AP50"], figures["AP"]) == pytest.approx((1, 0.1))


def test_a_surer_wrong_track_halves_the_precision():
    truth = data_set([track(HERE, HERE)])
    wrong, right = track(THERE, THERE, score=0.9), track(HERE, HERE, score=0.8)
    assert video_ap(truth, [wrong, right])["AP"] == pytest.approx(0.5)
    assert video_ap(truth, [wrong, right])["AR1"] == 0
    assert video_ap(truth, [{**wrong, "score": 0.7}, right])["AP"] == pytest.approx(1)


def test_a_track_is_found_once():
    truth = data_set([track(HERE, HERE), track(THERE, THERE)])
    twice = [track(HERE, HERE, score=0.9), track(HERE, HERE, score=0.8)]
    figures = video_ap(truth, twice)
    assert figures["AR10"] == 0.5
    assert figures["AP50"] == pytest.approx(51 / 101)  # recalls 0, .01, ..., .5


def test_one_detection_a_video_finds_one_of_two():
    truth = data_set([track(HERE, HERE), track(THERE, THERE)])
    figures = video_ap(truth, [track(HERE, HERE, score=0.9), track(THERE, THERE, score=0.8)])
    assert (figures["AR1"], figures["AR10"]) == (0.5, 1)


def test_a_crowd_excuses_many_and_counts_for_nothing():
    truth = data_set([track(THERE, THERE), track(HERE, HERE, iscrowd=1)])
    found = [track(HERE, HERE, score=0.9), track(HERE, HERE, score=0.8), track(THERE, THERE, score=0.7)]
    assert video_ap(truth, found)["AP"] == pytest.approx(1)
    assert np.isnan(video_ap(data_set([track(HERE, HERE, iscrowd=1)]), found)["AP"])


def test_classes_are_averaged_and_those_without_truth_left_out():
    truth = data_set([track(HERE, HERE), track(THERE, THERE, category=2)], categories=(1, 2, 3))
    found = [track(HERE, HERE, score=0.9), track(HERE, HERE, score=0.9, category=3)]
    assert video_ap(truth, found)["AP"] == pytest.approx(0.5)


def test_nothing_found_and_nothing_there():
    assert video_ap(data_set([track(HERE, HERE)]), [])["AP"] == 0
    assert np.isnan(video_ap(data_set([]), [track(HERE, HERE, score=1)])["AP"])
    assert video_ap(data_set([track(HERE, HERE)]), [track(None, None, score=1)])["AR100"] == 0


def test_annotations_may_tell_their_areas():
    truth = data_set([track(HERE, HERE, areas=[200**2, None]), track(THERE, THERE, areas=[300**2, 300**2])])
    figures = video_ap(truth, [track(HERE, HERE, score=1)])
    assert (figures["AR_medium"], figures["AR_large"]) == (1, 0)
    assert np.isnan(figures["AR_small"])


def test_polygons_and_plain_counts_are_read():
    square = [[0, 0, 4, 0, 4, 4, 0, 4]]
    code = rle(box(1, SIZE, [HERE])[0])
    runs = {"size": [8, 8], "counts": [0, *[4] * 7, 36]}
    truth = data_set([{**track(HERE, HERE), "segmentations": [square, runs]}])
    given = [
        {**track(HERE, HERE, score=1), "segmentations": [code, {**code, "counts": code["counts"].encode()}]}
    ]
    before = copy.deepcopy((truth, given))
    assert video_ap(truth, given)["AP"] == pytest.approx(1)
    assert (truth, given) == before


def test_numbers_of_numpy_are_numbers():
    truth, found = data_set([track(HERE, HERE)]), track(HERE, HERE, score=np.float32(0.5))
    truth["videos"][0]["id"] = np.int64(truth["videos"][0]["id"])
    found["category_id"] = np.int32(found["category_id"])
    assert video_ap(truth, [found])["AP"] == pytest.approx(1)


# --------------------------------------------------------------------------- at random


def blob(rng, size):
    y, x = rng.integers(0, size[0] - 2), rng.integers(0, size[1] - 2)
    return y, y + rng.integers(2, 6), x, x + rng.integers(2, 6)


def random_data(rng, frames, *, crowds=True):
    """Two videos, two classes, many ties: scores of one digit, and predictions near the truth."""
    known, found = [], []
    for video in (3, 7):
        for category in (1, 5):
            for _ in range(rng.integers(0, 4)):
                boxes = [blob(rng, SIZE) if rng.random() < 0.8 else None for _ in range(frames)]
                areas = [float(rng.choice([16, 129**2, 300**2])) if b else None for b in boxes]
                place = {"video": video, "category": category}
                shown = box(frames, SIZE, boxes)
                crowd = int(crowds and rng.random() < 0.2)
                known.append(listed(shown, **place, areas=areas, iscrowd=crowd))
                for _ in range(rng.integers(0, 4)):
                    moved = (
                        shown & (rng.random(shown.shape) < 0.9)
                        if rng.random() < 0.7
                        else np.roll(shown, 3, 1)
                    )
                    found.append(listed(moved, **place, score=round(float(rng.random()), 1)))
    order = rng.permutation(len(found))
    return data_set(known, frames=frames, videos=(7, 3), categories=(5, 1)), [found[i] for i in order]


@cache
def decoded(counts):
    return coco_mask.decode({"size": SIZE, "counts": counts}).astype(bool)


def plain_overlap(one, other):
    inter = union = 0
    for a, b in zip(one["segmentations"], other["segmentations"], strict=True):
        a, b = (decoded(m["counts"]) if m else np.zeros(SIZE, bool) for m in (a, b))
        inter, union = inter + (a & b).sum(), union + (a | b).sum()
    return inter / union if union else 0.0


def mean_area(entry):
    areas = entry.get("areas") or [coco_mask.area(m) if m else 0 for m in entry["segmentations"]]
    seen = [a for a in areas if a]
    return sum(seen) / len(seen) if seen else 0


def plain_ap(truth, found, threshold, low, high, most):
    """(precision at 101 recalls, recall) of each class, by loops over everything."""
    per_class = []
    for category in sorted(c["id"] for c in truth["categories"]):
        told, truths = [], 0
        for video in sorted(v["id"] for v in truth["videos"]):

            def here(e, video=video, category=category):
                return (e["video_id"], e["category_id"]) == (video, category)

            known = [e for e in truth["annotations"] if here(e)]
            ignored = [bool(e["iscrowd"]) or not low <= mean_area(e) <= high for e in known]
            truths += ignored.count(False)
            taken = set()
            for d in sorted(filter(here, found), key=lambda e: -e["score"])[:most]:
                best = None
                for group in (False, True):  # those that count come first
                    for g, e in enumerate(known):
                        free = ignored[g] == group and (g not in taken or e["iscrowd"])
                        iou = plain_overlap(d, e)
                        better = best is None or (best[2] == group and iou >= best[1])
                        if better and free and iou >= threshold:
                            best = (g, iou, group)
                if best:
                    taken.add(best[0])
                outside = not low <= mean_area(d) <= high
                excused = best[2] if best else outside
                if not excused:
                    told.append((d["score"], best is not None))
        if truths:
            told.sort(key=lambda pair: -pair[0])
            right = np.cumsum([hit for _, hit in told])
            curve = [(r / truths, r / (i + 1)) for i, r in enumerate(right)]
            reached = [max([p for r, p in curve if r >= k / 100 - 1e-12], default=0) for k in range(101)]
            per_class.append((reached, right[-1] / truths if told else 0))
    return per_class


@pytest.mark.parametrize("seed", range(8))
def test_it_agrees_with_plain_loops(seed):
    truth, found = random_data(np.random.default_rng(seed), frames=3)
    figures = video_ap(truth, found)
    ranges = {"": (0, 1e10), "_small": (0, 128**2), "_medium": (128**2, 256**2), "_large": (256**2, 1e10)}
    for name, (low, high) in ranges.items():
        curves = [plain_ap(truth, found, t, low, high, 100) for t in np.linspace(0.5, 0.95, 10)]
        if not curves[0]:
            assert np.isnan(figures[f"AP{name}"])
            continue
        precision = [np.mean([p for p, _ in of_threshold]) for of_threshold in curves]
        assert figures[f"AP{name}"] == pytest.approx(np.mean(precision), abs=1e-12)
        recall = np.mean([r for of_threshold in curves for _, r in of_threshold])
        assert figures[f"AR{name}" if name else "AR100"] == pytest.approx(recall, abs=1e-12)
        if not name:
            assert figures["AP50"] == pytest.approx(precision[0], abs=1e-12)
            assert figures["AP75"] == pytest.approx(precision[5], abs=1e-12)
            fewer = [plain_ap(truth, found, t, low, high, 1) for t in np.linspace(0.5, 0.95, 10)]
            assert figures["AR1"] == pytest.approx(np.mean([r for each in fewer for _, r in each]), abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_videos_of_one_frame_are_images(seed):
    truth, found = random_data(np.random.default_rng(100 + seed), frames=1, crowds=False)
    truth["annotations"] = [e for e in truth["annotations"] if e["segmentations"][0]]
    found = [e for e in found if e["segmentations"][0]]

    def as_image(entry):
        keys = {"image_id": entry["video_id"], "segmentation": entry["segmentations"][0]}
        return {**keys, **{k: entry[k] for k in ("category_id", "score") if k in entry}}

    images = {**truth, "images": truth["videos"], "annotations": [as_image(e) for e in truth["annotations"]]}
    ours, coco = video_ap(truth, found), instance_ap(images, [as_image(e) for e in found])
    for name in ("AP", "AP50", "AP75", "AR1", "AR10", "AR100"):
        assert ours[name] == pytest.approx(coco[name], abs=1e-12, nan_ok=True)


# --------------------------------------------------------------------------- what is refused

GOOD = track(HERE, HERE, score=0.5)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"video_id": 2}, "predictions, entry 0: video_id is 2, which the ground truth does not have"),
        ({"category_id": 9}, "category_id is 9, expected one of 1"),
        ({"score": float("nan")}, "score is nan, expected a finite number"),
        ({"score": 10**400}, "expected a finite number"),
        ({"score": None}, "score is None"),
        ({"segmentations": GOOD["segmentations"][:1]}, "segmentations are 1 masks, expected .* 2 frames"),
        ({"segmentations": "none"}, "segmentations are 'none'"),
        ({"video_id": True}, "video_id is True, expected a whole number"),
    ],
)
def test_a_wrong_prediction_is_refused(change, told):
    with pytest.raises(InputError, match=told):
        video_ap(data_set([track(HERE, HERE)]), [{**GOOD, **change}])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"videos": []}, "videos is empty, expected a list of objects"),
        ({"categories": None}, "categories is missing"),
        ({"annotations": 3}, "annotations is 3, expected"),
        ({"videos": [{"id": 1, "height": 8, "width": 0, "length": 2}]}, "videos, entry 0: width is 0"),
        ({"videos": [{"id": 1, "height": 8, "width": 8}]}, "length is None"),
        ({"videos": [{"id": 1, "height": 10**5, "width": 10**5, "length": 1}]}, "at most 134217728 pixels"),
        ({"categories": [{"id": 1}, {"id": 1}]}, "categories, entry 1: id 1 is there twice"),
        ({"annotations": [{**track(HERE, HERE), "iscrowd": 2}]}, "iscrowd is 2, expected 0 or 1"),
        ({"annotations": [{**track(HERE, HERE), "areas": [1]}]}, "areas are .* for each frame"),
    ],
)
def test_a_wrong_ground_truth_is_refused(change, told):
    with pytest.raises(InputError, match=told):
        video_ap({**data_set([track(HERE, HERE)]), **change}, [GOOD])


def test_a_list_is_no_ground_truth():
    with pytest.raises(InputError, match="the ground truth is a list, expected an object with videos"):
        video_ap([], [])


JUNK = (
    None,
    True,
    -1,
    0,
    2,
    10**30,
    0.5,
    float("inf"),
    "x",
    b"x",
    [],
    [[]],
    {},
    [None, None],
    {"size": [8, 8]},
)


def places(value, path=()):
    """Every place in a structure, as the keys that lead there."""
    if path:
        yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield from places(part, (*path, key))


def test_whatever_is_damaged_is_scored_or_refused():
    square = [[0, 0, 4, 0, 4, 4, 0, 4]]
    known = [
        {
            **track(HERE, THERE, areas=[9.0, None], iscrowd=0),
            "segmentations": [square, GOOD["segmentations"][1]],
        }
    ]
    whole = {"truth": data_set(known), "found": [GOOD]}
    rng, outcomes = np.random.default_rng(0), set()
    for path in places(whole):
        for junk in rng.permutation(len(JUNK))[:6]:
            damaged = copy.deepcopy(whole)
            part = damaged
            for key in path[:-1]:
                part = part[key]
            part[path[-1]] = JUNK[junk]
            try:
                video_ap(damaged["truth"], damaged["found"])
                outcomes.add("scored")
            except InputError:
                outcomes.add("refused")
    assert outcomes == {"scored", "refused"}
