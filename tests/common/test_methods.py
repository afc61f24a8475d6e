"""The method: what it resolves, what it refuses, and what stages see of it."""

import json

import pytest

from weclick.common.config import (
    ConfigError,
    changed_config,
    complete_config,
    load_config,
    select,
)
from weclick.common.config_checks import check_serves, check_stacks


@pytest.mark.parametrize(
    ("given", "serves", "supervision"),
    [
        ({}, ["weclick"], "clicks"),
        ({"supervision": None, "serves": None}, ["weclick"], "clicks"),
        ({"method": "f2f"}, ["f2f"], "proxies"),
        ({"method": "f2f", "supervision": "proxies"}, ["f2f"], "proxies"),
        ({"supervision": "proxies"}, ["weclick"], "proxies"),
        ({"method": "two_stream"}, ["two_stream"], "tags"),
        ({"supervision": "tags"}, ["two_stream"], "tags"),
        ({"method": "maskconsist"}, ["maskconsist"], "tags"),
        ({"serves": ["maskconsist", "f2f", "weclick", "f2f"]}, ["weclick", "f2f", "maskconsist"], "clicks"),
    ],
)
def test_what_null_stands_for(given, serves, supervision):
    complete = complete_config(given)
    assert (complete["serves"], complete["supervision"]) == (serves, supervision)
    assert complete_config(complete) == complete


def test_f2f_learns_from_proxy_labels_alone():
    with pytest.raises(
        ConfigError, match=r"supervision is 'masks', but method f2f learns from proxies; leave"
    ):
        complete_config({"method": "f2f", "supervision": "masks"})
    with pytest.raises(ConfigError, match="method: 'fnord' is not one of"):
        complete_config({"method": "fnord"})
    with pytest.raises(ConfigError, match="serves"):
        complete_config({"serves": []})


def test_the_method_has_to_be_served():
    check_serves(complete_config({"serves": ["weclick", "f2f"], "method": "f2f"}))
    with pytest.raises(
        ConfigError, match=r"method is 'f2f', but serves is \[weclick\]; set serves: \[weclick, f2f\]"
    ):
        check_serves(complete_config({"serves": ["weclick"], "method": "f2f"}))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"student": {"architecture": "two_stream"}},
            r"student\.architecture is 'two_stream', but method is 'weclick', whose flow holds no stacks",
        ),
        (
            {"method": "two_stream", "student": {"online": {"teacher": "a.safetensors"}}},
            "method two_stream distils from none; set it null",
        ),
        (
            {"method": "two_stream", "tag_loss": {"weight": 0}, "heatmap_loss": {"weight": 0}},
            r"tag_loss\.weight and heatmap_loss\.weight are 0; set one of them",
        ),
    ],
)
def test_a_network_that_looks_at_flow_needs_its_method(given, message):
    with pytest.raises(ConfigError, match=message):
        check_stacks(complete_config(given))


def test_two_streams_learn_from_tags_alone():
    check_stacks(complete_config({"method": "two_stream", "student": {"architecture": "two_stream"}}))
    check_stacks(complete_config({"method": "two_stream"}))
    for wrong in (
        {"method": "two_stream", "supervision": "clicks"},
        {"method": "f2f", "supervision": "tags"},
    ):
        with pytest.raises(ConfigError, match="supervision is"):
            complete_config(wrong)


def test_a_student_sees_what_its_method_reads():
    ours = select(complete_config({"method": "two_stream"}), "student")
    assert ours["flow"] == {"motion": "raw"}
    assert {"stack", "tag_loss", "heatmap_loss"} <= ours.keys()
    assert select(load_config(json.dumps(ours)), "student") == ours
    for method in ("weclick", "f2f"):
        seen = select(complete_config({"method": method}), "student")
        assert not {"stack", "flow", "tag_loss", "heatmap_loss"} & seen.keys()


def test_a_change_of_the_method_decides_anew():
    clicks = complete_config({"serves": ["weclick", "f2f"]})
    changed = changed_config(clicks, {"method": "f2f"}, source="arm")
    assert (changed["serves"], changed["supervision"]) == (["weclick", "f2f"], "proxies")
    assert changed_config(complete_config({}), {"method": "f2f"}, source="arm")["serves"] == ["f2f"]
    assert changed_config(changed, {"method": "weclick"}, source="arm") == clicks
    with pytest.raises(ConfigError, match="arm: supervision is 'masks'"):
        changed_config(complete_config({"supervision": "masks"}), {"method": "f2f"}, source="arm")


def test_a_student_of_f2f_sees_no_distillation():
    ours = complete_config({"method": "f2f"})
    assert select(ours, "student")["kd"]["weight"] == select(ours, "student")["mfd"]["weight"] == 0
    other = changed_config(ours, {"kd": {"temperature": 2.0, "weight": 3.0}}, source="test")
    assert select(other, "student") == select(ours, "student"), "what it does not read reruns nothing"
    given = changed_config(ours, {"student": {"online": {"teacher": "a.safetensors"}}}, source="test")
    assert select(given, "student")["kd"]["weight"] == 1.0


def test_what_old_stages_see_stays_the_same():
    """The text by which Snakemake reruns a stage, and which a verb reads back."""
    complete = complete_config({})
    for stage in ("clicks", "frames", "masks", "teacher", "soft_labels", "student", "evaluate"):
        assert not {"method", "serves"} & select(complete, stage).keys()
    assert select(complete, "student")["supervision"] == "clicks"
    assert select(complete, "flow")["serves"] == ["weclick"]
    ours = complete_config({"method": "f2f"})
    for stage in ("manifest", "flow", "student"):
        text = json.dumps(select(ours, stage))
        assert select(load_config(text), stage) == select(ours, stage)
    part = select(ours, "student")
    assert select(part, "student") == part, "a recipe takes its part from what the verb was given"


def test_what_is_read_for_a_method_is_read_if_it_is_served():
    """So an edit of its sections reruns nothing that others need."""
    assert select(complete_config({}), "flow").keys() == {"cache", "serves", "flow", "window", "evaluate"}
    ours = select(complete_config({"method": "f2f"}), "flow")
    assert ours.keys() == {"cache", "serves", "flow", "proxy_labels", "evaluate"}
    assert ours["proxy_labels"] == {"gap_frames": 1, "target": "last"}
    both = select(complete_config({"serves": ["two_stream", "maskconsist"]}), "manifest")
    assert {"pair", "stack"} <= both.keys()
    assert "window" not in both
