"""The page: it carries everything it shows, and says what is missing."""

import json
import re

import pytest
from report_run import Run, make_run, write_ablation, write_json

from weclick.report import words
from weclick.store import write_index


@pytest.fixture
def run(tmp_path) -> Run:
    """A run to take things away from."""
    return make_run(tmp_path)


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory) -> Run:
    """A run with all that a page can show; not to be changed."""
    run = make_run(tmp_path_factory.mktemp("run"))
    write_ablation(run.folder)
    return run


@pytest.fixture(scope="module")
def page(whole_run) -> str:
    """Its page."""
    return whole_run.page()


def test_the_page_carries_everything_it_shows(page):
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert not re.search(r"<script|@import|https?://|url\((?!#)", page)
    assert len(page) < 1_000_000
    for anchor in ("predictions", "classes", "training", "paper", "data", "flow", "strips", "costs"):
        assert f'<section id="{anchor}">' in page
    assert all('alt="' in image for image in re.findall("<img[^>]*>", page))
    # a row of predictions, clicks, a row of flow and its wheel, a strip with its wheel and its scale
    assert page.count("<img") == 4 + 1 + (3 + 1) + (8 + 2)
    assert page.count("<svg") == 6  # loss, mIoU, two terms, confusion, ablation


def test_ids_are_unique_and_equal_runs_give_equal_pages(whole_run, page):
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert whole_run.page() == page


def test_scores_are_told(page):
    page = re.sub(r"<[^>]+>", "", page)
    for told in ("58.3%", "60.0%", "66.1%", "16.61M", "128", "1 min 23 s", "25.0 %", "32 × 64"):
        assert told in page, told
    assert "nan" not in page.lower()


def test_what_is_not_known_is_a_dash(page):
    assert re.search(rf'<dd class="value">{words.DASH}</dd>\s*<dd class="beside">teacher {words.DASH}', page)
    row = page[page.index("lamp &lt;b&gt;</th>") :].split("</tr>")[0]
    assert row.count(f'<td class="number">{words.DASH}</td>') == 3


def test_a_class_without_click_is_warned_of(page):
    assert "No click on lamp &lt;b&gt;." in page


def test_without_flow_teacher_and_ablation(run):
    for split in ("train", "val"):
        write_index(run.folder / "flow" / split / "0.json", "flow", {})
    (run.folder / "teacher" / "model.json").unlink()
    evaluation = json.loads((run.folder / "evaluation" / "metrics.json").read_text())
    del evaluation["teacher"], evaluation["examples"][0]["teacher"]
    write_json(run.folder / "evaluation" / "metrics.json", evaluation)
    page = run.page()
    assert "No clip has a neighbour in reach" in page
    assert "memory-flow distillation had nothing to compare" in page
    assert "This run has no teacher" in page
    assert "Teacher mIoU" not in page
    assert 'id="ablation"' not in page


def test_ablation_gives_mean_and_spread(page):
    assert "55.0 ± 7.1" in page
    assert "Within the spread is noise." in page


def test_masked_flow_is_counted_as_invalid(page):
    assert "median 7.1 px · 50 % valid" in page  # 1.25 px of the stride-4 grid both ways


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("manifest/val/0.json", "manifest"),
        ("clicks/train.h5", "clicks"),
        ("student/model.json", "student"),
        ("teacher/metrics.jsonl", "teacher"),
        ("student/model.safetensors", "student"),
        ("evaluation/metrics.json", "evaluate"),
        ("evaluation/examples/student.png", "evaluate"),
    ],
)
def test_a_missing_file_is_named_with_its_stage(run, name, stage):
    (run.folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{name}: .*run the stage {stage} first"):
        run.page()


def test_results_of_another_run_are_refused(run):
    run.edit("evaluation/metrics.json", examples=[{"clip": "street", "frame": "x", "student": "y.png"}])
    with pytest.raises(ValueError, match=r"metrics.json: has an example of clip 'street', frame 'x'"):
        run.page()
