"""weclick from its wheel, in an empty folder outside of any checkout: `weclick run` and `weclick init`."""

import os
import re
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from helpers.places import ROOT


@dataclass(frozen=True)
class Installed:
    """An environment of its own with the wheel; the packages that weclick needs are those of this one."""

    bin: Path

    def weclick(self, *words, cwd, status=0):
        done = subprocess.run(
            [str(self.bin / "weclick"), *words], cwd=cwd, env=self.environment, text=True, capture_output=True
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    @property
    def environment(self):
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return {**kept, "PATH": os.defpath}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    wheel = pytest.importorskip("hatchling.builders.wheel", reason="it comes with the extra [test]")
    made = tmp_path_factory.mktemp("installed")
    (path,) = wheel.WheelBuilder(str(ROOT)).build(directory=str(made), versions=["standard"])
    venv.create(made / "env", with_pip=False, symlinks=True)
    python = made / "env" / "bin" / "python"
    (own,) = (made / "env" / "lib").glob("python*/site-packages")
    (own / "others.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
    ]
    subprocess.run([*pip, "--ignore-installed", path], check=True)
    return Installed(python.parent)


def rules(told):
    """Rules that a dry run would run."""
    return set(re.findall(r"^(\w+) +\d+$", told[told.index("Job stats:") :], re.MULTILINE)) - {"total"}


def test_the_demo_is_planned_by_its_name(installed, tmp_path):
    told = installed.weclick("run", "demo", "--dry-run", cwd=tmp_path)
    assert rules(told) >= {"all", "toy", "teacher", "student", "report", "lock"}
    assert re.search(r"Snakefile: \S+/site-packages/weclick/shipped/Snakefile", told)
    assert str(ROOT) not in told
    assert "--cores all " in told
    assert {path.name for path in tmp_path.iterdir()} <= {".snakemake"}


def test_targets_further_configurations_and_options_go_to_snakemake(installed, tmp_path):
    words = ("experiment", "--with", "experiments/demo", "-n", "--cores", "1")
    told = installed.weclick("run", "demo", *words, cwd=tmp_path)
    assert "experiment_student" in rules(told)
    assert "report" not in rules(told)
    assert "--cores all" not in told


def test_names_that_nothing_has_are_told_with_those_that_are_there(installed, tmp_path):
    told = installed.weclick("run", "dmeo", cwd=tmp_path, status=1)
    assert "'dmeo' is no file, and no configuration that weclick brings; did you mean 'demo'?" in told
    assert "camvid, cityscapes" in told
    assert "experiments/demo" in told
    assert "davis_classes" not in told
    told = installed.weclick("run", "mine.yaml", cwd=tmp_path, status=1)
    assert "mine.yaml: there is no such file; `weclick init` writes" in told
    told = installed.weclick("run", "--dry-run", "demo", cwd=tmp_path, status=1)
    assert (
        "name it first and options of Snakemake after it, as in `weclick run weclick.yaml --dry-run`" in told
    )
    told = installed.weclick("run", "demo", "--configfile", "x.yaml", cwd=tmp_path, status=1)
    assert "--configfile is not passed on" in told
    assert installed.weclick("run", "demo", "no_such_rule", "-n", cwd=tmp_path, status=1).count(
        "no_such_rule"
    )


@pytest.fixture
def begun(installed, tmp_path):
    """A folder in which `weclick init` was run on clips with labels."""
    rng = np.random.default_rng(0)
    for kind, shape, high in (("frames", (64, 64, 3), 256), ("labels", (4, 4), 2)):
        for clip in ("park", "zoo"):
            folder = tmp_path / "mine" / kind / clip
            folder.mkdir(parents=True)
            for t in range(4):
                pixels = rng.integers(0, high, shape, np.uint8)
                scale = 64 // shape[0]
                Image.fromarray(pixels.repeat(scale, 0).repeat(scale, 1)).save(folder / f"{t}.png")
    installed.weclick("init", "mine", "--classes", "background,car", "--size", "small", cwd=tmp_path)
    return tmp_path


def test_a_folder_of_clips_is_begun_and_planned(installed, begun):
    text = (begun / "weclick.yaml").read_text(encoding="utf-8")
    assert "/weclick/shipped/data_schema/config.schema.json" in text
    told = installed.weclick("run", "weclick.yaml", "--dry-run", cwd=begun)
    assert rules(told) >= {"manifest_shard", "clicks", "teacher", "student", "report"}


@pytest.mark.slow
def test_paths_start_from_the_current_folder_for_jobs_too(installed, begun):
    installed.weclick("run", "weclick.yaml", "clicks", "--cores", "2", cwd=begun)
    assert (begun / "results" / "clicks" / "train.h5").stat().st_size


@pytest.mark.slow
def test_a_whole_run_ends_with_a_report_that_names_the_command(installed, tmp_path, tiny_config):
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny_config))
    installed.weclick("run", "tiny.yaml", "--cores", "2", cwd=tmp_path)
    assert "weclick run tiny.yaml --cores 2" in (tmp_path / "results" / "report.html").read_text(
        encoding="utf-8"
    )
    assert "Nothing to be done" in installed.weclick("run", "tiny.yaml", cwd=tmp_path)
