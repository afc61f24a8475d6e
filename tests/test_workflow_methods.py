"""The Snakemake workflow for several methods: what they share is made once."""

import json

import pytest

from helpers.workflow import Project, make_project

SHARED = {"toy", "manifest_shard", "frames_shard", "flow_shard"}
SERVES = ["weclick", "f2f", "two_stream", "maskconsist"]


@pytest.fixture(scope="module")
def project(tmp_path_factory, repository, tiny_config) -> Project:
    """A project that has made what all four methods share."""
    config = {**tiny_config, "serves": SERVES}
    project = make_project(tmp_path_factory.mktemp("project"), repository, config)
    project.snakemake("manifest", "frames", "flow")
    return project


def test_the_index_tells_the_needs_apart(project):
    index = json.loads((project.root / "results/flow/train/0.json").read_text(encoding="utf-8"))
    assert index["version"] == 2
    assert all(keys.keys() == {"window", "chain", "step", "stack"} for keys in index["entries"].values())


def test_a_change_of_the_method_reruns_nothing_that_they_share(project):
    for method in ("weclick", "f2f"):
        jobs = project.jobs(f"method={method}")
        assert "student" in jobs
        assert not jobs & SHARED
        assert ("teacher" in jobs) == ("soft_labels_shard" in jobs) == (method == "weclick")
    told = project.snakemake("manifest", "frames", "flow", "-n", "--config", "method=maskconsist")
    assert "Nothing to be done" in told


def test_a_method_alone_makes_its_own(project):
    assert project.jobs("method=f2f", "serves=null") >= {"manifest_shard", "frames_shard", "flow_shard"}
