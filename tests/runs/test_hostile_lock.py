"""A lock of a stranger: it runs nothing, and writes nothing outside of --results."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from helpers.places import ROOT
from weclick.common.config import complete_config
from weclick.common.errors import InputError
from weclick.common.schemas import load_schema
from weclick.runs.lock import read_lock
from weclick.runs.reproduce import config_of, differences

DIGEST = "ab" * 32
TOY = {"seed": 0, "height": 32, "width": 32, "frames": 2, "clips": {"train": 1, "val": 1}}
OF_SPLITS = {split: {"street": {"frames": DIGEST, "labels": DIGEST}} for split in ("train", "val")}


def make(path: Path, **change: Any) -> Path:
    """A lock file of a toy run whose data nobody has, with sections of the configuration changed."""
    config = complete_config({"data": {"toy": TOY}})
    places = ("results", "cache", "watch")
    kept: dict[str, Any] = {name: part for name, part in config.items() if name not in places}
    for name, part in change.pop("config", {}).items():
        kept[name] = {**kept.get(name, {}), **part} if isinstance(part, dict) else part
    lock = {
        "schema_version": 1,
        "config": kept,
        "code": {},
        "versions": {},
        "device": {"name": "cpu", "threads": 1},
        "data": OF_SPLITS,
        "clicks": DIGEST,
        "entries": {"frames": {}, "flow": {}, "soft_labels": {}},
        "models": {role: {"key": DIGEST, "weights_sha256": DIGEST} for role in ("teacher", "student")},
        "metrics": {"teacher": {}, "student": {}},
    }
    path.write_text(json.dumps({**lock, **change}), encoding="utf-8")
    return path


def reproduce(lock: Path, *words: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", "from weclick.cli import main; main()", "reproduce", str(lock), *words],
        cwd=lock.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


def files_beside(lock: Path) -> set[str]:
    return {path.name for path in lock.parent.iterdir()} - {lock.name}


COMMAND = "train`touch PWNED`"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"config": {"data": {"train": COMMAND}}}, r"config/data/train: .* does not match"),
        ({"config": {"data": {"val": "../../x"}}}, r"config/data/val: .* does not match"),
        ({"config": {"data": {"train": "train\n"}}}, r"config/data/train: .* does not match"),
        ({"config": {"cache": {"roots": ["/tmp/theirs"]}}}, "its config sets cache, which no lock may do"),
        (
            {"config": {"watch": {"to": ["mlflow"], "mlflow_uri": "http://theirs:5000"}}},
            "its config sets watch, which no lock may do",
        ),
        ({"config": {"results": "/tmp/theirs"}}, "its config sets results, which no lock may do"),
        ({"data": {COMMAND: {}}}, "does not match"),
        ({"data": {"train": {"../x": {"frames": DIGEST, "labels": DIGEST}}}}, "does not match"),
        ({"entries": {"frames": {"a/b": {}}, "flow": {}, "soft_labels": {}}}, "does not match"),
        ({"versions": {"torch": "\x1b[2J"}}, "does not match"),
        ({"clicks": DIGEST + "\n"}, "does not match"),
        ({"config": {"data": {"shards": 10**9}}}, "greater than the maximum"),
        ({"config": {"soft_labels": {"teachers": 3}}}, "config/soft_labels/teachers: 3 is not of type"),
        ({"config": {"seed": "x"}}, "config/seed: 'x' is not of type"),
    ],
)
def test_what_a_lock_may_not_say(tmp_path, change, told):
    with pytest.raises(InputError, match=rf"(?s)run\.lock\.json: .*{told}"):
        read_lock(make(tmp_path / "run.lock.json", **change))


HONEST = (
    "Schöner Schwan",
    "Drift geradeaus (val)",
    "run[1]",
    "grün",
    "a'b",
    "-x",
    "seq 1/left",
    "x..y",
    "{a}",
    "$a",
)


@pytest.mark.parametrize("clip", HONEST)
def test_names_of_clips_stay_possible(tmp_path, clip):
    data = {"train": {clip: OF_SPLITS["train"]["street"]}}
    entries = {"frames": {"train": {"0": {clip: DIGEST}}}, "flow": {}, "soft_labels": {}}
    assert read_lock(make(tmp_path / "run.lock.json", data=data, entries=entries))["data"] == data
    names = (
        load_schema("manifest")["$defs"]["clip"]["properties"]["id"],
        load_schema("lock")["$defs"]["clip"],
    )
    for part in names:
        assert re.search(part["pattern"], clip)
        for strange in ("", "/etc", "..", "a/../b", "../a", "a/..", "a\nb", "a\n", "\x1b", "a\0"):
            assert not re.search(part["pattern"].replace("$", r"\Z"), strange)


@pytest.mark.parametrize("key", ["root", "classes", "clicks"])
@pytest.mark.parametrize("path", ["~/x", "$HOME/x", "a/${AWS_SECRET_ACCESS_KEY}"])
def test_paths_of_a_lock_read_no_variables(tmp_path, key, path):
    lock = read_lock(make(tmp_path / "run.lock.json", config={"data": {"name": "folder", key: path}}))
    with pytest.raises(
        InputError, match=rf"the lock's data\.{key} is .* say where it is with --set data\.{key}"
    ):
        config_of(lock, tmp_path / "out")
    assert config_of(lock, tmp_path / "out", [f"data.{key}=mine"])["data"][key] == "mine"


def test_other_names_of_the_configuration_are_checked_too(tmp_path):
    clips = {COMMAND: 1, "train": 1, "val": 1}
    done = reproduce(make(tmp_path / "l.json", config={"data": {"toy": {**TOY, "clips": clips}}}))
    assert done.returncode == 1
    assert "data.toy.clips: 'train`touch PWNED`' is refused; a split has a name of letters" in done.stderr
    assert files_beside(tmp_path / "l.json") == set()


def test_a_street_is_drawn_in_the_results_and_compared_before_anything_runs(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    lock = make(outside / "l.json", config={"data": {"root": str(tmp_path / "elsewhere")}})
    (outside / "snakemake.py").write_text("open('PWNED', 'w')")
    done = reproduce(lock, "--results", "again")
    assert done.returncode == 1, done.stderr
    assert done.stdout.endswith("the data are not those of the lock, so nothing was computed\n")
    assert files_beside(lock) == {"again", "snakemake.py"}
    assert {path.name for path in (outside / "again").iterdir()} == {"toy", "manifest"}
    assert not (tmp_path / "elsewhere").exists()


def test_a_street_that_the_user_names_is_read_and_not_drawn_anew(tmp_path):
    theirs = tmp_path / "street"
    clip = theirs / "leftImg8bit/train/street_0000"
    clip.mkdir(parents=True)
    (clip / "mine.png").write_text("mine")
    done = reproduce(make(tmp_path / "l.json"), "--set", f"data.root={theirs}", "--results", "again")
    assert done.returncode == 1
    assert "weclick: error: " in done.stderr
    assert [path.name for path in theirs.rglob("*.*")] == ["mine.png"]


def test_what_a_lock_says_moves_no_cursor():
    old, new = ({"config": {"device": text}} for text in ("\x1b[2Jgone", "cpu"))
    assert differences(old, new, "config") == ["device: \\x1b[2Jgone -> cpu"]


@pytest.mark.parametrize(
    "toy", [{"clips": {"train": 100_000, "val": 1}}, {"frames": 10_000, "height": 8192, "width": 8192}]
)
def test_a_street_that_would_fill_the_disk_is_not_drawn(tmp_path, toy):
    done = reproduce(
        make(tmp_path / "l.json", config={"data": {"toy": {**TOY, **toy}}}), "--results", "again"
    )
    assert done.returncode == 1
    assert re.search(r"error: data\.toy asks for \d+ images .*draw them with `weclick toy`", done.stderr)
    assert files_beside(tmp_path / "l.json") == set()
