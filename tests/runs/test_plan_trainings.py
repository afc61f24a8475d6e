"""What `weclick plan` tells of an experiment: its trainings, and how long they take at a pace."""

import json

import pytest
import yaml
from typer.testing import CliRunner

from weclick import cli
from weclick.common.config import complete_config
from weclick.runs.experiment.plan import make_plan
from weclick.runs.plan.probe import Pace
from weclick.runs.plan.trainings import plan_experiment

OFF = {"kd": {"weight": 0}, "mfd": {"weight": 0}}
PACES = {"teacher": Pace(2.0, estimated=False), "student": Pace(0.5, estimated=False)}
ARMS = {
    "clicks": {"change": OFF},
    "kd": {"change": {"mfd": {"weight": 0}}},
    "wide": {"change": {**OFF, "student": {"crop": [128, 128], "steps": 10}}},
    "same_time": {"as": "clicks", "for_time_of": "wide"},
    "teacher": {"scores": "teacher"},
}
BASE = {
    "teacher": {"steps": 100},
    "student": {"steps": 40, "crop": [64, 64]},
    "experiment": {"name": "x", "seeds": [0, 1], "arms": ARMS},
}


@pytest.fixture
def plan(tmp_path):
    return make_plan(complete_config({**BASE, "results": str(tmp_path)}))


def test_every_training_counts_once_and_takes_its_steps_and_pixels(plan):
    told = plan_experiment(plan, PACES)
    assert (told.name, told.arms, told.seeds, told.data_sets) == ("x", 5, 2, 1)
    teacher, student = told.trainings
    assert (teacher.role, teacher.networks, teacher.missing, teacher.seconds) == ("teacher", 2, 2, 400.0)
    assert (student.networks, student.missing) == (8, 8)
    each_seed = 40 + 40 + 10 * 4 + 10 * 4  # `wide` has four times the pixels, and `same_time` its time
    assert student.seconds == 2 * each_seed * 0.5
    assert told.seconds == 560.0


def test_what_the_results_hold_is_not_trained_again(plan):
    made = [trial.network for trial in plan.trials if trial.arm in ("teacher", "wide") and trial.seed == 1]
    for job in made:
        card = plan.home(job).card(job.stage)
        card.parent.mkdir(parents=True)
        card.write_text("{}")
    teacher, student = plan_experiment(plan, PACES).trainings
    assert (teacher.networks, teacher.missing, teacher.seconds) == (2, 1, 200.0)
    assert (student.networks, student.missing, student.seconds) == (8, 7, 140.0)


def test_a_role_without_a_pace_has_no_time_and_one_that_is_not_trained_is_left_out(plan, tmp_path):
    told = plan_experiment(plan, {"student": PACES["student"]})
    assert [each.seconds for each in told.trainings] == [None, 160.0]
    assert told.seconds is None
    clicks = {**BASE, "experiment": {"name": "x", "arms": {"clicks": {"change": OFF}}}}
    few = plan_experiment(make_plan(complete_config({**clicks, "results": str(tmp_path)})), PACES)
    assert [each.role for each in few.trainings] == ["student"]


def test_the_verb_tells_it_for_a_configuration_in_two_files(street, tmp_path):
    base = {**street.config, "results": str(tmp_path / "r"), "cache": {"roots": [str(tmp_path / "store")]}}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    arms = {"clicks": {"change": OFF}, "kd": {"change": {"mfd": {"weight": 0}}}}
    (tmp_path / "arms.yaml").write_text(json.dumps({"experiment": {"name": "mine", "arms": arms}}))
    files = [word for name in ("base", "arms") for word in ("--config", str(tmp_path / f"{name}.yaml"))]
    done = CliRunner().invoke(cli.app, ["plan", *files, "--no-probe", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert "experiment mine: 2 arms, 5 seeds, 1 data set" in done.output
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in done.output.splitlines()]
    assert ["teacher", "5", "5", ""] in rows
    assert ["student", "10", "10", ""] in rows


def test_a_mistake_in_the_experiment_is_told_before_anything_is_probed(street, tmp_path):
    wrong = {"name": "mine", "arms": {"clicks": {}}, "compare": [["clicks", "kd"]]}
    text = json.dumps({**street.config, "experiment": wrong})
    done = CliRunner().invoke(cli.app, ["plan", "--config", text, "--device", "cpu"])
    assert done.exit_code != 0
    assert "there is no arm 'kd'; known: clicks" in str(done.exception)
