"""An experiment on a tiny street: what it leaves, what a second run and a new arm compute, and a kill."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from helpers.workflow import Project, make_project
from weclick.clicks import read_clicks
from weclick.common.config import load_config
from weclick.common.schemas import schema_fault
from weclick.runs.experiment.gather import Gathered
from weclick.runs.experiment.plan import make_plan
from weclick.store import Store

OFF = {"kd": {"weight": 0}, "mfd": {"weight": 0}}
CLICKS = {"description": "clicks alone", "change": OFF}
KD = {"description": "soft labels", "change": {"mfd": {"weight": 0}}}
TEACHER = {"scores": "teacher"}
EXPERIMENT = {
    "name": "tiny",
    "seeds": [0],
    "arms": {"teacher": TEACHER, "clicks": CLICKS},
    "compare": [["teacher", "clicks"]],
}
LATE = {"experiment_summary", "experiment"}
FIGURES = [
    *("miou", "mean_accuracy", "pixel_accuracy", "temporal_consistency", "click_accuracy"),
    *("on_targets", "on_clicks", "targets", "clicks", "annotation_seconds"),
    *("train_seconds", "steps", "teacher_seconds", "cache_bytes"),
]
FACTS = [
    *("dataset", "classes", "train", "val", "clicks", "clicks_by", "annotation_seconds", "annotation"),
    *("trainings", "scored_sha256", "devices"),
]


def jobs(project: Project, *words: str) -> dict[str, int]:
    """Rule -> number of jobs that would run."""
    told = project.snakemake(*words, "-n")
    if "Nothing to be done" in told:
        return {}
    table = told[told.index("Job stats:") :]
    found = dict(re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE))
    return {name: int(count) for name, count in found.items() if name != "total"}


def changed(**section) -> tuple[str, str]:
    """Words that change the section `experiment`."""
    return "--config", f"experiment={json.dumps(section)}"


def summary_of(project: Project, name: str = "tiny") -> dict:
    path = project.root / "results" / "experiment" / name / "summary.json"
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def project(tmp_path_factory, repository, tiny_config) -> Project:
    """A project whose experiment has ended."""
    config = {**tiny_config, "experiment": EXPERIMENT}
    project = make_project(tmp_path_factory.mktemp("project"), repository, config)
    project.snakemake("experiment")
    return project


def test_it_ends_with_the_path_of_its_page(project):
    told = project.snakemake("experiment", "--forcerun", "experiment_summary").splitlines()
    assert told[-1] == "report: results/experiment/tiny/report.html"
    assert not told[-2].startswith("teacher: "), "the run's own scores were not asked for"


def test_it_leaves_a_summary_and_a_page(project):
    summary = summary_of(project)
    assert schema_fault(summary, "experiment") == ""
    found = summary["results"]["toy"]
    assert list(found["arms"]) == ["teacher", "clicks"], "in the order of the configuration"
    assert found["facts"]["clicks"] > 0
    assert list(found["facts"]) == FACTS
    for figures in found["arms"].values():
        assert list(figures) == FIGURES
        assert 0 <= figures["miou"]["mean"] <= 1
        assert figures["steps"]["values"] == [3]
        assert figures["cache_bytes"]["mean"] > 0
    page = (project.root / "results/experiment/tiny/report.html").read_text(encoding="utf-8")
    assert "clicks alone" in page
    assert not (project.root / "results/soft_labels").exists(), "no arm distils"
    assert (project.root / "results/teacher/model.json").is_file(), "the run's own teacher is the same"


def test_the_page_counts_what_the_minutes_of_annotation_pay_for(project, monkeypatch):
    monkeypatch.chdir(project.root)
    config = load_config("config/tiny.yaml")

    def counted(minutes):
        plan = make_plan({**config, "annotation": {**config["annotation"], "minutes": minutes}}, "tiny")
        return Gathered(plan, Store(["store"])).supervised(plan.trials[0].network.digest)

    whole, some = counted(None), counted(1)
    assert whole["clicks"] == len(read_clicks(Path("results/clicks/train.h5")))
    assert 0 < some["targets"] < whole["targets"]
    assert 0 < some["clicks"] < whole["clicks"]
    assert counted(1000) == whole


def test_arms_that_are_the_same_trainings_are_told(project, monkeypatch):
    monkeypatch.chdir(project.root)
    config = load_config("config/tiny.yaml")
    arms = {"clicks": CLICKS, "teacher": TEACHER, "same": {"change": {**OFF, "student": {"steps": 3}}}}
    section = {**config["experiment"], "arms": arms, "compare": []}
    plan = make_plan({**config, "experiment": section})
    assert list(Gathered(plan, Store(["store"])).notes("toy")) == [
        "clicks and same are the same trainings: no stage tells apart what they change."
    ]
    assert not list(Gathered(make_plan(config), Store(["store"])).notes("toy"))


def test_a_second_run_computes_nothing(project):
    assert jobs(project, "experiment") == {}


def test_a_new_arm_is_what_it_alone_needs(project):
    assert jobs(project, "experiment", *changed(arms={"kd": KD})) == {
        **dict.fromkeys(("soft_labels_shard", "experiment_student", "experiment_evaluate"), 1),
        **dict.fromkeys(LATE, 1),
    }


def test_a_new_seed_shares_what_reads_no_seed(project):
    assert jobs(project, "experiment", *changed(seeds=[0, 1])) == {
        **dict.fromkeys(("experiment_teacher", "experiment_student"), 1),
        **{"experiment_evaluate": 2},
        **dict.fromkeys(LATE, 1),
    }


def test_two_arms_that_a_stage_cannot_tell_apart_share_it(project):
    wide = {"change": {**OFF, "student": {"channels": 24}}}
    other = {"change": {"teacher": {"channels": 24}, "mfd": {"weight": 0}}}
    assert jobs(project, "experiment", *changed(arms={"wide": wide, "kd": KD, "other": other})) == {
        "experiment_teacher": 1,  # of `other`
        "soft_labels_shard": 1,  # of `kd`, which the run itself makes, too
        "experiment_soft_labels": 1,
        "experiment_student": 3,
        "experiment_evaluate": 3,
        **dict.fromkeys(LATE, 1),
    }


def test_an_arm_that_is_only_described_anew_is_only_summed_up_anew(project):
    arms = {"clicks": {**CLICKS, "description": "one click an object"}}
    assert jobs(project, "experiment", *changed(arms=arms)) == dict.fromkeys(LATE, 1)


def test_a_second_data_set_is_drawn_and_trained_on(project):
    street = {"data": {"root": "data/other", "toy": {"seed": 1}}}
    planned = jobs(project, "experiment", *changed(data={"toy": {}, "other": street}))
    assert planned == {
        **{"experiment_toy": 1, "experiment_manifest": 2, "experiment_clicks": 1, "experiment_frames": 1},
        **{"experiment_flow": 1, "experiment_teacher": 1, "experiment_student": 1, "experiment_evaluate": 2},
        **dict.fromkeys(LATE, 1),
    }


def test_a_mistake_is_told_before_anything_runs(project):
    command = project.command("experiment", "-n", *changed(compare=[["clicks", "none"]]))
    done = subprocess.run(command, cwd=project.root, env=project.environment, text=True, capture_output=True)
    assert done.returncode != 0
    assert "experiment.compare.0: there is no arm 'none'" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_an_experiment_that_is_not_configured_is_told(project):
    command = project.command("experiment", "-n", *changed(name=None))
    done = subprocess.run(command, cwd=project.root, env=project.environment, text=True, capture_output=True)
    assert done.returncode != 0
    assert "no experiment is configured; name one in experiment.name" in done.stdout + done.stderr


WHOLE = {
    **EXPERIMENT,
    "seeds": [0, 1],
    "arms": {
        **{"clicks": CLICKS, "kd": KD, "teacher": TEACHER},
        "clicks_same_time": {"as": "clicks", "for_time_of": "kd"},
    },
    "compare": [["kd", "clicks"], ["kd", "clicks", "clicks_same_time"]],
}


def untimed(summary: dict) -> dict:
    """The scores of all arms with steps of their own; wall times differ from run to run."""
    arms = summary["results"]["toy"]["arms"]
    names = ("miou", "mean_accuracy", "temporal_consistency", "steps", "cache_bytes")
    return {
        arm: {name: figures[name] for name in names}
        for arm, figures in arms.items()
        if arm != "clicks_same_time"
    }


@pytest.mark.slow
def test_a_killed_experiment_ends_with_the_same_figures(tmp_path, repository, tiny_config):
    config = {**tiny_config, "experiment": WHOLE}
    straight = make_project(tmp_path / "straight", repository, config)
    straight.snakemake("experiment")
    killed = make_project(tmp_path / "killed", repository, config)
    for seconds in (12, 20, 28):
        run = subprocess.Popen(
            killed.command("experiment"),
            cwd=killed.root,
            env=killed.environment,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(seconds)
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    killed.snakemake("experiment")
    assert untimed(summary_of(killed)) == untimed(summary_of(straight))
    assert jobs(killed, "experiment") == {}
    timed = summary_of(straight)["results"]["toy"]["arms"]["clicks_same_time"]
    assert min(timed["steps"]["values"]) >= 1
    assert 6 <= len(straight.entries()["models"]) <= 8, "the timed trainings may have as many steps as others"


@pytest.mark.slow
def test_the_ablation_keeps_its_command_and_its_files(project):
    project.snakemake("ablation", "--config", "ablation={seeds: [0, 1]}")
    folder = project.root / "results" / "ablation"
    old = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert schema_fault({"summary.json": old}, "results") == ""
    assert list(old["variants"]) == ["teacher", "weakly", "weakly_same_time", "kd", "kd_mfd"]
    for name, variant in old["variants"].items():
        assert len(variant["miou"]["values"]) == 2
        assert json.loads((folder / name / "metrics.json").read_text(encoding="utf-8")) == variant
    assert 'id="ablation"' in (folder / "report.html").read_text(encoding="utf-8")
    assert "kd_mfd" in (project.root / "results/experiment/ablation/report.html").read_text(encoding="utf-8")
    assert jobs(project, "ablation", "--config", "ablation={seeds: [0, 1]}") == {}
