"""The summary of an experiment, on invented figures; its file; the ablation's old layout of it."""

import json
from typing import Any

import pytest
from scipy import stats

from helpers.experiment_summary import ARMS, MIOU, figures, make_summary, section
from helpers.places import ROOT
from weclick.common.errors import InputError, MissingFileError
from weclick.common.schemas import load_schema, schema_fault
from weclick.runs.ablation import ABLATION, SCORES, old_layout, write_old_layout
from weclick.runs.experiment.choice import choice_words
from weclick.runs.experiment.files import read_summary
from weclick.runs.experiment.pace import steps_for_seconds
from weclick.runs.experiment.statistics import seeds_needed
from weclick.runs.experiment.summary import results


@pytest.fixture
def told():
    return results(section(), list(ARMS), figures())


def test_every_arm_and_every_seed_is_told(told):
    assert list(told["arms"]) == list(ARMS)
    for arm, values in MIOU.items():
        assert told["arms"][arm]["miou"]["values"] == list(values)
    assert told["arms"]["clicks_same_time"]["miou"]["n"] == 2
    assert told["arms"]["kd"]["train_seconds"]["mean"] == pytest.approx(21.0)


def rounded(value: Any) -> Any:
    """The same, with numbers that no other version of scipy changes."""
    if isinstance(value, dict):
        return [[key, rounded(part)] for key, part in value.items()]
    if isinstance(value, list):
        return [rounded(part) for part in value]
    return round(value, 9) if isinstance(value, float) else value


def test_students_are_told_as_before_there_were_detectors(told):
    """The file was written by the code of before; names stand in its order."""
    path = ROOT / "tests" / "data" / "experiment_of_students.json"
    assert rounded(told) == rounded(json.loads(path.read_text(encoding="utf-8")))


def test_differences_are_paired_by_seed(told):
    row = told["differences"][0]
    assert (row["asked"], row["of"], row["minus"]) == (["kd", "clicks"], "kd", "clicks")
    assert row["miou"]["values"] == pytest.approx([0.10, 0.08, 0.15])
    low, high = stats.ttest_rel(MIOU["kd"], MIOU["clicks"]).confidence_interval(0.95)
    assert (row["miou"]["low"], row["miou"]["high"]) == (pytest.approx(low), pytest.approx(high))
    assert row["temporal_consistency"]["values"] == pytest.approx([0.10, 0.08, 0.15])
    assert row["seeds_needed"] == seeds_needed(row["miou"]["spread"], 0.02)


def test_target_frames_choose_and_the_better_of_the_others_is_taken(told):
    assert told["chosen"]["best"]["arm"] == "kd"
    row = told["differences"][1]
    assert row["asked"] == ["best", "clicks", "clicks_same_time"]
    assert (row["of"], row["minus"]) == ("kd", "clicks_same_time"), "0.55 is better than 0.54"
    assert row["miou"]["values"] == [pytest.approx(0.08), None, pytest.approx(0.13)]
    assert row["seeds_needed"] is None, "two differences do not tell how far they spread"


def test_wall_times_that_were_measured_beside_other_work_are_told():
    timed = {"arms": {"same": {"as": "clicks", "for_time_of": "kd"}}}
    known = figures()
    for seed in range(3):
        known["same", seed] = known["clicks", seed]
    told = results(section() | timed, [*ARMS, "same"], known)
    assert not told["notes"], "all seeds ran at nearly one pace"
    known["clicks", 1] = known["clicks", 1] | {"train_seconds": 75.0}
    told = results(section() | timed, [*ARMS, "same"], known)
    assert told["notes"] == [
        "same: clicks ran at 2 to 7.5 steps a second, so other work ran beside some seeds, and the "
        "wall times are not equal."
    ]


def test_a_choice_never_looks_at_scored_frames():
    """`clicks` is better on the target frames and worse on the scored ones."""
    known = figures()
    for (arm, _), figure in known.items():
        figure["on_targets"] = {"clicks": 0.9, "kd": 0.5}.get(arm)
    told = results(section(compare=[["best", "clicks"]]), list(ARMS), known)
    best = told["chosen"]["best"]
    assert (best["arm"], best["by"], best["runner_up"]) == ("clicks", "on_targets", "kd")
    assert best["means"] == {"clicks": 0.9, "kd": 0.5}
    assert best["lead"]["mean"] == pytest.approx(0.4)
    (row,) = told["differences"]
    assert (row["of"], row["miou"]["n"]) == ("clicks", 0)
    assert told["notes"] == ["best against clicks: both stand for clicks, so there is nothing to compare."]


def test_of_tied_arms_the_steadiest_is_chosen():
    known = figures()
    targets = {"clicks": (0.60, 0.70, 0.80), "kd": (0.696, 0.697, 0.695)}
    for (arm, seed), figure in known.items():
        figure["on_targets"] = targets[arm][seed] if arm in targets else None

    def best(**asked):
        given = section(choose={"best": {"among": ["clicks", "kd"], **asked}})
        return results(given, list(ARMS), known)["chosen"]["best"]

    assert best()["arm"] == best(within=0.003)["arm"] == "clicks", (
        "the highest, where nothing is tied with it"
    )
    tied = best(within=0.005)
    assert (tied["arm"], tied["runner_up"]) == ("kd", "clicks")
    assert tied["tied"] == {"clicks": pytest.approx(0.1), "kd": pytest.approx(0.001)}
    assert tied["lead"]["mean"] == pytest.approx(-0.004)
    assert choice_words("best", tied)[1] == (
        "These are tied, and the seeds of kd spread least "
        "(standard deviations in points: clicks 10.0, kd 0.1)."
    )
    summary = make_summary()
    for data in summary["results"].values():
        data["chosen"]["best"] = tied
    assert schema_fault(summary, "experiment") == ""


def test_one_seed_breaks_no_tie():
    known = figures()
    for (arm, seed), figure in known.items():
        figure["on_targets"] = {"clicks": 0.7, "kd": 0.699}.get(arm) if seed == 0 else None
    given = section(seeds=[0], choose={"best": {"among": ["clicks", "kd"], "within": 0.005}})
    tied = results(given, list(ARMS), known)["chosen"]["best"]
    assert tied["arm"] == "clicks"
    assert "one seed tells no spread" in choice_words("best", tied)[1]


def test_without_target_frames_nothing_is_chosen():
    known = figures()
    for seed in range(3):
        known["kd", seed] |= {"on_targets": None, "on_clicks": None}
    told = results(section(), list(ARMS), known)
    assert told["chosen"]["best"]["arm"] is None
    assert told["differences"][1]["of"] is None
    assert told["differences"][1]["seeds_needed"] is None
    assert told["notes"] == [
        "best: no mIoU on the target frames is known of kd, and the share of clicks that are hit is not "
        "known of all arms, so no arm was chosen."
    ]


def test_without_masks_the_clicks_of_the_target_frames_choose():
    known = figures()
    for figure in known.values():
        figure["on_targets"] = None
    told = results(section(), list(ARMS), known)
    best = told["chosen"]["best"]
    assert (best["arm"], best["by"], best["runner_up"]) == ("kd", "on_clicks", "clicks")
    assert best["means"] == {"clicks": pytest.approx(0.74), "kd": pytest.approx(0.85)}
    assert best["lead"]["values"] == pytest.approx([0.10, 0.08, 0.15])
    assert told["differences"][1]["of"] == "kd"
    (note,) = told["notes"]
    assert note.startswith("best was chosen by the share of the target frames' clicks that are hit: without")


def test_the_summary_is_as_its_schema_says_and_is_read_again(tmp_path):
    summary = make_summary()
    assert schema_fault(summary, "experiment") == ""
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    assert (
        read_summary(tmp_path) == read_summary(tmp_path / "summary.json") == json.loads(json.dumps(summary))
    )


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (lambda summary: summary.pop("seeds"), "'seeds' is a required"),
        (lambda summary: summary.update(schema_version=2), "schema_version: 1 was expected"),
        (lambda summary: summary["arms"].pop("kd"), "arms/kd: no such arm is described"),
        (
            lambda summary: summary["results"]["davis"]["differences"][0].update(seeds_needed=10**400),
            "results/davis/differences/0/seeds_needed: 1000",
        ),
        (
            lambda summary: summary["results"]["davis"]["arms"]["kd"]["miou"].update(values=[0.5]),
            "results/davis/arms/kd/miou: has not one value for each seed",
        ),
        (
            lambda summary: summary["results"]["davis"]["arms"]["kd"]["miou"].update(mean=10**400),
            "mean: 1000* .* is greater than",
        ),
    ],
)
def test_a_file_that_is_no_summary_is_told(tmp_path, edit, told):
    summary = make_summary()
    edit(summary)
    (tmp_path / "x.json").write_text(json.dumps(summary))
    with pytest.raises(InputError, match=rf"x\.json: is no summary of an experiment.*{told}"):
        read_summary(tmp_path / "x.json")


def test_a_missing_summary_is_told(tmp_path):
    with pytest.raises(MissingFileError, match=r"summary\.json: there is no such file; the experiment stage"):
        read_summary(tmp_path)


def test_the_ablation_is_told_as_before(tmp_path):
    summary = make_summary(ABLATION)
    del summary["results"]["streets"]
    old = old_layout(summary)
    assert old["seeds"] == [0, 1, 2]
    assert list(old["variants"]) == list(ARMS)
    kd = old["variants"]["kd"]
    assert kd.keys() == {"description", *SCORES}
    assert kd["miou"] == {
        "mean": pytest.approx(0.65),
        "spread": pytest.approx(0.01),
        "values": [0.65, 0.64, 0.66],
    }
    write_old_layout(summary, tmp_path)
    assert (
        schema_fault({"summary.json": json.loads((tmp_path / "summary.json").read_text())}, "results") == ""
    )
    assert json.loads((tmp_path / "kd" / "metrics.json").read_text()) == json.loads(json.dumps(kd))


def test_no_other_experiment_is_told_as_the_ablation(tmp_path):
    with pytest.raises(InputError, match="that of invented, expected that of the experiment ablation"):
        write_old_layout(make_summary(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_largest_seed_can_be_read_again(tmp_path):
    largest = load_schema("config")["properties"]["experiment"]["properties"]["seeds"]["items"]["maximum"]
    summary = make_summary() | {"seeds": [0, 1, largest]}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    assert read_summary(tmp_path)["seeds"][-1] == largest


def test_a_time_budget_becomes_steps():
    assert steps_for_seconds({"steps": 150, "train_seconds": 30.0}, 90.0) == 450
    assert steps_for_seconds({"steps": 150, "train_seconds": 30.0}, 0.01) == 1
