"""`benchmarks/gpu.py` tried on a CPU: all parts at tiny sizes, and what it says when something is missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest
import torch
from torch import nn

TRY = ("--device", "cpu", "--small", "--seconds", "1500")
WITHOUT_ZARR = """
from importlib.machinery import PathFinder
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *given: None if name.split(".")[0] == "zarr" else find(name, *given)
"""
STUBBORN = """
import signal, subprocess, sys
signal.signal(signal.SIGINT, lambda *_: print("asked to end", flush=True))
tick = "import sys, time\\nwhile True: open(sys.argv[1], 'a').write('.'); time.sleep(0.1)"
child = subprocess.Popen([sys.executable, "-c", tick, sys.argv[1]])
print("begun", flush=True)
while True:
    signal.pause()
"""
THREE_TESTS = """
import pytest
def test_that_passes(): pass
def test_that_fails(): assert 1 == 2, "one is not two"
@pytest.mark.skip(reason="nobody wants it")
def test_that_is_skipped(): pass
"""


@pytest.fixture
def run(repository):
    """Runs the script as a shell does."""

    def call(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "benchmarks/gpu.py", *map(str, words)]
        given = {**os.environ, **environment}
        return subprocess.run(command, cwd=repository, env=given, capture_output=True, text=True, check=False)

    return call


@pytest.fixture
def script(repository, monkeypatch):
    """The script's modules can be imported."""
    monkeypatch.syspath_prepend(repository / "benchmarks")


@pytest.mark.slow
def test_all_parts_run_on_a_cpu_and_need_only_the_packages_that_they_name(run, script, tmp_path):
    from gpu import BASE, PARTS
    from gpu_runs import PACKAGES

    done = run(*TRY, "--output", tmp_path / "gpu.json")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert {name: part["status"] for name, part in report["parts"].items()} == dict.fromkeys(
        (part.name for part in PARTS), "measured"
    )
    assert list(dict.fromkeys(line["part"] for line in report["claims"])) == [part.name for part in PARTS]
    assert all(line["holds"] is None for line in report["claims"]), "tiny sizes say nothing"
    asked = {(line["part"], line["asked"]) for line in report["claims"] if line["asked"] is not None}
    promised = {("tests", 0), ("flow", 25), ("soft_labels", 0.9), ("data_wait", 0.03), ("losses", 0.03)}
    assert asked == promised
    for part in PARTS[2:]:
        named = {PACKAGES[module] for module in (*BASE, *part.needs)}
        assert set(report["parts"][part.name]["versions"]) <= named, part.name
    assert report["parts"]["tests"]["skipped"] > 0 or torch.cuda.is_available()
    limits = {line["part"] for line in report["claims"] if line["limit"]}
    assert {"flow", "soft_labels", "losses", "students"} <= limits
    assert report["machine"]["device"] == "cpu"
    assert "data_wait: measured after" in done.stderr


def test_a_part_that_fails_is_told_and_the_others_go_on(run, tmp_path):
    words = ("--only", "soft_labels", "components", "--folder", tmp_path / "absent")
    done = run(*TRY, *words, "--output", tmp_path / "gpu.json")
    assert done.returncode == 1
    parts = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))["parts"]
    assert [part["status"] for part in parts.values()] == ["measured", "failed", "measured"]
    assert parts["soft_labels"]["why"].startswith("FileNotFoundError: ")
    assert str(tmp_path / "absent") in parts["soft_labels"]["why"]
    assert len(parts["soft_labels"]["last_lines"]) > 1
    assert f"soft_labels: failed after {parts['soft_labels']['seconds']} s: FileNotFound" in done.stderr


def test_a_part_whose_package_is_missing_is_left_out(run, repository, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_ZARR, encoding="utf-8")
    path = os.pathsep.join((str(tmp_path), str(repository)))
    output = tmp_path / "gpu.json"
    done = run(*TRY, "--only", "soft_labels", "--output", output, PYTHONPATH=path)
    assert done.returncode == 1
    assert "soft_labels: left out, zarr is not installed; pip install" in done.stderr
    part = json.loads(output.read_text(encoding="utf-8"))["parts"]["soft_labels"]
    assert part["status"] == "left out"
    assert part["why"].startswith("zarr is not installed")


def test_parts_for_which_no_time_is_left_are_told(run, tmp_path):
    done = run("--device", "cpu", "--small", "--seconds", 15, "--output", tmp_path / "gpu.json")
    assert done.returncode == 1
    parts = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))["parts"]
    assert {part["status"] for part in parts.values()} == {"left out"}
    assert parts["flow"]["why"] == "15 s of 15 s were left"


def test_without_a_gpu_it_ends_with_one_line(run, repository):
    before = (repository / "benchmarks/results/gpu.json").exists()
    done = run(CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("gpu.py: error: torch")
    assert "finds no CUDA device" in line
    assert "--device cpu --small" in line
    assert (repository / "benchmarks/results/gpu.json").exists() == before


def test_the_plan_fits_into_eight_minutes_and_needs_no_gpu(run, script):
    from gpu import PARTS

    done = run("--plan", CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 0
    *lines, whole = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == [part.name for part in PARTS]
    assert int(whole.split()[-2]) <= 8 * 60


def test_a_process_that_takes_too_long_is_ended_with_all_that_it_started(script, repository, tmp_path):
    from gpu_runs import run_within

    (tmp_path / "stubborn.py").write_text(STUBBORN, encoding="utf-8")
    ticks = tmp_path / "ticks"
    command = [tmp_path / "stubborn.py", ticks]
    status, last_lines = run_within(command, 5, repository, tmp_path / "log", grace_s=1)
    assert status is None
    assert last_lines == ["begun", "asked to end"]
    written = ticks.stat().st_size
    assert written > 0
    time.sleep(1)
    assert ticks.stat().st_size == written


def test_errors_are_told_by_their_own_line(script):
    from gpu_runs import error_of

    lines = [
        "Traceback (most recent call last):",
        "  raise it",
        "torch.AcceleratorError: CUDA error: bad",
        "Hint",
    ]
    assert error_of(lines) == "torch.AcceleratorError: CUDA error: bad"
    assert error_of(["it ended"]) == "it ended"
    assert error_of([]) == "it said nothing"


def test_outcomes_of_tests_are_counted_with_their_reasons(script, tmp_path):
    from gpu_runs import run_within
    from gpu_runs import tests_found as found_in

    (tmp_path / "test_three.py").write_text(THREE_TESTS, encoding="utf-8")
    report = tmp_path / "report"
    words = ["-m", "pytest", "-p", "no:cacheprovider", f"--junit-xml={report}", "test_three.py"]
    status, last_lines = run_within(words, 60, tmp_path, tmp_path / "log")
    assert status == 1
    found = found_in(report, last_lines, complete=True)
    assert [found[outcome] for outcome in ("passed", "failed", "skipped")] == [1, 1, 1]
    failed, skipped = found["not_passed"]
    assert failed["test"] == "test_three::test_that_fails"
    assert "one is not two" in failed["why"]
    assert (skipped["outcome"], skipped["why"]) == ("skipped", "nobody wants it")
    assert found["claims"][0]["measured"] == 1


@pytest.mark.slow  # it waits, and pytest takes its time to begin on a busy machine
def test_tests_that_are_cut_short_keep_their_report_and_claim_nothing(script, tmp_path):
    from gpu_runs import run_within
    from gpu_runs import tests_found as found_in

    long = "import time\ndef test_quick(): pass\ndef test_long(): time.sleep(60)\n"
    (tmp_path / "test_long.py").write_text(long, encoding="utf-8")
    report = tmp_path / "report"
    words = ["-m", "pytest", "-p", "no:cacheprovider", f"--junit-xml={report}", "test_long.py"]
    status, last_lines = run_within(words, 30, tmp_path, tmp_path / "log")
    assert status is None
    found = found_in(report, last_lines, complete=False)
    assert [found[outcome] for outcome in ("passed", "failed", "skipped")] == [1, 0, 0]
    assert found["claims"][0]["measured"] is None


def test_a_limit_is_the_larger_of_arithmetic_and_moving(script):
    from gpu_limits import cost_of

    cost = cost_of(nn.Conv2d(3, 8, 3, padding=1, bias=False), (4, 6))
    assert cost.flops == 2 * (3 * 9) * 8 * (4 * 6)
    assert cost.values == 3 * 8 * 9 + (3 + 8) * 4 * 6
    assert cost.limit({"bf16_flops": cost.flops, "copy_bytes": 1e9}, "bf16") == pytest.approx(1)
    moving = {"bf16_flops": 1e12, "copy_bytes": 2 * cost.values / 3}
    assert cost.limit(moving, "bf16") == pytest.approx(1 / 3)
    assert cost.limit({}, "bf16") is None
