"""Progress without a terminal: long work tells a line now and then, short work tells nothing."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from helpers.training import run
from weclick.common import progress
from weclick.common.progress import LINE_EVERY_S, progress_bar


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "monotonic", clock)
    return clock


def test_work_of_less_than_half_a_minute_says_nothing(clock, capsys):
    with progress_bar("frames train/0", 100, "frames") as bar:
        for _ in range(100):
            clock.now += (LINE_EVERY_S - 0.1) / 100
            bar.advance()
            bar.say("almost there")
    assert capsys.readouterr().err == ""


def test_long_work_tells_done_rate_and_time_left_every_half_minute(clock, capsys):
    with progress_bar("frames train/0", 1500, "frames") as bar:
        for _ in range(100):
            clock.now += 1
            bar.advance(12)
    assert capsys.readouterr().err.splitlines() == [
        "frames train/0: 360 of 1,500 frames (24 %), 12 frames/s, 1 min 35 s left",
        "frames train/0: 720 of 1,500 frames (48 %), 12 frames/s, 1 min 05 s left",
        "frames train/0: 1,080 of 1,500 frames (72 %), 12 frames/s, 35.0 s left",
    ]


def test_what_was_done_before_counts_for_the_share_and_not_for_the_rate(clock, capsys):
    with progress_bar("train student", 1000, "steps", done=500) as bar:
        bar.say("loss 0.532")
        clock.now += 50
        bar.advance(10)
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "train student: 510 of 1,000 steps (51 %), 0.2 steps/s, 40 min 50 s left, loss 0.532"


def test_without_a_total_only_what_is_done_is_told(clock, capsys):
    with progress_bar("predict rtsp://yard", None, "frames") as bar:
        clock.now += 40
        bar.advance(1000)
    assert capsys.readouterr().err == "predict rtsp://yard: 1,000 frames, 25 frames/s\n"


def test_a_long_wait_tells_what_it_waits_for(clock, capsys):
    with progress_bar("flow", 3, "pairs") as bar:
        clock.now += 40
        bar.say("waiting for host b")
    assert capsys.readouterr().err == "flow: 0 of 3 pairs (0 %), 0 pairs/s, waiting for host b\n"


def test_threads_lose_no_count(monkeypatch, capsys):
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    with progress_bar("digests", 4000, "files") as bar, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: bar.advance(), range(4000)))
    lines = capsys.readouterr().err.splitlines()
    counts = [int(re.match(r"digests: ([\d,]+) of 4,000 files", line)[1].replace(",", "")) for line in lines]
    assert counts == list(range(1, 4001))


def test_of_the_processes_of_a_training_the_first_one_tells(clock, monkeypatch, capsys):
    for rank, told in (("0", 1), ("1", 0)):
        monkeypatch.setenv("LOCAL_RANK", rank)
        with progress_bar("train student", 10, "steps") as bar:
            clock.now += 31
            bar.advance()
        assert len(capsys.readouterr().err.splitlines()) == told


def test_a_training_tells_its_steps_and_its_loss(street, tmp_path, monkeypatch, capsys):
    run(street, tmp_path / "student")
    assert "train student" not in capsys.readouterr().err
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    run(street, tmp_path / "again" / "student")
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("train student: ")]
    assert lines[0].startswith("train student: 1 of 5 steps (20 %), ")
    assert re.fullmatch(
        r"train student: 5 of 5 steps \(100 %\), \S+ steps/s, loss \d\.\d+ .* bwd \d+.* %", lines[-1]
    )
