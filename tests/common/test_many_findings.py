"""Findings of one kind become one line."""

from weclick.common.findings import many


def test_a_fault_that_several_frames_share_is_told_once():
    assert many("error", "labels", ["a.json: cut"] * 3, "").found == "1 fault: a.json: cut"
    assert many("error", "labels", ["a", "b", "a"], "").found == "2 faults: a; b"


def test_of_many_faults_the_first_five_are_named():
    found = many("error", "labels", [*"abcdefg", "a"], "").found
    assert found == "7 faults: a; b; c; d; e; and 2 more"
