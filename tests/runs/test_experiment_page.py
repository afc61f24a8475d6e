"""The page of an experiment holds every arm, seed, interval, cost and setting."""

import re
from html import unescape
from xml.etree import ElementTree

import pytest

from helpers.experiment_summary import ARMS, MIOU, figures, make_summary, section
from weclick.common import words
from weclick.runs.experiment.costs import cost_warnings
from weclick.runs.experiment.page import interval, write_page
from weclick.runs.experiment.settings import matrix, shown_config
from weclick.runs.experiment.statistics import estimate
from weclick.runs.experiment.summary import results
from weclick.runs.report.figures import RUNS


def page_of(tmp_path, summary) -> str:
    write_page(tmp_path / "report.html", summary)
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def text_of(page: str) -> str:
    whole = page.replace("<wbr>", "")  # a name goes on after it
    bare = re.sub(r"<style>.*?</style>|<svg.*?</svg>|<[^>]+>", " ", whole, flags=re.DOTALL)
    return re.sub(r"\s+", " ", unescape(bare))


@pytest.fixture
def page(tmp_path) -> str:
    return page_of(tmp_path, make_summary())


def test_a_reader_finds_all_of_it(page):
    text = text_of(page)
    for told in (
        *("invented", "Do soft labels pay?", "Chosen on target frames.", "davis", "streets"),
        "56 clicks on 28 target frames of 5 clips (train); scored on 247 frames of 5 clips (val) at 160",
        "best is kd, chosen by the mIoU on the target frames: clicks 64.0, kd 75.0.",
        "Its lead over the runner-up clicks is +11.0 points (95 % interval of the paired differences +2.0 to",
        "The interval leaves out 0.",
        "clicks 65.0 66.0 61.0 kd 75.0 74.0 76.0",
        "kd − clicks_same_time best − the better of clicks and clicks_same_time",
        "The clicks are made from masks",
        "People take 2.0 minutes for all of them, at 2.4 s for the first click of a class on a frame, 0.9 s",
        "All 12 trainings, teachers among them, took 2 h 05 min of wall time in sum.",
        "28 56 2 min 00 s 150 21.0 s",
        "The settings of clicks, for as many steps as fit the wall time of kd.",
        "21.0 s 20.0 s to 22.0 s",
        *("1 min 40 s", "3.0 MiB", "150 to 170", "2026-01-31", "0123456789ab", "a <fast> one", "torch"),
        *("seed 0", "seed 1", "seed 2", "snakemake experiment"),
    ):
        assert told in text, told
    for arm, values in MIOU.items():
        row = page[page.index(f'<th scope="row">{arm.replace("_", "_<wbr>")}</th>') :].split("</tr>")[0]
        assert re.findall(r'number">([^<]+)<', row) == [words.percent(value) for value in values]
        assert text.count(ARMS[arm]["description"]) >= 2


def test_intervals_and_differences(page):
    text = text_of(page)
    assert "65.0 62.5 to 67.5 1.0 75.0 72.5 to 77.5 85.0 70.0" in text, (
        "mean, interval, spread, on targets with its interval, clicks hit, class accuracy of kd"
    )
    assert "+11.0 +2.0 to +20.0 gains +11.0 +2.0 to +20.0 gains" in text, "mIoU, temporal consistency"
    assert "mIoU: verdict" in text
    assert "Temporal cons.: verdict" in text
    assert page.count("<svg") == 4


def test_a_choice_within_noise_is_told(tmp_path):
    summary = make_summary()
    found = summary["results"]["davis"]
    found["arms"]["kd"]["on_targets"] = estimate([0.60, 0.68, 0.66])
    del found["chosen"]["best"]["lead"], found["chosen"]["best"]["runner_up"], found["chosen"]["best"]["by"]
    found["chosen"]["best"]["means"] = {"clicks": 0.64, "kd": 0.6467}
    text = text_of(page_of(tmp_path, summary))
    assert "The interval contains 0: the choice is within noise, and clicks may be as good as kd." in text


def test_tables_are_numbered(page):
    numbers = [int(number) for number in re.findall(r"<caption><b>Table (\d+)\.</b> \S", page)]
    assert numbers == list(range(1, page.count("<table") + 1))


def test_only_what_differs_is_a_setting(tmp_path):
    summary = make_summary()
    weight = summary["config"]["kd"]["weight"]
    assert isinstance(weight, float)
    assert weight.is_integer()
    summary["arms"]["kd"]["change"] = {"kd": {"weight": int(weight)}, "student": {"steps": 7}}
    told = matrix(summary)
    assert told["options"] == ["kd.weight", "mfd.weight", "student.steps"]
    assert told["shared"][0] == str(int(weight))
    values = {arm["name"]: arm["values"] for arm in told["arms"]}
    assert values["kd"] == ["", "", "7"], "3 is 3.0"
    assert values["clicks"] == ["0", "0", ""]
    assert values["teacher"] == ["", "", ""]


def test_sections_that_no_arm_reads_are_left_out():
    summary = make_summary()
    assert not {"cams", "proxy_labels", "classifier", "detector"} & shown_config(summary).keys()
    assert {"data", "teacher", "student", "kd", "flow"} <= shown_config(summary).keys()
    summary["arms"]["kd"]["change"] = {"method": "f2f", "supervision": "proxies"}
    summary["config"]["serves"] = ["weclick", "f2f"]
    assert "proxy_labels" in shown_config(summary)


def test_uneven_paces_are_a_warning(tmp_path):
    summary = make_summary()
    assert not list(cost_warnings(summary["results"]["davis"]["arms"]))
    summary["results"]["davis"]["arms"]["kd"]["train_seconds"]["values"] = [20.0, 20.0, 50.0]
    page = page_of(tmp_path, summary)
    assert page.count("<strong>Do not compare these times") == 1
    assert "by a factor of up to 2.5 (kd). It is beyond 1.5 for 1 arm of 4: kd." in text_of(page)


def test_what_was_run_can_be_stood_on(page):
    assert "git checkout 0123456789ab python3.11 -m venv .venv" in text_of(page)
    assert "python -m pip install torch==2.11 python -m pip install --no-deps -e ." in text_of(page)


def test_clicks_alone_are_compared_by_the_clicks_held_out(tmp_path):
    """There is no mIoU without masks."""
    known = figures()
    for figure in known.values():
        figure["click_accuracy"], figure["miou"], figure["on_targets"] = figure["miou"], None, None
    summary = make_summary()
    summary["results"]["davis"] |= results(section(), list(ARMS), known)
    text = text_of(page_of(tmp_path, summary))
    assert "Held-out clicks hit: verdict" in text
    assert "kd soft labels 65.0 62.5 to 67.5 1.0" in text
    assert "+11.0 +2.0 to +20.0 gains" in text
    assert "best is kd, chosen by the share of the target frames' clicks that are hit" in text


def test_charts_are_drawn_by_any_program(tmp_path):
    page_of(tmp_path, make_summary())
    charts = list((tmp_path / "figures").glob("*.svg"))
    assert len(charts) == 4
    for chart in charts:
        svg = chart.read_text(encoding="utf-8")
        ElementTree.fromstring(svg)
        assert "var(" not in svg
        assert RUNS[0] in svg
    assert RUNS[1] in (tmp_path / "figures" / "davis-arms.svg").read_text(encoding="utf-8"), "teacher"


def test_it_is_one_file(page):
    assert not re.search(r"(src|href)=\"(?!#|data:)", page)
    assert "<script" not in page


def test_what_is_not_known_is_a_dash(tmp_path):
    summary = make_summary()
    summary["seeds"] = [0]
    for data in summary["results"].values():
        for known in data["arms"].values():
            for score in known.values():
                score.update(values=score["values"][:1], n=1, spread=None, low=None, high=None)
        for row in data["differences"]:
            row.update(of=None, minus=None, seeds_needed=None)
            row["miou"].update(values=[], n=0, mean=None, low=None, high=None)
    page = page_of(tmp_path, summary)
    assert "too few seeds" in page
    assert "nan" not in text_of(page).lower().split()
    assert page.count("<svg") == 2


def test_an_interval_in_words():
    assert interval({"low": 0.551, "high": 0.634}, words.percent) == "55.1 to 63.4"
    assert interval({"low": -0.011, "high": 0.02}, words.percent) == "−1.1 to 2.0"
    assert interval({"low": None, "high": None}, words.percent) == words.DASH


def test_notes_are_shown(tmp_path):
    summary = make_summary()
    summary["results"]["davis"]["notes"] = ["The arms <differ>."]
    assert '<p class="warning" role="note">The arms &lt;differ&gt;.</p>' in page_of(tmp_path, summary)


def test_long_names_break_after_an_underscore(page):
    assert '<th scope="row">clicks_<wbr>same_<wbr>time' in page
