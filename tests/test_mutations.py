"""Some hundred changed files of every kind: `benchmarks/mutations.py` with a fixed seed finds nothing bad."""

from __future__ import annotations

import json
import subprocess
import sys

COUNT = 315


def test_changed_files_are_read_rightly_or_refused(repository, tmp_path):
    command = [sys.executable, "benchmarks/mutations.py", "--count", str(COUNT), "--seed", "7"]
    ended = subprocess.run(
        [*command, "--processes", "2", "--output", str(tmp_path / "figures.json")],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    figures = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert sum(figures["total"].values()) == COUNT
    assert all(figures["total"][bad] == 0 for bad in ("foreign", "wait", "memory", "wrong"))
    assert all(counts["error"] > 0 for counts in figures["doors"].values())
    assert figures["total"]["same"] > 0, "some changes change nothing that is read"
