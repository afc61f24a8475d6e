"""What `weclick doctor` says of people's tags."""

import pytest

from helpers.tagged_root import TaggedRoot
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
