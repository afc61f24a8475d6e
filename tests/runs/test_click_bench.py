"""`weclick click-bench`: what costs what, fair comparisons, and no winner without sense."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from weclick.common.errors import InputError
from weclick.manifest import IGNORE, Classes
from weclick.runs.click_bench.arms import ARMS, BASE, Arm, frame_clicks, frame_order
from weclick.runs.click_bench.features import Features
from weclick.runs.click_bench.oracle import Oracle
from weclick.runs.click_bench.pool import Pool, Shot, read_pool
from weclick.runs.click_bench.result import compare, lines_of, surely_positive
from weclick.runs.click_bench.simulate import Clicked, Curve, Rules, first_clicks, simulate
from weclick.runs.experiment.statistics import paired

H, W = 48, 64
CLICKS = {"min_pixels": 4, "min_pixels_at": None, "point": "centroid", "mix": "human"}
SECONDS = {"minutes": None, "click_first_s": 2.4, "click_next_s": 0.9, "frame_s": 0.0, "mask_object_s": 79.2}
TOLD = {"seconds_of_clicks": {"first_of_class_on_frame": 2.4, "further": 0.9}}
CLASSES = ("ground", "box", "strip")


def shot(clip, number, rng):
    """A ground with a box, a strip, a sliver of a box, and a void border."""
    label = np.zeros((H, W), np.uint8)
    y, x = rng.integers(4, 24), rng.integers(4, 40)
    label[y : y + 14, x : x + 16] = 1
    label[40:42, 6 : 6 + rng.integers(10, 40)] = 2
    label[44, 2:7] = 1
    label[:, 0] = IGNORE
    return Shot(clip, f"{number:05d}", np.zeros((H, W, 3), np.uint8), label)


@pytest.fixture(scope="module")
def pool():
    rng = np.random.default_rng(0)
    shots = [shot(clip, i, rng) for clip in "ab" for i in range(6)]
    return Pool(
        "made", Classes(CLASSES, ((0, 0, 0),) * 3), tuple(shots), tuple(shot("c", i, rng) for i in range(4))
    )


@pytest.fixture(scope="module")
def features(pool):
    """Features that tell the classes, with noise."""
    torch.manual_seed(0)
    shots = (*pool.shots, *pool.held_out)
    maps = []
    for each in shots:
        classes = torch.tensor(np.where(each.label == IGNORE, 0, each.label)[::2, ::2], dtype=torch.long)
        told = torch.nn.functional.one_hot(classes, 6).float().permute(2, 0, 1)
        maps.append(2 * told + 0.8 * torch.randn(6, H // 2, W // 2))
    return Features(maps, [each.size for each in shots])


def oracle(pool, seed=0, shuffled=False):
    return Oracle(pool.shots, (), seed, shuffled=shuffled)


def run_all(pool, features, *, shuffled, seeds=5, budget=36):
    rules = Rules(12, budget, 12, CLICKS, SECONDS)
    curves = {arm.name: [] for arm in ARMS}
    for seed in range(seeds):
        answers = oracle(pool, seed, shuffled)
        begun = first_clicks(pool, answers, rules, seed)
        for arm in ARMS:
            curves[arm.name].append(simulate(arm, pool, features, answers, begun, rules, seed))
    return curves


# ---- clicks and what they cost


def test_the_first_click_of_a_class_on_a_frame_takes_longer_and_void_costs_a_click():
    clicked = Clicked(SECONDS)
    for place, class_id, visit in [
        ((0, 1, 1), 0, 1),
        ((0, 2, 2), 0, 1),
        ((0, 3, 3), 1, 1),
        ((1, 1, 1), 0, 1),
    ]:
        clicked.add(*place, class_id, visit)
    assert clicked.seconds == pytest.approx(2.4 + 0.9 + 2.4 + 2.4)
    clicked.add(0, 4, 4, 0, 2)  # on another visit
    assert clicked.seconds == pytest.approx(10.5)
    copy = clicked.copy()
    copy.add(0, 5, 5, IGNORE, 2)
    assert (copy.count, copy.void, len(copy.points)) == (6, 1, 5)
    assert (clicked.count, clicked.void, len(clicked.asked[0])) == (5, 0, 4)


def test_the_oracle_answers_by_the_mask_and_clicks_objects_as_the_stage_does(pool):
    answers, label = oracle(pool), pool.shots[0].label
    assert answers.answer(0, 10, 0) == IGNORE
    for y, x in [(3, 3), (41, 7), *map(tuple, np.argwhere(label == 1)[:2])]:
        assert answers.answer(0, y, x) == label[y, x]
    centroids = answers.objects(0, point="centroid", min_pixels=4)
    assert sorted(label[y, x] for y, x in centroids) == [0, 1, 1, 2]
    assert answers.objects(0, point="random", min_pixels=4) != centroids
    assert sorted(label[y, x] for y, x in answers.objects(0, point="centroid", min_pixels=100)) == [0, 1]


def test_shuffled_answers_have_the_same_frequencies_and_no_sense(pool):
    def told(answers):
        return np.array([[[answers.answer(f, y, x) for x in range(W)] for y in range(H)] for f in range(12)])

    true, shuffled = told(oracle(pool)), told(oracle(pool, shuffled=True))
    assert (np.bincount(true.ravel()) == np.bincount(shuffled.ravel())).all()
    box = true == 1
    assert (shuffled[box] == 1).mean() == pytest.approx(box.mean(), abs=0.03)


def test_whole_frames_come_evenly_spaced_and_each_object_once(pool):
    rng = np.random.default_rng(0)
    order = list(frame_order(pool.shots, rng))
    assert sorted(order) == list(range(12))
    assert {pool.shots[i].clip for i in order[:2]} == {"a", "b"}
    assert [pool.shots[i].frame for i in order[:2]] == ["00003", "00003"]
    for arm, kinds in ((Arm("all"), [0, 1, 1, 2]), (Arm("large", slivers=False), [0, 1, 2])):
        found = list(frame_clicks(arm, pool.shots, oracle(pool), CLICKS, np.random.default_rng(0)))
        first = [pool.shots[frame].label[y, x] for frame, y, x in found[: len(kinds)]]
        assert (sorted(first), len(found)) == (kinds, 12 * len(kinds))


def test_all_arms_begin_alike_and_spend_as_much(pool, features):
    curves = run_all(pool, features, shuffled=False, seeds=1, budget=40)
    for name, (curve,) in curves.items():
        assert (curve.clicks[0], curve.miou[0]) == (12, curves[BASE][0].miou[0])
        few = name == "even frames, no slivers"  # three objects on each of the nine frames that are left
        assert (curve.ran_out, curve.clicks[-1]) == ((True, 39) if few else (False, 40))
        assert sum(curve.per_class) + curve.void == curve.clicks[-1]
    assert curves["even frames"][0].seconds[-1] == pytest.approx(10 * (3 * 2.4 + 0.9))  # of each frame


@pytest.mark.slow
def test_with_masks_the_arms_learn_and_shuffled_answers_make_no_arm_win(pool, features):
    good, bad = (compare(run_all(pool, features, shuffled=on), CLASSES) for on in (False, True))
    for name in good["arms"]:
        true, shuffled = (each["arms"][name]["over_clicks"][-1]["mean"] for each in (good, bad))
        assert true > shuffled + 0.15, name
    assert not any(any(arm["wins"].values()) for arm in bad["arms"].values())


def test_an_arm_with_few_frames_asks_again_until_its_budget_is_spent(pool, features):
    """At small margins three places a frame are asked at once, so a round on two frames falls short."""
    few = Pool(pool.name, pool.classes, pool.shots[:2], pool.held_out[:1])
    own = Features([*features.maps[:2], features.maps[12]], [*features.sizes[:2], features.sizes[12]])
    answers, rules = oracle(few), Rules(4, 24, 18, CLICKS, SECONDS)
    begun = first_clicks(few, answers, rules, 0)
    (arm,) = (arm for arm in ARMS if arm.name == "margin")
    found = simulate(arm, few, own, answers, begun, rules, 0)
    assert (found.clicks[-1], found.ran_out) == (24, False)
    assert len(found.clicks) > 3  # the start, and more than the two rounds of 18 clicks


# ---- comparisons


def curve(*miou, clicks=(10, 20, 30), seconds=(20, 40, 60), ran_out=False):
    clicks, seconds = list(clicks)[: len(miou)], list(seconds)[: len(miou)]
    return Curve(clicks, seconds, list(miou), 0, [clicks[-1], 0, 0], ran_out)


def test_areas_and_paired_gains():
    lift = [0.05, 0.06, 0.055]
    curves = {
        BASE: [curve(0.2, 0.3, 0.4), curve(0.3, 0.4, 0.5), curve(0.1, 0.2, 0.3)],
        "margin": [curve(0.2 + g, 0.3 + g, 0.4 + g) for g in (0, 0, 0)],
    }
    curves["margin"] = [
        Curve(base.clicks, base.seconds, [m + g for m in base.miou], 0, base.per_class, False)
        for base, g in zip(curves[BASE], lift, strict=True)
    ]
    told = compare(curves, CLASSES)
    assert told["arms"][BASE]["area"]["clicks"]["values"] == pytest.approx([0.3, 0.4, 0.2])
    assert told["arms"]["margin"]["gain"]["clicks"]["values"] == pytest.approx(lift)
    assert told["arms"]["margin"]["wins"] == {"clicks": True, "seconds": True}
    assert not any(told["arms"][BASE]["wins"].values())
    assert [point["clicks"] for point in told["arms"]["margin"]["over_clicks"]] == [10, 20, 30]
    assert any(line.startswith("margin") and "+5.5" in line and "*" in line for line in lines_of(told | TOLD))


def test_seconds_are_compared_up_to_where_the_quickest_arm_ends():
    quick, slow = curve(0.2, 0.3, 0.4, seconds=(20, 30, 40)), curve(0.2, 0.3, 0.4, seconds=(20, 50, 80))
    told = compare({BASE: [quick, quick], "margin": [slow, slow]}, CLASSES)
    assert told["arms"][BASE]["over_seconds"][-1]["seconds"] == 40
    assert told["arms"]["margin"]["gain"]["seconds"]["mean"] < -0.03
    assert told["arms"]["margin"]["gain"]["clicks"]["mean"] == pytest.approx(0)


def test_an_arm_that_ran_out_stays_where_it_is_and_the_table_says_so():
    short = curve(0.2, 0.3, ran_out=True)
    told = compare({BASE: [curve(0.2, 0.3, 0.4)] * 2, "even frames": [short, short]}, CLASSES)
    assert [point["mean"] for point in told["arms"]["even frames"]["over_clicks"]] == pytest.approx(
        [0.2, 0.3, 0.3]
    )
    assert any("even frames: ran out" in line and "20 clicks" in line for line in lines_of(told | TOLD))


def test_who_asks_often_needs_a_surer_answer():
    gain = paired([0.020, 0.030, 0.045, 0.015, 0.050], [0.0] * 5)
    assert gain["low"] > 0
    assert surely_positive(gain, 1)
    assert not surely_positive(gain, 10)
    assert not surely_positive(paired([0.1], [0.0]), 1)


def test_wide_intervals_do_not_run_into_the_column_before():
    values = [curve(0.2, 0.3, 0.4), curve(0.9, 0.1, 0.4)]
    told = compare({BASE: values, "margin": [curve(0.9, 0.9, 0.9), curve(0.1, 0.1, 0.1)]}, CLASSES)
    (line,) = (line for line in lines_of(told | TOLD) if line.startswith("margin"))
    assert re.fullmatch(
        r"margin +[\d.]+ +[\d.]+ +[+−][\d.]+ \(.*?\)\*? +[+−][\d.]+ \(.*?\)\*? +\d+ +[\d.]+", line
    )


# ---- the verb


def test_frames_that_score_are_never_clicked_on(street):
    pool = read_pool(street.config, 3, 2)
    assert (len(pool.shots), len(pool.held_out)) == (3, 2)
    assert not {each.clip for each in pool.shots} & {each.clip for each in pool.held_out}
    assert all(each.image.shape[:2] == each.label.shape for each in (*pool.shots, *pool.held_out))
    config = {**street.config, "data": {**street.config["data"], "val": street.config["data"]["train"]}}
    with pytest.raises(InputError, match="has no mask on its scored"):
        read_pool(config, 3, 2)


def masked_folder(root):
    """Two clips of three frames with masks, and one click on one frame of the first."""
    rng = np.random.default_rng(0)
    lines = [f"  - {{name: {name}, color: [{i}, 0, 0]}}" for i, name in enumerate(CLASSES)]
    for clip in ("a", "val"):
        for i in range(3):
            made = shot(clip, i, rng)
            for kind, pixels in (("frames", made.image), ("labels", made.label)):
                path = root / kind / clip / f"{made.frame}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
    (root / "classes.yaml").write_text("\n".join(["classes:", *lines, ""]))
    (root / "clicks.csv").write_text("clip,frame,y,x,class\na,00001,40,60,ground\n")
    where = {"name": "folder", "root": str(root), "clicks": str(root / "clicks.csv")}
    data = {**where, "val_clips": ["val"], "train": "train", "val": "val"}
    return {"data": data, "clicks": CLICKS}


def test_where_people_clicked_the_pool_is_what_clicks_mix_says(tmp_path):
    config = masked_folder(tmp_path)
    assert [each.frame for each in read_pool(config, 9, 9).shots] == ["00001"]
    masks = {**config, "clicks": {**CLICKS, "mix": "masks"}}
    assert [each.frame for each in read_pool(masks, 9, 9).shots] == ["00000", "00001", "00002"]
    (tmp_path / "labels" / "a" / "00001.png").unlink()
    with pytest.raises(InputError, match=r"--set clicks\.mix=masks"):
        read_pool(config, 9, 9)
    assert len(read_pool(masks, 9, 9).shots) == 2


def test_held_out_masks_that_are_void_are_an_error(tmp_path):
    config = masked_folder(tmp_path)
    for path in (tmp_path / "labels" / "val").iterdir():
        Image.fromarray(np.full((H, W), IGNORE, np.uint8)).save(path)
    with pytest.raises(InputError, match="every pixel of the held-out masks is void"):
        read_pool(config, 9, 9)


def test_the_verb_prints_all_arms_and_writes_figures_and_charts(street, verb, tmp_path, monkeypatch):
    for module in ("features", "bench"):
        monkeypatch.setattr(f"weclick.runs.click_bench.{module}.WARM_STEPS", 2)
    words = ["click-bench", "--config", json.dumps(street.config), "--seeds", 2, "--start", 6, "--clicks", 14]
    out = [
        "--per-round",
        4,
        "--frames",
        4,
        "--score-frames",
        2,
        "--json",
        tmp_path / "b.json",
        "--charts",
        tmp_path,
    ]
    status, said = verb(*words, *out)
    assert status == 0, said.err
    told = json.loads((tmp_path / "b.json").read_text())
    assert list(told["arms"]) == [arm.name for arm in ARMS]
    for arm in ARMS:
        assert any(line.startswith(arm.name) for line in said.out.splitlines())
    assert told["arms"][BASE]["clicks"] == [14, 14]
    assert "2.4 s for the first click of a class" in said.out
    assert told["oracle"] == "masks"
    assert "learned for 2 steps from the first clicks" in told["features"]
    for axis in ("clicks", "seconds"):
        assert (tmp_path / f"b-{axis}.svg").read_text().startswith("<svg")


def test_a_budget_below_the_start_is_an_error(street, verb, tmp_path):
    status, said = verb("click-bench", "--config", json.dumps(street.config), "--start", 30, "--clicks", 30)
    assert status == 1
    assert "give more clicks than the start has" in said.err
