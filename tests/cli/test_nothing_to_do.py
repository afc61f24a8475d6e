"""A job that finds all its entries in the store loads no torch: it takes seconds and hundreds of MiB.

The store is that of `tests/store/test_store_of_before.py`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.places import TESTS

BEFORE = TESTS / "data" / "store_0_1"
MOST_MIB = 150
VERB = """
import sys
from pathlib import Path
from weclick.cli import main
sys.argv[0] = "weclick"
try:
    main()
finally:
    print(*(name for name in ("torch", "tensorstore", "zarr") if name in sys.modules))
    status = Path("/proc/self/status").read_text().splitlines()
    print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs a verb in a process of its own; gives what it said on stdout."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "data").symlink_to(BEFORE / "data")
    environment = {
        **os.environ,
        "WECLICK_CACHE": os.pathsep.join([str(BEFORE / "store"), str(folder / "store")]),
    }

    def verb(*words: str) -> list[str]:
        command = [sys.executable, "-c", VERB, words[0], "--config", str(BEFORE / "config.yaml"), *words[1:]]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    verb("manifest", "--split", "train", "--output", "manifest/train/0.json")
    verb.folder = folder
    return verb


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
@pytest.mark.parametrize("stage", ["frames", "flow", "soft-labels"])
def test_a_job_with_nothing_to_do_loads_no_torch(run, stage):
    made_by = []
    if stage == "soft-labels":
        (teacher,) = (
            path.parent / "model.safetensors"
            for path in BEFORE.glob("store/models/v1/*/*/entry.json")
            if json.loads(path.read_text(encoding="utf-8"))["attributes"]["role"] == "teacher"
        )
        made_by = ["--teacher", str(teacher)]
    *_, loaded, peak_kib = run(
        stage, "--manifest", "manifest/train/0.json", *made_by, "--output", f"{stage}/train/0.json"
    )
    cost = json.loads((run.folder / stage / "train" / "0.cost.jsonl").read_text(encoding="utf-8"))
    assert (cost["found"], cost["made"]) == (2, 0)
    assert loaded == ""
    assert int(peak_kib) < MOST_MIB * 1024
