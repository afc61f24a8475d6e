"""What `gpu.py` starts: processes with a limit of seconds, and the GPU tests; what packages they need."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

GRACE_S = 10
"""What a process gets to end by itself: pytest then still writes its report."""

LAST_LINES = 20
ERROR = re.compile(r"[\w.]*(Error|Exception|Exit|Interrupt)\b.*")

PACKAGES = {
    "PIL": "pillow",
    "cc3d": "connected-components-3d",
    "cv2": "opencv-python-headless",
    "google_crc32c": "google-crc32c",
    "h5py": "h5py",
    "jsonschema": "jsonschema",
    "lightning_fabric": "lightning-fabric",
    "numpy": "numpy",
    "pycocotools": "pycocotools",
    "pytest": "pytest",
    "rich": "rich",
    "safetensors": "safetensors",
    "scipy": "scipy",
    "skimage": "scikit-image",
    "tensorboard": "tensorboard",
    "tensorstore": "tensorstore",
    "torch": "torch",
    "torchvision": "torchvision",
    "typer": "typer",
    "yaml": "pyyaml",
    "zarr": "zarr",
}
"""Module -> the package that brings it, of all that some part needs."""


def missing(modules: Sequence[str]) -> list[str]:
    """Packages of modules that are not installed."""
    return [PACKAGES[module] for module in modules if find_spec(module) is None]


def without(packages: Sequence[str]) -> str:
    """What is missing, and what to do."""
    one = "is" if len(packages) == 1 else "are"
    return f"{', '.join(packages)} {one} not installed; pip install -e '.[gpu,test]' brings all"


def run_within(
    command: Sequence[str | Path], limit_s: float, root: Path, log: Path, *, grace_s: float = GRACE_S
) -> tuple[int | None, list[str]]:
    """Run a process and all that it starts; what runs past the limit is ended.

    Args:
        command: of Python, without it.
        limit_s: seconds.
        root: of the checkout. Python finds its packages there.
        log: gets what it prints.
        grace_s: seconds from the request to end until it is killed.

    Returns:
        Its exit status, None if it was ended, and its last lines.
    """
    path = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path}
    environment.setdefault("GOMP_SPINCOUNT", "10000")  # as the verbs set it
    with log.open("wb") as said:
        child = subprocess.Popen(
            [sys.executable, *command],
            cwd=root,
            env=environment,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = child.wait(limit_s)
        except subprocess.TimeoutExpired:
            status = None
            child.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                child.wait(grace_s)
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return status, [line for line in lines if line.strip()][-LAST_LINES:]


def error_of(last_lines: Sequence[str]) -> str:
    """The line that names the error: an exception's, whose text may go on, or else the last one."""
    named = [line for line in last_lines if ERROR.match(line)]
    return [*last_lines[-1:], *named[-1:]][-1] if last_lines else "it said nothing"


def tests_command(root: Path, report: Path, small: bool) -> list[str | Path]:
    """Pytest on the files that have GPU tests, or on one of them; it writes a JUnit report."""
    files = sorted(
        path
        for path in (root / "tests").rglob("test_*.py")
        if "pytest.mark.gpu" in path.read_text(encoding="utf-8")
    )
    words = ["-m", "pytest", "-o", "addopts=", "-m", "gpu", "-p", "no:cacheprovider"]
    words += ["--continue-on-collection-errors", f"--junit-xml={report}"]
    if find_spec("xdist") and not small:
        words += ["-n", "4", "--dist", "loadfile"]
    return [*words, *(files[:1] if small else files)]


def tests_found(report: Path, last_lines: Sequence[str], complete: bool) -> dict[str, Any]:
    """Numbers of tests by outcome, those that did not pass and why, and a claim.

    Args:
        report: of JUnit. A test at which pytest was interrupted stands there as one that passed.
        last_lines: of pytest, which counts those that passed.
        complete: pytest was not interrupted.
    """
    outcomes = {"failure": "failed", "error": "failed", "skipped": "skipped"}
    not_passed = []
    for case in ElementTree.parse(report).iter("testcase"):
        ended = next((part for part in case if part.tag in outcomes), None)
        if ended is not None:
            why = (ended.get("message") or ended.text or "").strip().splitlines()
            test = f"{case.get('classname')}::{case.get('name')}"
            outcome = outcomes[ended.tag]
            not_passed.append({"outcome": outcome, "test": test, "why": why[0] if why else ""})
    counts = Counter(each["outcome"] for each in not_passed)
    failed, skipped = counts["failed"], counts["skipped"]
    told = re.search(r"(\d+) passed", last_lines[-1] if last_lines else "")
    passed = int(told[1]) if told else 0
    says = f"tests marked gpu that failed; {passed} passed, {skipped} were skipped"
    measured = failed if complete or failed else None
    claim = {"claim": says, "measured": measured, "limit": None, "asked": 0, "at_least": False}
    numbers = {"passed": passed, "failed": failed, "skipped": skipped}
    return {**numbers, "not_passed": not_passed, "claims": [claim]}
