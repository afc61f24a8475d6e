"""The last lines of a run: its scores and where its page lies, or what it trained."""

import subprocess
import sys
from pathlib import Path

import pytest

from weclick.common.errors import InputError
from weclick.common.strict_json import strict_json
from weclick.runs.last_lines import failures, last_lines
from weclick.runs.layout import Layout

FIGURES = {
    **{"miou": 0.583, "mean_accuracy": 0.7, "temporal_consistency": 0.9, "classes": 2},
    **{"classes_scored": 2, "classes_absent": [], "fps": 31.4, "device": "cpu", "speed": None},
}
FOUND = {
    "instances": {"AP50": 0.5, "AP": 0.25, "temporal_consistency": None, "video": {}},
    **{"fps": 2.5, "device": "cpu", "speed": None},
}


def scored(folder: Path, metrics) -> Layout:
    layout = Layout(folder)
    layout.scores.parent.mkdir(parents=True, exist_ok=True)
    layout.scores.write_text(strict_json(metrics), encoding="utf-8")
    return layout


def test_the_scores_stand_before_the_page(tmp_path):
    layout = scored(tmp_path, {**FIGURES, "teacher": {**FIGURES, "miou": 0.62}})
    page = tmp_path / "report.html"
    student, teacher, report = last_lines(layout, {page, layout.scores, layout.weights("student")})
    assert student.startswith("student: mIoU 58.3 %")
    assert teacher.startswith("teacher: mIoU 62.0 %")
    assert report == f"report: {page}"
    (alone,) = last_lines(scored(tmp_path, FIGURES), {layout.scores})
    assert alone == student, "snakemake evaluate"


def test_a_detector_tells_its_own_scores(tmp_path):
    layout = scored(tmp_path, FOUND)
    told = last_lines(layout, {layout.scores, tmp_path / "report.html"})
    assert told[0] == "detector: AP50 50.0 %, AP 25.0 %, 2.5 frames/s on cpu"


def test_an_experiment_tells_its_page_alone(tmp_path):
    layout = scored(tmp_path, FIGURES)
    page = layout.experiment("davis") / "report.html"
    assert last_lines(layout, {layout.scores, page}) == [f"report: {page}"]


def test_where_nothing_is_scored_the_networks_are_told(tmp_path):
    layout = Layout(tmp_path)
    student = layout.weights("student")
    assert last_lines(layout, {student, layout.card("student")}) == [f"network: {student}"]
    assert last_lines(layout, {tmp_path / "flow/train/0.json"}) == []


def test_damaged_scores_are_an_error_that_names_the_file(tmp_path):
    layout = scored(tmp_path, FIGURES)
    layout.scores.write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"metrics\.json: cannot be read.*run the evaluate stage again"):
        last_lines(layout, {layout.scores})


def test_a_workflow_says_them_without_loading_torch():
    code = "import sys, weclick.runs.last_lines; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_error_of_a_job_that_failed_is_told_again_at_the_end(tmp_path):
    log, begins = tmp_path / "teacher.log", "2026-01-01 00:00:00 [7] begins: weclick teacher"
    hint, ends = (
        "weclick: WECLICK_TRACEBACK=1 shows where in the code",
        "2026-01-01 00:00:09 [7] ends after 9 s",
    )
    said = [
        begins,
        "weclick: error: old",
        hint,
        ends,
        begins,
        "a line",
        "weclick: error: x:",
        "  a",
        hint,
        ends,
    ]
    log.write_text("\n".join(said) + "\n", encoding="utf-8")
    written = log.stat().st_mtime
    logs = [log, tmp_path / "student.log"]
    assert failures(logs, written - 1) == ["error: x:\n  a", f"log: {log}"]
    assert failures(logs, written + 1) == [], "it is of an earlier run"
    log.write_text("\n".join([*said, begins, "a line", ends]) + "\n", encoding="utf-8")
    assert failures(logs, written - 1) == [], "the job has succeeded since"
