"""People's clicks from a table or a log, and the digest of a log that grows."""

from __future__ import annotations

import uuid

import pytest

from weclick.common.content import ChangedFileError
from weclick.manifest.click_log import append_events
from weclick.manifest.people import Origin, people_digest, read_people


def event(number: int, **more):
    return {
        "id": str(uuid.UUID(int=number)),
        "time": "2026-11-28T10:00:00Z",
        "clip": "a",
        "frame": "00003",
        "y": number,
        "x": 5,
        "class": "car",
        "source": "ghost",
        "who": "anna",
        "tool": "weclick click",
        **more,
    }


def test_a_log_and_a_table_tell_the_same(tmp_path):
    append_events(tmp_path / "clicks.jsonl", [event(7)])
    (tmp_path / "clicks.csv").write_text(
        "clip,frame,y,x,class,who,source,tool\na,00003,7,5,car,anna,ghost,weclick click\n"
    )
    logged, listed = (read_people(tmp_path / name)[0] for name in ("clicks.jsonl", "clicks.csv"))
    assert logged.where == f"click {uuid.UUID(int=7)}"
    assert listed.where == "line 2"
    for name in ("clip", "frame", "y", "x", "class_name", "origin"):
        assert getattr(logged, name) == getattr(listed, name)
    assert logged.origin == Origin("ghost", "anna", "weclick click")


def test_a_table_that_tells_no_origin_is_of_people(tmp_path):
    (tmp_path / "clicks.csv").write_text(
        "clip,frame,y,x,class,source\na,3,7,5,car,IMG_0001.jpg\na,3,9,5,1,\n"
    )
    assert [click.origin for click in read_people(tmp_path / "clicks.csv")] == [Origin(), Origin()]


def test_people_may_go_on_clicking_while_a_run_is_on(tmp_path):
    log = tmp_path / "clicks.jsonl"
    append_events(log, [event(1)])
    digest = people_digest(log)
    append_events(log, [event(2), {"id": str(uuid.UUID(int=9)), "undo": str(uuid.UUID(int=1)), "time": "t"}])
    assert [click.y for click in read_people(log, digest)] == ["1"]
    assert [click.y for click in read_people(log, people_digest(log))] == ["2"]
    log.write_bytes(log.read_bytes().replace(b'"y": 1', b'"y": 8'))
    with pytest.raises(ChangedFileError, match="changed since its digest was taken"):
        read_people(log, digest)


def test_a_scribble_comes_with_its_points(tmp_path):
    scribble = event(1, points=[[1, 2], [3, 4]])
    del scribble["y"], scribble["x"]
    append_events(tmp_path / "clicks.jsonl", [scribble])
    (click,) = read_people(tmp_path / "clicks.jsonl")
    assert click.points == ((1, 2), (3, 4))
