"""The list of clicks to look at again: short, honest, and fuller of wrong clicks than the rest."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from helpers.places import ROOT, SHARED
from helpers.planted import as_people, with_wrong
from weclick.clicks import generate_clicks
from weclick.clicks.checks import Click
from weclick.clicks.features import point_features
from weclick.clicks.out_of_fold import FOLDS, LEAST, folds_of, out_of_fold
from weclick.clicks.placed import PlacedClick
from weclick.clicks.review import ONE_IN, click_features, review
from weclick.common.config import load_config
from weclick.datasets import open_dataset
from weclick.datasets.toy.draw import generate
from weclick.manifest import Classes, Clip, Frame, Manifest
from weclick.manifest.people import Origin
from weclick.runs.doctor.people import review_lines
from weclick.runs.doctor.sized import sized_manifest

REST = Origin(), "", False, False
"""Of a click: who, when, whether it is held out, and whether it is a scribble."""


def clicks_of(config, *, every=1):
    dataset = open_dataset(config["data"])
    clips = [clip.restrict(clip.targets[::every]) for clip in dataset.clips(config["data"]["train"])]
    manifest = sized_manifest(dataset, config["data"]["train"], clips)
    return as_people(manifest, generate_clicks(manifest, options=config["clicks"], seed=0))


@pytest.fixture(scope="module")
def street_clicks(tmp_path_factory, tiny_config):
    root = tmp_path_factory.mktemp("toy") / "street"
    change = [f"data.root={root}", "data.target_every=2", "clicks.min_pixels=8", "clicks.min_pixels_at=null"]
    config = load_config(ROOT / "config" / "demo.yaml", change)
    config["data"]["toy"] |= {"height": 64, "width": 128, "frames": 3, "clips": {"train": 6, "val": 1}}
    generate(root, **config["data"]["toy"])
    return clicks_of(config)


def listed_wrong(clicks, features, *, likely):
    """The share of the list that is wrong, over two draws."""
    shares = []
    for seed in range(2):
        planted, wrong = with_wrong(clicks, 0.05, seed, likely=likely)
        found = review(planted, features)
        assert 0 < len(found.suspects) <= len(clicks) // ONE_IN
        shares.append(np.mean([suspect.click.click in wrong for suspect in found.suspects]))
    return np.mean(shares)


@pytest.mark.slow
def test_the_list_holds_many_of_the_wrong_clicks(street_clicks):
    features = click_features(street_clicks)
    assert listed_wrong(street_clicks, features, likely=False) > 5 * 0.05
    assert listed_wrong(street_clicks, features, likely=True) > 4 * 0.05


@pytest.mark.slow
@pytest.mark.parametrize(("name", "is_blind"), [("davis13", True), ("camvid", False)])
def test_on_real_frames_it_knows_what_it_is_worth(name, is_blind):
    root = SHARED / "data" / name
    if not root.is_dir():
        pytest.skip(f"{root} is not here")
    config = load_config(ROOT / "config" / f"{name}.yaml", [f"data.root={root}"])
    if config["data"]["classes"]:
        config["data"]["classes"] = str(ROOT / config["data"]["classes"])
    clicks = clicks_of(config, every=8 if name == "camvid" else 1)
    features = click_features(clicks)
    assert review(clicks, features).is_blind == is_blind
    if not is_blind:
        assert listed_wrong(clicks, features, likely=False) > 3 * 0.05


def test_the_list_is_of_clicks_that_look_like_another_class(street_clicks):
    planted, _ = with_wrong(street_clicks, 0.05, 0, likely=False)
    found = review(planted)
    assert found.clicks == len(planted)
    assert 0.3 < found.agreed < 1
    assert all(
        suspect.near_px or suspect.seen != suspect.click.click.class_name for suspect in found.suspects
    )
    assert any("looks like" in suspect.why for suspect in found.suspects)


def test_where_colours_tell_nothing_no_click_is_judged(street_clicks):
    noise = np.random.default_rng(0).normal(size=(len(street_clicks), 28))
    found = review(street_clicks, noise)
    assert found.is_blind
    assert all(suspect.near_px for suspect in found.suspects)


def test_no_click_is_judged_by_what_learnt_from_it():
    """The classes that people told in a fold do not move what is predicted there."""
    rng = np.random.default_rng(0)
    told = np.arange(100) % 2
    features, folds = told[:, None] + rng.normal(size=(100, 3)), np.arange(100) // 20
    before = out_of_fold(features, told, folds, 2)
    own = folds == 3
    after = out_of_fold(features, np.where(own, 1 - told, told), folds, 2)
    assert np.array_equal(before[own], after[own])
    assert not np.allclose(before[~own], after[~own])


def test_of_a_class_that_is_hardly_known_nothing_is_said():
    told = np.array([0] * 40 + [1] * 40 + [2] * LEAST)
    folds = np.arange(len(told)) % 4
    seen = out_of_fold(np.random.default_rng(0).normal(size=(len(told), 2)), told, folds, 3)
    assert np.isnan(seen[told == 2]).all()
    assert np.allclose(seen[told != 2].sum(1), 1)
    assert np.isnan(out_of_fold(np.zeros((9, 2)), np.zeros(9, int), np.arange(9) % 3, 2)).all()


def test_whole_clips_are_held_out_or_stretches_of_time():
    clips = [f"clip {i % 7}" for i in range(70)]
    folds = folds_of(clips, range(70))
    assert sorted(set(folds)) == list(range(FOLDS))
    assert all(len({fold for c, fold in zip(clips, folds, strict=True) if c == clip}) == 1 for clip in clips)
    frames = [3 * (i // 2) for i in range(20)]
    assert folds_of(["one"] * 20, frames).tolist() == [i // 4 for i in range(20)]


def test_stretches_of_time_do_not_depend_on_how_frames_are_split():
    """A run's manifests hold the frames around targets, and apart from them those that are scored."""
    whole = Clip("one", tuple(Frame(f"{i:05d}", i, f"{i:05d}.png") for i in range(0, 180, 3)))
    manifest = SimpleNamespace(classes=Classes(("a", "b"), ((0, 0, 0), (9, 9, 9))))
    held_out = range(1, 60, 5)
    parts = whole.restrict(i for i in range(60) if i not in held_out), whole.restrict(held_out)
    rng, clicks, apart = np.random.default_rng(0), [], []
    for i in range(60):
        frame, is_held_out = whole.frames[i], i in held_out
        part = parts[is_held_out]
        click = Click("one", frame.name, 5, i, "ab"[i % 2])
        rest = (32, 64), i % 2, Origin("human"), "", is_held_out, False
        clicks.append(PlacedClick(click, manifest, whole, i, *rest))
        apart.append(PlacedClick(click, manifest, part, part.frames.index(frame), *rest))
    features = rng.normal(size=(60, 2)) + np.arange(60)[:, None] % 2
    told, again = review(clicks, features), review(apart, features)
    assert (again.found, again.agreed) == (told.found, told.agreed)
    assert [each.click.click for each in again.suspects] == [each.click.click for each in told.suspects]


def test_near_doubles_get_a_fifth_of_the_list(street_clicks):
    one = street_clicks[0]
    near = replace(one, click=one.click._replace(x=(one.click.x + 10) % 100))
    found = review([*street_clicks, near])
    doubles = [suspect for suspect in found.suspects if suspect.near_px]
    assert 1 <= len(doubles) <= -(-(len(found.suspects)) // 5)
    assert all(6 < suspect.near_px <= 24 for suspect in doubles)
    assert "px from an earlier click of its class" in doubles[0].why


def test_where_a_trial_lists_nothing_no_click_is_judged():
    """Three clicks of a second class: too few to find in the trial, so nothing is known of the classifier."""
    told = np.zeros(40, int)
    told[[3, 16, 29]] = 1
    classes = Classes(("sky", "car"), ((0, 0, 0), (9, 9, 9)))
    clips = [Clip(f"{i}", (Frame("0", 0, "0.png"),)) for i in range(6)]
    made = Manifest("folder", "", "train", 0, 1, classes, tuple(clips))
    clicks = []
    for i, class_id in enumerate(told.tolist()):
        click = Click(f"{i % 6}", "0", 30 * i, 30 * i, classes.names[class_id])
        clicks.append(PlacedClick(click, made, clips[i % 6], 0, (2000, 2000), class_id, *REST))
    noise = np.random.default_rng(0).normal(0, 0.01, (40, 2))
    found = review(clicks, told[:, None] + noise)
    assert (found.judged > 0, found.suspects) == (True, [])
    assert found.is_blind
    assert "nan" not in " ".join(review_lines(found))


def test_a_few_clicks_have_no_list(street_clicks):
    assert review(street_clicks[:19]).suspects == []
    assert review([]).suspects == []


def test_features_tell_colours_around_a_point_and_its_place():
    image = np.zeros((100, 200, 3), np.uint8)
    image[:, 100:] = (255, 0, 51)
    left, right, edge = point_features(image, np.array([[0.5, 0.1], [0.5, 0.9], [0.005, 0.5]]))
    assert left[:6].tolist() == [0] * 6
    assert np.allclose(right[:6], [1, 0, 0.2, 0, 0, 0])
    assert right[-4:].tolist() == [0.5, 0.9, 0.25, 0.9**2]
    assert 0 < edge[0] < 1  # a square that is cut off by the border
    large = point_features(np.kron(image, np.ones((4, 4, 1), np.uint8)), np.array([[0.5, 0.9]]))
    assert np.allclose(large, right, atol=1e-6)


def test_the_classifier_s_home_is_not_the_clicks_stage():
    """An edit of a check makes no stage run again."""
    from weclick.common.code_digest import imported_modules

    run = imported_modules("weclick.clicks", "weclick.manifest.manifest_file", "weclick.train.stage")
    checks = {path.stem for path in Path(ROOT / "weclick" / "clicks").glob("*.py")} & {
        "checks", "placed", "review", "out_of_fold", "features", "agreement", "pace",
    }  # fmt: skip
    assert len(checks) == 7
    assert not run & {f"weclick.clicks.{name}" for name in checks}
