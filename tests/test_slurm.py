"""The workflow through a real Slurm of two nodes, with the profile that users get."""

import subprocess
import sys
import tempfile
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path

import pytest

from helpers.slurm_nodes import NODES, jobs_of, missing_daemons, slurm_nodes
from helpers.workflow import make_project
from weclick.store import list_entries

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(
        bool(missing_daemons()),
        reason=f"needs {', '.join(missing_daemons())}: apt-get install slurm-wlm munge",
    ),
    pytest.mark.skipif(
        find_spec("snakemake_executor_plugin_slurm") is None,
        reason="needs the executor plugin: pip install -e '.[slurm]'",
    ),
]

# This Slurm keeps no accounts, and its jobs are over soon.
HERE = ["--slurm-no-account", "--slurm-status-command", "squeue"]
HERE += ["--slurm-init-seconds-before-status-checks", "5"]


SHARDED = {"frames_shard", "flow_shard", "soft_labels_shard"}


@pytest.fixture(scope="module")
def slurm():
    with (
        tempfile.TemporaryDirectory(prefix="weclick-slurm-") as folder,
        slurm_nodes(Path(folder)) as environment,
    ):
        yield environment


@pytest.fixture(scope="module")
def workflow(slurm, tmp_path_factory, repository, tiny_config):
    """Call the workflow of a tiny street in two shards, whose networks train in two processes; its output."""
    network = {**tiny_config["student"], "batch_size": 4}
    data = {**tiny_config["data"], "shards": 2}
    config = {**tiny_config, "data": data, "devices": 2, "teacher": network, "student": network}
    project = make_project(tmp_path_factory.mktemp("project"), repository, config)
    profile = ["--workflow-profile", "profiles/slurm", *HERE, "--slurm-keep-successful-logs"]

    def call(*words):
        done = subprocess.run(
            [sys.executable, "-m", "snakemake", *profile, *words, "--configfile", "config/tiny.yaml"],
            cwd=project.root,
            env={**slurm, "PYTHONPATH": str(project.root)},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert done.returncode == 0, done.stdout + logs(project.root, "*")
        return done.stdout

    call.root = project.root
    return call


def logs(root, rule):
    found = sorted((root / ".snakemake/slurm_logs").glob(f"*{rule}*/**/*.log"))
    return "".join(path.read_text(encoding="utf-8") for path in found)


def are_at_once(jobs):
    """Whether two of the jobs ran on two nodes at one time. Slurm tells whole seconds."""
    return any(
        one["NodeList"] != other["NodeList"]
        and one["StartTime"] < other["EndTime"]
        and other["StartTime"] < one["EndTime"]
        for one, other in combinations(jobs, 2)
    )


def test_a_run_goes_through_slurm_and_a_second_one_does_nothing(workflow, slurm):
    workflow("all")
    assert (workflow.root / "results/report.html").is_file()
    assert len(list(list_entries(workflow.root / "store", "models"))) == 2

    jobs = {}
    for job in jobs_of(slurm):
        jobs.setdefault(job["Comment"].removeprefix("rule_").split("_wildcards")[0], []).append(job)
    single = {"teacher", "student", "evaluate", "report", "toy", "clicks"}
    assert single | SHARDED <= jobs.keys()
    assert {job["JobState"] for each in jobs.values() for job in each} == {"COMPLETED"}
    gpus = {
        rule: {job["TresPerJob"][-1] for job in each}
        for rule, each in jobs.items()
        if "TresPerJob" in each[0]
    }
    one = {rule: {"1"} for rule in ("flow_shard", "soft_labels_shard", "evaluate")}
    assert gpus == {**one, "teacher": {"2"}, "student": {"2"}}
    (teacher,) = jobs["teacher"]
    assert teacher["CPUs/Task"] == "16"
    assert teacher["MinMemoryNode"] == "62.50G"
    assert jobs["flow_shard"][0]["TimeLimit"] == "08:00:00"
    for rule in ("teacher", "student"):
        assert "Starting with 2 processes" in logs(workflow.root, rule)

    assert {job["NodeList"] for each in jobs.values() for job in each} == set(NODES)
    assert any(are_at_once(jobs[rule]) for rule in SHARDED), "no two shards ran side by side on two nodes"

    submitted = len(jobs_of(slurm))
    assert "Nothing to be done" in workflow("all")
    assert len(jobs_of(slurm)) == submitted
