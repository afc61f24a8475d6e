"""What `weclick doctor` says of people's tags."""

import pytest

from helpers.tagged_root import TaggedRoot
from weclick.common.config import complete_config
from weclick.common.findings import Finding
from weclick.runs.doctor.data import check_data


@pytest.fixture
def told(tmp_path):
    """What is said of a table with some rows, of a data set with the classes background and dog."""
    root = TaggedRoot(tmp_path)
    root.clip("park")

    def check(rows: str, **change) -> list[Finding]:
        root.write("tags.csv", f"clip,frame,class\n{rows}")
        return [found for found in check_data({**root.config("file"), **change}) if found.what == "tags"]

    return check


def test_a_table_is_read_as_the_stage_does(told):
    assert told("park,,dog\npark,001,dog\n") == [
        Finding("ok", "tags", "1 frame and 1 whole clip have tags"),
    ]
    (fault,) = told("park,,dgo\n")
    assert fault.level == "error"
    assert "tags.csv, line 2: class 'dgo' is unknown; did you mean 'dog'?" in fault.found


def test_a_class_without_a_tag_is_told_but_for_the_background(told):
    (found,) = told("park,,background\n")
    assert (found.level, found.found) == (
        "warning",
        "0 frames and 1 whole clip have tags, but none is of dog",
    )


def test_other_methods_take_no_tags(told):
    assert told("park,,dog\n", method="weclick", supervision="clicks") == []


@pytest.mark.parametrize("method", ["weclick", "f2f", "two_stream"])
def test_tags_alone_are_refused_where_networks_learn_from_clicks(tmp_path, method):
    root = TaggedRoot(tmp_path)
    root.clip("park")
    root.write("tags.csv", "clip,frame,class\npark,,dog\n")
    given = complete_config({"method": method, **{key: root.config("file")[key] for key in ("data", "tags")}})
    faults = [found for found in check_data(given) if found.level == "error"]
    assert len(faults) == (method == "weclick")
    for fault in faults:
        assert fault.found == (
            "4 of 4 targets have a tag, but neither label nor click, e.g. frame 000 of clip park; method "
            "weclick learns from clicks"
        )
    # people's clicks on some clips are enough for them, and clicks of masks leave the others to nobody
    root.clip("zoo")
    root.write("tags.csv", "clip,frame,class\npark,,dog\nzoo,,dog\n")
    root.write("clicks.csv", "clip,frame,y,x,class\npark,001,1,1,dog\npark,002,1,1,background\n")
    data = {**given["data"], "clicks": str(tmp_path / "clicks.csv"), "held_out_every": 0}
    for mix, count in (("human", 0), ("human_else_masks", method == "weclick")):
        clicked = {**given, "data": data, "clicks": {**given["clicks"], "mix": mix}}
        faults = [found.found for found in check_data(clicked) if found.level == "error"]
        assert len(faults) == count
        assert all(fault.startswith("4 of 6 targets have a tag") for fault in faults)


def test_few_clicks_are_no_matter_where_nothing_is_learned_from_them(tmp_path):
    root = TaggedRoot(tmp_path)
    root.clip("park")
    root.write("tags.csv", "clip,frame,class\npark,,dog\n")
    root.write("clicks.csv", "clip,frame,y,x,class\npark,001,1,1,dog\n")
    config = root.config("file", clicks=str(tmp_path / "clicks.csv"), held_out_every=0)
    assert not any("learns little" in found.todo for found in check_data(config))
    config = complete_config({"data": config["data"], "tags": config["tags"]})
    assert any("learns little" in found.todo for found in check_data(config))
