"""The page of an experiment holds every arm, seed, interval, cost and setting."""

import re
from html import unescape

import pytest

from helpers.experiment_summary import ARMS, MIOU, make_summary
from weclick.common import words
from weclick.runs.experiment.page import interval, write_page


def page_of(tmp_path, summary) -> str:
    write_page(tmp_path / "report.html", summary)
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def text_of(page: str) -> str:
    bare = re.sub(r"<style>.*?</style>|<svg.*?</svg>|<[^>]+>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", unescape(bare))


@pytest.fixture
def page(tmp_path) -> str:
    return page_of(tmp_path, make_summary())


def test_a_reader_finds_all_of_it(page):
    text = text_of(page)
    for told in (
        *("invented", "Do soft labels pay?", "Chosen on target frames.", "davis", "streets"),
        "56 clicks on 28 target frames of 5 clips (train); scored on 247 frames of 5 clips (val) at 160",
        "best is kd: mIoU on the target frames is clicks 64.0, kd 75.0.",
        "kd − clicks_same_time best − the better of clicks and clicks_same_time",
        "The settings of clicks, for as many steps as fit the wall time of kd.",
        "21.0 s 20.0 s to 22.0 s",
        *("1 min 40 s", "3.0 MiB", "150 to 170", "2026-01-31", "0123456789ab", "a <fast> one", "torch"),
        *("seed 0", "seed 1", "seed 2", "snakemake experiment"),
    ):
        assert told in text, told
    for arm, values in MIOU.items():
        row = page[page.index(f'<th scope="row">{arm}</th>') :].split("</tr>")[0]
        assert re.findall(r'number">([^<]+)<', row) == [words.percent(value) for value in values]
        assert text.count(ARMS[arm]["description"]) >= 2


def test_intervals_and_differences(page):
    text = text_of(page)
    assert "65.0 62.5 to 67.5 1.0 75.0 70.0" in text, (
        "mean, interval, spread, on targets, class accuracy of kd"
    )
    assert "+11.0 +2.0 to +20.0 gains" in text
    assert page.count("<svg") == 4


def test_it_is_one_file(page):
    assert not re.search(r"(src|href)=\"(?!#|data:)", page)
    assert "<script" not in page


def test_what_is_not_known_is_a_dash(tmp_path):
    summary = make_summary()
    summary["seeds"] = [0]
    for data in summary["results"].values():
        for figures in data["arms"].values():
            for score in figures.values():
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
