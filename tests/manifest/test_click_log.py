"""The log of clicks: what is acknowledged is there once, whoever is killed, whoever else writes."""

import json
import os
import signal
import subprocess
import sys
import time
from uuid import UUID, uuid4

import pytest

from weclick.common.content import ChangedFileError
from weclick.common.errors import DiskFullError, InputError, MissingFileError, NotPlainFileError
from weclick.manifest import click_log
from weclick.manifest.click_event import LINE_BYTES, SCRIBBLE_POINTS
from weclick.manifest.click_log import ClickLog, append_events, read_click_log


def click(number=1, **change):
    event = {
        "id": str(UUID(int=number)),
        "time": "2026-11-28T10:00:00.123Z",
        "clip": "IMG_0001",
        "frame": "000012",
        "y": 100,
        "x": 200,
        "class": "car",
        "source": "human",
        "who": "anna",
        "tool": "weclick click 0.1.0",
    }
    return event | change


def undo(number, of):
    return {
        "id": str(UUID(int=number)),
        "time": "2026-11-28T10:00:01Z",
        "undo": str(UUID(int=of)),
        "who": "anna",
    }


def numbers(path):
    return [UUID(each.id).int for each in read_click_log(path)]


@pytest.fixture
def log(tmp_path):
    return tmp_path / "clicks.jsonl"


def test_a_click_comes_back_as_it_was_told(log):
    assert append_events(log, [click(clip="grün", **{"class": "Straße"})]) == 1
    (found,) = read_click_log(log)
    assert (found.clip, found.frame, found.class_name) == ("grün", "000012", "Straße")
    assert (found.y, found.x, found.points) == (100, 200, ())
    assert (found.source, found.who, found.tool) == ("human", "anna", "weclick click 0.1.0")
    assert (found.id, found.time) == (str(UUID(int=1)), "2026-11-28T10:00:00.123Z")
    assert "grün" in log.read_text(encoding="utf-8")


def test_a_scribble_has_its_points_and_begins_at_the_first(log):
    event = click(points=[[5, 6], [7, 8], [9, 9]])
    del event["y"], event["x"]
    append_events(log, [event])
    (found,) = read_click_log(log)
    assert found.points == ((5, 6), (7, 8), (9, 9))
    assert (found.y, found.x) == (5, 6)


def test_an_id_counts_once_within_a_call_and_across_calls(log):
    assert append_events(log, [click(1), click(1, x=7), click(2)]) == 2
    assert append_events(log, [click(2, x=9), click(3)]) == 1
    assert append_events(log, [click(3)]) == 0
    assert numbers(log) == [1, 2, 3]
    assert len(log.read_text().splitlines()) == 3
    log.write_text(log.read_text() + json.dumps(click(1, x=99)) + "\n")  # two logs, put together by hand
    assert [each.x for each in read_click_log(log)] == [200, 200, 200]


def test_an_undone_click_is_left_out_and_stays_written(log):
    append_events(log, [click(1), click(2), undo(3, of=1), undo(4, of=77)])
    assert numbers(log) == [2]
    assert len(log.read_text().splitlines()) == 4


@pytest.mark.parametrize("cut", [1, 20, 150])
def test_a_torn_last_line_costs_itself_alone(log, cut):
    append_events(log, [click(1), click(2)])
    log.write_bytes(log.read_bytes()[: -1 - cut])
    assert numbers(log) == [1]
    assert append_events(log, [click(3)]) == 1
    assert numbers(log) == [1, 3]
    assert append_events(log, [click(2)]) == 1  # whoever was not told sends it again
    assert numbers(log) == [1, 3, 2]


def test_a_last_line_that_lacks_only_its_newline_counts(log):
    append_events(log, [click(1)])
    log.write_bytes(log.read_bytes()[:-1])
    assert numbers(log) == [1]
    assert append_events(log, [click(1), click(2)]) == 1
    assert numbers(log) == [1, 2]
    assert log.read_bytes().count(b"\n") == 2


def test_a_line_torn_within_a_letter_costs_itself_alone(log):
    append_events(log, [click(1), click(2, who="Zoë")])
    content = log.read_bytes()
    log.write_bytes(content[: content.rindex("ë".encode()) + 1])
    append_events(log, [click(3)])
    assert numbers(log) == [1, 3]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("nonsense", "line 2"),
        ("[1]", "expected an object"),
        (json.dumps(click(2, y=-1)), "its place is"),
        (json.dumps(click(2, x=1.5)), "its place is"),
        (json.dumps(click(2, x=True)), "its place is"),
        (json.dumps(click(2, x=2**40)), "its place is"),
        (json.dumps(click(2, id="one")), "UUID"),
        (json.dumps(click(2, source="guess")), "human, import, ghost"),
        (json.dumps(click(2, frame=12)), "its frame is 12"),
        (json.dumps(click(2, clip="")), "no clip"),
        (json.dumps(click(2, clip="a\nb")), "its clip is"),
        (json.dumps({k: v for k, v in click(2).items() if k != "class"}), "no class"),
        (json.dumps(click(2, points=[[1, 2]])), "1 points"),
        (json.dumps(click(2, points=[[1, 2]] * (SCRIBBLE_POINTS + 1))), "2001 points"),
        (json.dumps(click(2, points="abc")), "its place is"),
        (json.dumps(click(2, points=[[1, 2], [3]])), "its place is"),
        (json.dumps(undo(2, of=1) | {"undo": 7}), "its undo is"),
        ("[" * 5000, "deeper"),
        (" " * LINE_BYTES + "{}", "bytes"),
        ("\0" * 30, "line 2"),
    ],
)
def test_a_bad_line_is_one_error_that_names_it(log, line, told):
    append_events(log, [click(1)])
    log.write_text(log.read_text() + line + "\n" + json.dumps(click(3)) + "\n")
    with pytest.raises(InputError, match="line 2: is no line of a log of clicks") as error:
        read_click_log(log)
    assert told in str(error.value)
    before = log.read_bytes()
    with pytest.raises(InputError, match="line 2"):
        append_events(log, [click(4)])
    assert log.read_bytes() == before


def test_a_bad_event_is_refused_before_anything_is_written(log):
    with pytest.raises(InputError, match="cannot be written down"):
        append_events(log, [click(1), click(2, y="7")])
    assert not log.exists()
    with pytest.raises(InputError, match="65536 bytes"):
        append_events(log, [click(1, note="n" * LINE_BYTES)])


def test_empty_lines_and_unknown_keys_do_not_count(log):
    log.write_text("\n" + json.dumps(click(1, colour="red")) + "\n\n")
    assert numbers(log) == [1]


def test_a_reader_follows_others_and_a_replaced_file(log, tmp_path):
    follower = ClickLog(log)
    follower.read_on()
    assert follower.events == []
    append_events(log, [click(1)])
    follower.read_on()
    append_events(log, [click(2)])
    assert [event["id"] for event in follower.append([click(3)])] == [str(UUID(int=3))]
    assert [UUID(event["id"]).int for event in follower.events] == [1, 2, 3]
    assert [UUID(each.id).int for each in follower.clicks()] == [1, 2, 3]
    other = tmp_path / "other.jsonl"
    append_events(other, [click(9)])
    other.replace(log)
    follower.read_on()
    assert [UUID(each.id).int for each in follower.clicks()] == [9]
    log.unlink()
    follower.read_on()
    assert follower.events == []
    append_events(log, [click(7), click(8), click(9)])  # its inode may be the old one's
    follower.read_on()
    assert [UUID(each.id).int for each in follower.clicks()] == [7, 8, 9]
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:2]))
    follower.read_on()
    assert [UUID(each.id).int for each in follower.clicks()] == [7, 8]


def test_links_missing_files_and_other_content_are_refused(log, tmp_path):
    with pytest.raises(MissingFileError, match="no such log of clicks"):
        read_click_log(log)
    append_events(log, [click(1)])
    with pytest.raises(ChangedFileError):
        read_click_log(log, "0" * 64)
    link = tmp_path / "link.jsonl"
    link.symlink_to(log)
    with pytest.raises(NotPlainFileError):
        append_events(link, [click(2)])


def test_a_log_that_is_too_long_is_not_read(log, monkeypatch):
    append_events(log, [click(1)])
    monkeypatch.setattr(click_log, "LOG_BYTES", 100)
    for act in (lambda: read_click_log(log), lambda: append_events(log, [click(2)])):
        with pytest.raises(InputError, match="expected at most 100 B"):
            act()


def test_a_full_disk_leaves_no_half_line(log, monkeypatch):
    append_events(log, [click(1)])
    before, follower = log.read_bytes(), ClickLog(log)
    write = os.write
    monkeypatch.setattr(click_log.os, "write", lambda file, content: write(file, content[:30]))
    with pytest.raises(DiskFullError):
        follower.append([click(2)])
    assert log.read_bytes() == before
    monkeypatch.undo()
    assert len(follower.append([click(2)])) == 1
    assert numbers(log) == [1, 2]


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from uuid import uuid4
from test_click_log import click
from weclick.manifest.click_log import append_events
while True:
    event = click() | {{"id": str(uuid4())}}
    append_events(Path({log!r}), [event])
    print(event["id"], flush=True)
"""


def test_killed_writers_lose_nothing_that_was_acknowledged(log):
    program = WRITER.format(tests=os.path.dirname(__file__), log=str(log))  # noqa: PTH120
    writers = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) for _ in range(3)]
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (log.exists() and log.read_bytes().count(b"\n") > 60):
        time.sleep(0.02)
    for writer in writers:
        writer.send_signal(signal.SIGKILL)
    acknowledged = [line for writer in writers for line in writer.communicate()[0].decode().split()]
    assert len(acknowledged) > 20
    append_events(log, [click() | {"id": str(uuid4())}])
    found = [each.id for each in read_click_log(log)]
    assert set(acknowledged) <= set(found)
    assert len(found) == len(set(found)) == log.read_bytes().count(b"\n")
