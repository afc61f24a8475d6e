"""The workflow at two desks that share a store: the second computes nothing that the first one has."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from typer.testing import CliRunner

from helpers.places import ROOT
from helpers.s3_server import s3_server
from weclick.cli import app
from weclick.runs.cost import SUFFIX
from weclick.runs.lock import OUTCOME
from weclick.store import list_entries
from weclick.store.entries import KINDS

STAGES = ("frames/train/0", "flow/train/0", "soft_labels/train/0", "teacher/model")
"""Outputs of the stages that write to the store, and that a student needs."""


@dataclass(frozen=True)
class Desk:
    """A working directory with data of its own, and a search path of roots."""

    root: Path
    cache: str

    @property
    def results(self) -> Path:
        return self.root / "results"

    @property
    def environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "WECLICK_CACHE": self.cache}

    def run(self, *command: str) -> str:
        done = subprocess.run(
            [Path(sys.executable).with_name(command[0]), *command[1:]],
            cwd=self.root,
            env=self.environment,
            text=True,
            capture_output=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def snakemake(self, *targets: str) -> str:
        snakefile = ROOT / "Snakefile"
        words = ("--cores", "2", "--snakefile", str(snakefile), "--configfile", "tiny.yaml")
        return self.run("snakemake", *targets, *words)

    def costs(self) -> dict[str, dict[str, Any]]:
        """Stage output -> what its only run found in the store and made."""
        costs = {}
        for path in self.results.rglob(f"*{SUFFIX}"):
            (line,) = path.read_text(encoding="utf-8").splitlines()
            costs[str(path.relative_to(self.results)).removesuffix(SUFFIX)] = json.loads(line)
        return costs

    def assert_found_all(self, *stages: str) -> None:
        costs = self.costs()
        for stage in stages:
            assert costs[stage]["made"] == costs[stage]["written_bytes"] == 0, stage
            assert costs[stage]["found"] >= 1, stage


def make_desk(root: Path, config: dict[str, Any], cache: str, data: Path | None = None) -> Desk:
    """A desk whose frames are a colleague's with newer times, or still to be drawn."""
    root.mkdir(parents=True)
    config = {**config, "data": {**config["data"], "root": str(root / "my data")}}
    (root / "tiny.yaml").write_text(yaml.safe_dump(config))
    if data:
        shutil.copytree(data, root / "my data")
        for path in (root / "my data").rglob("*"):
            path.touch()
    return Desk(root, cache)


def state(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Name -> time of change and content of everything below a folder; folders have no content."""
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mtime_ns,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in folder.rglob("*")
    }


def entries(root: Path) -> dict[str, int]:
    return {kind: len(list(list_entries(root, kind))) for kind in KINDS}


@pytest.fixture(scope="module")
def by_verbs(tmp_path_factory, tiny_config) -> Desk:
    """A desk whose frames and teacher were made by the verbs, in a root to share."""
    root = tmp_path_factory.mktemp("verbs")
    desk = make_desk(root / "desk", tiny_config, cache=str(root / "share"))
    manifests = {split: str(desk.results / f"manifest/{split}/0.json") for split in ("train", "val")}
    clicks, frames = str(desk.results / "clicks/train.h5"), str(desk.results / "frames/train/0.json")
    train = ("--manifest", manifests["train"])
    data = (*train, "--val-manifest", manifests["val"], "--clicks", clicks, "--frames", frames)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WECLICK_CACHE", desk.cache)
        for words in (
            ("toy",),
            *(("manifest", "--split", split, "--output", path) for split, path in manifests.items()),
            ("clicks", *train, "--output", clicks),
            ("frames", *train, "--output", frames),
            ("teacher", *data, "--device", "cpu", "--output", str(desk.results / "teacher")),
        ):
            config = ("--config", str(desk.root / "tiny.yaml"))
            ended = CliRunner().invoke(app, [*words, *config], catch_exceptions=False)
            assert ended.exit_code == 0, ended.output
    return desk


@pytest.mark.slow
def test_the_workflow_finds_what_a_colleague_made_by_verbs(tmp_path, by_verbs, tiny_config):
    share, own = Path(by_verbs.cache), tmp_path / "own"
    before = state(share)
    assert entries(share) == {"frames": 2, "masks": 0, "flow": 0, "soft_labels": 0, "models": 1}
    desk = make_desk(tmp_path / "other desk", tiny_config, f"{share}:{own}", data=by_verbs.root / "my data")
    desk.snakemake("results/teacher/model.safetensors")
    desk.assert_found_all("frames/train/0", "teacher/model")
    assert not own.exists()
    assert state(share) == before
    for name in ("frames/train/0.json", "teacher/model.safetensors", "teacher/model.json"):
        assert (desk.results / name).read_bytes() == (by_verbs.results / name).read_bytes()


@pytest.fixture(scope="module")
def first(tmp_path_factory, tiny_config) -> Desk:
    """A desk whose whole run has ended, with a root to share."""
    root = tmp_path_factory.mktemp("first")
    desk = make_desk(root / "desk", tiny_config, cache=str(root / "share"))
    desk.snakemake("all")
    assert entries(root / "share") == {"frames": 2, "masks": 0, "flow": 3, "soft_labels": 2, "models": 2}
    assert all(desk.costs()[stage]["made"] for stage in STAGES)
    return desk


@pytest.fixture
def bucket() -> Iterator[str]:
    """Address of a prefix in a bucket of a server on loopback, which the environment names."""
    with s3_server():
        boto3.client("s3").create_bucket(Bucket="team")
        yield "s3://team/weclick"


def objects() -> list[tuple[str, Any, str]]:
    """Name, time of change and digest of everything in the bucket."""
    found = boto3.client("s3").list_objects_v2(Bucket="team")["Contents"]
    return [(each["Key"], each["LastModified"], each["ETag"]) for each in found]


def assert_same_run(desk: Desk, first: Desk) -> None:
    """All entries were found, a second look has nothing to do, and the locks agree in all that counts."""
    desk.assert_found_all(*STAGES, "flow/val/0", "student/model")
    assert "Nothing to be done" in desk.snakemake("all", "-n")
    mine, theirs = (
        json.loads((each.results / "run.lock.json").read_text(encoding="utf-8")) for each in (desk, first)
    )
    for part in OUTCOME:
        assert mine.get(part) == theirs.get(part), part
    assert "root" not in mine["config"]["data"], "each desk draws the street where its own configuration says"


@pytest.mark.slow
@pytest.mark.parametrize("own_root", [False, True], ids=["one root", "read-only root"])
def test_a_second_desk_trains_and_computes_nothing(tmp_path, first, tiny_config, own_root):
    share, own = Path(first.cache), tmp_path / "own"
    paths = [share, *share.rglob("*")]
    for path in paths if own_root else ():
        path.chmod(path.stat().st_mode & ~0o222)
    before = state(share)
    cache = f"{share}:{own}" if own_root else str(share)
    desk = make_desk(tmp_path / "other desk", tiny_config, cache, data=first.root / "my data")
    desk.snakemake("all")
    for path in paths if own_root else ():
        path.chmod(path.stat().st_mode | 0o200)
    assert state(share) == before
    assert not own.exists()
    assert_same_run(desk, first)


@pytest.mark.slow
def test_a_second_desk_finds_everything_in_a_bucket(tmp_path, first, tiny_config, bucket):
    own = tmp_path / "own"
    assert "9 entries copied" in first.run("weclick", "cache", "publish", bucket, "--config", "tiny.yaml")
    before = objects()
    desk = make_desk(tmp_path / "other desk", tiny_config, f"{bucket}:{own}", data=first.root / "my data")
    desk.snakemake("all")
    assert objects() == before
    assert entries(own) == dict.fromkeys(KINDS, 0)
    assert sum(entries(own / "fetched").values()) > 0, "read from the bucket, not from elsewhere"
    assert_same_run(desk, first)
