"""Names of files and texts are read in UTF-8 under every locale."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from helpers.places import ROOT

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""An encoding that is not UTF-8, and that every machine has."""


def utf8(name: str) -> str:
    """How this process, whatever its locale, spells a name that is on disk in UTF-8."""
    return os.fsdecode(name.encode())


def run(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    path = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env={**environment, "PATH": path}, capture_output=True
    )


@pytest.fixture
def folder(tmp_path) -> Path:
    """A data set with a clip and a folder whose names are not ASCII."""
    for kind in ("frames", "labels"):
        for clip in ("Schöner Schwan", "val"):
            clip_folder = tmp_path / utf8("dätä") / kind / utf8(clip)
            clip_folder.mkdir(parents=True)
            Image.new("RGB" if kind == "frames" else "L", (64, 48)).save(clip_folder / "0.png")
    (tmp_path / utf8("dätä") / "classes.yaml").write_text(
        "classes: [{name: Straße, color: [1, 2, 3]}]", encoding="utf-8"
    )
    text = "data: {name: folder, root: dätä, val_clips: [val]}"
    (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "weclick").write_text("from weclick.cli import main\nmain()\n", encoding="utf-8")
    return tmp_path


def test_a_manifest_is_the_same_under_every_locale(folder):
    as_script, as_module = ["weclick"], ["-m", "weclick"]
    runs = {
        "utf8": (as_script, {"PYTHONUTF8": "1"}),
        "ascii": (as_script, ASCII),
        "module": (as_module, ASCII),
    }
    for name, (start, environment) in runs.items():
        words = ("manifest", "--config", "c.yaml", "--split", "train", "--output", f"{name}/0.json")
        done = run(folder, *start, *words, **environment)
        assert done.returncode == 0, done.stderr.decode()
    made = [(folder / name / "0.json").read_bytes() for name in runs]
    assert made[0] == made[1] == made[2]
    assert [clip["id"] for clip in json.loads(made[0])["clips"]] == ["Schöner Schwan"]


def test_the_digest_of_code_is_the_same_under_every_locale(tmp_path):
    code = "from weclick.common.code_digest import code_digest as c; print(c('weclick.train.stage'))"
    utf8, ascii_ = (run(tmp_path, "-c", code, **env).stdout for env in ({"PYTHONUTF8": "1"}, ASCII))
    assert utf8 == ascii_ != b""


def test_snakemake_says_what_to_set(folder):
    words = ("-m", "snakemake", "-n", "manifest", "--cores", "1", "--snakefile", str(ROOT / "Snakefile"))
    done = run(folder, *words, "--configfile", "c.yaml", **ASCII)
    assert done.returncode == 1
    assert b"set the environment variable PYTHONUTF8=1, and run again" in done.stdout + done.stderr
    done = run(folder, *words, "--configfile", "c.yaml", **{**ASCII, "PYTHONUTF8": "1"})
    assert done.returncode == 0, done.stderr.decode()
