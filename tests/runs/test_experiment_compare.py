"""`weclick compare` of experiments: arms side by side where they were scored on the same frames."""

import json
import re
from html import unescape

import pytest
from typer.testing import CliRunner

from helpers.experiment_summary import make_summary
from weclick.cli import app
from weclick.common.errors import InputError
from weclick.runs.experiment.compare import write_experiments


@pytest.fixture
def two(tmp_path):
    """A folder of an experiment, and the copy of another one's summary."""
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "summary.json").write_text(json.dumps(make_summary()))
    (tmp_path / "second.json").write_text(json.dumps(make_summary("other", shift=0.05)))
    return tmp_path


def text_of(path) -> str:
    page = path.read_text(encoding="utf-8")
    bare = re.sub(r"<style>.*?</style>|<svg.*?</svg>|<[^>]+>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", unescape(bare))


def test_arms_of_several_experiments_stand_side_by_side(two):
    warnings = write_experiments(two / "x.html", [str(two / "first"), f"{two / 'second.json'}=shifted"])
    text = text_of(two / "x.html")
    assert warnings == []
    assert "2 experiments first Do soft labels pay? shifted Do soft labels pay?" in text
    assert "kd soft labels first, davis 65.0 62.5 to 67.5 3 75.0" in text
    assert "kd soft labels shifted, davis 70.0 67.5 to 72.5 3 80.0" in text
    assert "kd soft labels shifted, streets 50.0 47.5 to 52.5 3 60.0" in text
    assert "kd: shifted, davis − first, davis +5.0 +5.0 to +5.0 3" in text
    assert "clicks_same_time: shifted, streets − first, streets +5.0 +5.0 to +5.0 2" in text
    assert "streets − first, davis" not in text
    assert (two / "x.html").read_text(encoding="utf-8").count("<figure") == 2, "one for each data set"


def test_data_sets_that_are_scored_on_the_same_frames_share_a_table(two):
    for name in ("first/summary.json", "second.json"):
        summary = make_summary(scored="ee" * 32)
        (two / name).write_text(json.dumps(summary))
    write_experiments(two / "x.html", [str(two / "first"), f"{two / 'second.json'}=second"])
    page = (two / "x.html").read_text(encoding="utf-8")
    assert page.count("<figure") == 1
    assert len(re.findall(r"second, streets: kd", page)) == 1, "every arm has a row of its own in the plot"
    assert "streets − first, davis" not in text_of(two / "x.html")


def test_arms_that_were_scored_on_other_frames_are_apart(two):
    other = make_summary("other", scored="cd" * 32)
    del other["results"]["streets"]
    (two / "second.json").write_text(json.dumps(other))
    warnings = write_experiments(two / "x.html", [str(two / "first"), str(two / "second.json")])
    assert warnings == [
        "The experiments are not all scored on the same frames: each table below is for itself."
    ]
    page = (two / "x.html").read_text(encoding="utf-8")
    assert page.count("<figure") == 3
    assert "seed by seed" not in page


def test_what_sets_experiments_apart_is_told(two):
    summary = make_summary("other")
    summary["origin"] |= {"machine": {"processor": "other"}, "training_code": "ef" * 32}
    summary["seeds"] = [0, 1, 7]
    summary["arms"]["clicks"]["change"] = {"kd": {"weight": 0.0}, "student": {"steps": 20}}
    summary["config"]["student"]["steps"] = 777
    (two / "second.json").write_text(json.dumps(summary))
    warnings = write_experiments(two / "x.html", [str(two / "first"), str(two / "second.json")])
    assert [warning.split(":")[0] for warning in warnings] == [
        "The experiments were summed up on other machines",
        "The experiments were trained with other code",
        "clicks is not the same arm in first and second.json",
        "The experiments have other seeds (first",
    ]
    assert warnings[2].endswith(": they differ in mfd.weight, student.steps.")
    text = text_of(two / "x.html")
    assert "student.steps" in text
    assert "777" in text
    assert re.search(r"kd: second.json, davis − first, davis \S+ \S+ to \S+ 2", text), "two seeds are in both"


def test_a_label_is_drawn_as_it_is_written(two):
    """matplotlib reads dollars as mathematics, which most texts between them are not."""
    write_experiments(two / "x.html", [f"{two / 'first'}=$5_$", f"{two / 'second.json'}=$_{{<b>$"])
    charts = "".join(re.findall("<svg.*?</svg>", (two / "x.html").read_text(encoding="utf-8"), re.DOTALL))
    assert "$5_$, davis: kd" in unescape(charts)
    assert "$_{<b>$, davis: kd" in unescape(charts)


def test_a_run_among_experiments_is_told(two):
    (two / "run").mkdir()
    with pytest.raises(
        InputError, match=r"run: is no experiment, but others of the list are; compare runs with"
    ):
        write_experiments(two / "x.html", [str(two / "first"), str(two / "run")])


def test_the_verb_takes_experiments(two):
    given = ["compare", str(two / "first"), str(two / "second.json"), "--output", str(two / "x.html")]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, done.output
    assert "2 experiments" in text_of(two / "x.html")
