"""How busy the machine is while something is timed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from weclick.common.load import busy_words, watched_load

SPIN = "import time\nuntil = time.monotonic() + {}\nwhile time.monotonic() < until: pass"


def spin(rounds=20_000_000):
    total = 0
    for i in range(rounds):
        total += i
    return total


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="the system does not tell waiting")
def test_a_core_that_is_shared_is_found_out():
    """This process and three others on one core: it waits for most of the time."""
    allowed = os.sched_getaffinity(0)
    core = {min(allowed)}
    os.sched_setaffinity(0, core)
    try:
        others = [subprocess.Popen([sys.executable, "-c", SPIN.format(30)]) for _ in range(3)]
        try:
            with watched_load(1) as load:
                spin()
        finally:
            for other in others:
                other.kill()
                other.wait()
    finally:
        os.sched_setaffinity(0, allowed)
    assert load["waited_share"] > 0.3
    assert load["busy"]
    assert busy_words(load).startswith("measured on a busy machine (load")
    assert "% of the time for a core" in busy_words(load)


def test_words_are_for_busy_machines_alone():
    quiet = {"cores": 2, "threads": 1, "load_average": 0.3, "waited_share": 0.01, "busy": False}
    assert busy_words(quiet) == busy_words(None) == ""
    busy = {**quiet, "load_average": 7.25, "waited_share": None, "busy": True}
    assert busy_words(busy) == "measured on a busy machine (load 7.2 on 2 cores)"


def test_what_was_seen_is_recorded():
    with watched_load(4) as load:
        pass
    assert load.keys() == {"cores", "threads", "load_average", "waited_share", "busy"}
    assert (load["cores"], load["threads"]) == (os.cpu_count(), 4)
