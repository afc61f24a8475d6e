"""Arms that differ in one key alone are a line over it."""

from xml.etree import ElementTree

import pytest

from helpers.experiment_summary import make_summary
from weclick.common.config import ConfigError, complete_config
from weclick.runs.experiment.arms import read_arms
from weclick.runs.experiment.lines import lines
from weclick.runs.experiment.page import write_page


def arm(scores: str = "student", **change) -> dict:
    return {"change": change, "scores": scores}


def budget(minutes: float, **change) -> dict:
    return arm(annotation={"minutes": minutes}, **change)


ARMS = {
    "clicks_10": budget(10),
    "clicks_2": budget(2),
    "masks_2": budget(2, supervision="masks"),
    "masks_10": budget(10, supervision="masks"),
    "teacher_2": budget(2) | {"scores": "teacher"},
    "all": arm(),
    "same_time": budget(3) | {"as": "clicks_2", "for_time_of": "masks_2"},
}


def test_arms_of_a_line_differ_in_nothing_else():
    found = lines("annotation.minutes", ARMS, {"annotation": {"minutes": None}})
    assert found == {
        "clicks": {2: "clicks_2", 10: "clicks_10"},
        "masks": {2: "masks_2", 10: "masks_10"},
        "teacher_2": {2: "teacher_2"},
    }
    assert list(found["clicks"]) == [2, 10]


def test_an_arm_that_changes_nothing_has_the_shared_value():
    assert lines("annotation.minutes", ARMS, {"annotation": {"minutes": 60}})["clicks_10"][60] == "all"


def test_lines_of_one_beginning_keep_apart():
    arms = {"a_1": budget(1), "a_2": budget(2), "a_x1": budget(1, seed=1), "a_x2": budget(2, seed=1)}
    assert list(lines("annotation.minutes", arms, {})) == ["a", "a_x"]
    arms = {"a_1": budget(1), "a_2": budget(2), "a_3": budget(1, seed=1), "a_4": budget(2, seed=1)}
    assert list(lines("annotation.minutes", arms, {})) == ["a", "a_3"]


def test_the_page_draws_them(tmp_path):
    summary = make_summary()
    write_page(tmp_path / "without.html", summary)
    write_page(tmp_path / "with.html", summary | {"over": "kd.weight"})
    without, drawn = ((tmp_path / f"{name}.html").read_text("utf-8") for name in ("without", "with"))
    assert drawn.count("<svg") == without.count("<svg") + len(summary["results"])
    files = list((tmp_path / "figures").iterdir())
    for file in files:
        image = ElementTree.parse(file).getroot()
        assert image.tag == "{http://www.w3.org/2000/svg}svg"
        assert "var(" not in file.read_text("utf-8"), "other programs know no variables"
    charts = {path.stem for path in files}
    assert charts == {
        f"{data}-{chart}" for data in summary["results"] for chart in ("arms", "differences", "over")
    }
    assert "mIoU over <code>kd.weight</code>" in drawn
    assert "mIoU over" not in without


def test_a_key_that_no_arm_changes_is_refused():
    given = {"arms": {"a": {"change": {"kd": {"weight": 0}}}}, "over": "mfd.weight"}
    section = complete_config({"experiment": given})["experiment"]
    with pytest.raises(ConfigError, match=r"experiment\.over: no arm changes 'mfd.weight'"):
        read_arms(section)
    assert read_arms({**section, "over": "kd.weight"}).keys() == {"a"}
