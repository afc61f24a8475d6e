"""`weclick compare`: runs side by side, what differs between them, and what makes that unfair."""

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from helpers.report_run import Run, make_run
from weclick.cli import app
from weclick.common.config import complete_config
from weclick.common.errors import InputError
from weclick.runs.report import write_comparison
from weclick.runs.report.compare import differences
from weclick.runs.report.figures import RUNS


@dataclass(frozen=True)
class Two:
    """Two results folders beside each other: `results` and `longer`."""

    root: Path

    def edit(self, name: str, **changes) -> None:
        path = self.root / "longer" / name
        path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}))

    def page(self, *runs: str) -> str:
        out = self.root / "compare.html"
        write_comparison(
            out, runs=[str(self.root / run) for run in runs or ("results", "longer=twice as long")]
        )
        return out.read_text(encoding="utf-8")

    def text(self) -> str:
        page = self.page().replace("<wbr>", "")
        return re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL))


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    """A run with its page; not to be changed."""
    run = make_run(tmp_path_factory.mktemp("run"))
    run.page()
    shutil.move(run.folder.parent / "report.json", run.folder / "report.json")
    return run


@pytest.fixture
def two(tmp_path, run) -> Two:
    for name in ("results", "longer"):
        shutil.copytree(run.folder, tmp_path / name)
    two = Two(tmp_path)
    student = {**run.config["student"], "steps": 180000}
    two.edit("report.json", config={**run.config, "student": student, "results": "longer"})
    two.edit(
        "evaluation/metrics.json", miou=0.6001, per_class_iou={"road": 0.7, "car": 0.9, "lamp <b>": None}
    )
    return two


def test_scores_stand_side_by_side_and_the_best_is_marked(two):
    assert "mIoU, % 58.3 60.0" in two.text()
    page = two.page()
    row = page[page.index("mIoU, %</th>") :].split("</tr>")[0]
    assert row.count("best") == 1
    assert 'class="number best">60.0' in row
    equal = page[page.index("Class accuracy, %</th>") :].split("</tr>")[0]
    assert "best" not in equal


def test_classes_stand_side_by_side(two):
    assert "road 80.0 70.0 car 58.3 90.0 lamp &lt;b&gt; – –" in two.text()


def test_what_differs_is_told_and_nothing_else(two):
    text = two.text()
    table = text[text.index("What differs in the configurations") : text.index("Intersection over union")]
    assert "student.steps 90000 180000" in table
    assert "seed" not in table
    assert "results" not in table.replace("results twice as long", "")


def test_differences_have_a_dash_where_a_run_has_no_such_option():
    first, second = complete_config({}), complete_config({"seed": 1, "cache": {"roots": ["elsewhere"]}})
    first["flow"]["options"] = {"preset": "fast"}
    assert differences({"a": first, "b": second}) == [
        ("seed", ["0", "1"]),
        ("flow.options.preset", ["fast", "–"]),
        ("flow.options", ["–", "{}"]),
    ]


def test_pictures_of_a_run_from_elsewhere_stay_in_its_folder(two):
    metrics = json.loads((two.root / "longer/evaluation/metrics.json").read_text(encoding="utf-8"))
    outside = [{**item, "student": "../../../etc/hostname"} for item in metrics["examples"]]
    two.edit("evaluation/metrics.json", examples=outside)
    with pytest.raises(InputError, match=r"names the picture '\.\./\.\./.*, which leads out of its folder"):
        two.page()


def test_frames_truth_and_every_run_are_pictured(two):
    page = two.page()
    alts = re.findall('<img[^>]*alt="([^"]*)"', page)
    assert len(alts) == 4
    assert sum("True classes" in alt for alt in alts) == 1
    assert any("twice as long sees" in alt for alt in alts)
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert page.count("<svg") == 4  # mIoU and loss, student and teacher
    assert RUNS[1] in page[page.index("<svg") :]


def test_without_the_data_set_predictions_are_still_shown(two):
    for name in ("results", "longer"):
        manifest = two.root / name / "manifest" / "val" / "0.json"
        manifest.write_text(
            re.sub(r'"root": "[^"]*"', '"root": "moved/away"', manifest.read_text(encoding="utf-8"))
        )
    assert len(re.findall("<img", two.page())) == 2


def test_runs_scored_on_other_frames_are_warned_of(two):
    assert "do not compare" not in two.page()
    manifest = two.root / "longer" / "manifest" / "val" / "0.json"
    manifest.write_text(
        re.sub('"digest": "[^"]*"', f'"digest": "{"0" * 64}"', manifest.read_text(encoding="utf-8"), count=1)
    )
    assert "twice as long is scored on other frames than results: do not compare their scores" in two.page()


def test_labels_are_folders_with_the_folder_above_where_names_are_alike(two):
    (two.root / "deep").mkdir()
    shutil.copytree(two.root / "results", two.root / "deep" / "results")
    page = two.page("results", "deep/results", "longer")
    title = re.search("<title>(.*?)</title>", page)
    assert title
    assert title[1] == f"{two.root.name}/results · deep/results · longer · weclick"


@pytest.mark.parametrize(
    ("runs", "error"),
    [
        (["results"], "1 runs are given, expected 2 to 8"),
        (["results"] * 9, "9 runs are given"),
        (["results=a", "longer=a"], "two runs have the label a; give labels: FOLDER=LABEL"),
    ],
)
def test_runs_that_cannot_be_told_apart_are_refused(two, runs, error):
    with pytest.raises(ValueError, match=error):
        two.page(*runs)


def test_a_folder_without_a_report_is_named(two):
    (two.root / "longer" / "report.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"longer/report.json: .*run the stage report first"):
        two.page()


def test_the_verb_writes_the_page(two):
    out = two.root / "there.html"
    done = CliRunner().invoke(
        app, ["compare", str(two.root / "results"), f"{two.root / 'longer'}=b", "--output", str(out)]
    )
    assert done.exit_code == 0, done.output
    assert "2 runs" in out.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "told"), [("{", "cannot be read as JSON"), ("{}", "'config' is a required")]
)
def test_a_card_that_is_none_is_told(two, text, told):
    (two.root / "longer/report.json").write_text(text)
    with pytest.raises(InputError, match=rf"report\.json: .*{told}.*run the report stage again"):
        two.page()


def scored_otherwise(two, text, **changes):
    """The manifest of the longer run's scored split with a text of it replaced, or values changed."""
    manifest = two.root / "longer/manifest/val/0.json"
    raw = json.loads(manifest.read_text(encoding="utf-8"))
    raw.update(changes)
    manifest.write_text(json.dumps(raw).replace(*text))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            ('"height_px": 32, "width_px": 64', '"height_px": 16, "width_px": 32'),
            "were scored at other sizes of the frames, px (results: 32 × 64; twice as long: 16 × 32)",
        ),
        (('"shrink": 1', '"shrink": 2'), "(data.shrink) (results: 1/1; twice as long: 1/2)"),
        (
            ('"scored": [0, 2]', '"scored": [0]'),
            "on other numbers of frames (results: 2 frames; twice as long: 1 frame)",
        ),
        (('"id": "street"', '"id": "lane"'), "on other clips (results: street; twice as long: lane)"),
        (
            ('"lamp <b>"', '"post"'),
            "other classes (results: road, car, lamp &lt;b&gt;; twice as long: road",
        ),
    ],
)
def test_what_cannot_be_compared_is_told_and_not_ranked(two, text, told):
    two.edit("evaluation/metrics.json", examples=[])
    assert 'class="number best"' in two.page()
    scored_otherwise(two, text)
    page = re.sub(r"&#(\d+);", lambda found: chr(int(found[1])), two.page())
    assert told in page.replace(" \u00d7 ", " × ")
    assert "do not compare their scores" in page
    assert 'class="number best"' not in page


def test_examples_of_runs_at_other_sizes_are_shown(two):
    """A run at half the size keeps predictions of half the size."""
    from PIL import Image

    for path in (two.root / "longer/evaluation/examples").iterdir():
        with Image.open(path) as image:
            image.resize((32, 16), Image.Resampling.NEAREST).save(path)
    scored_otherwise(two, ('"height_px": 32, "width_px": 64', '"height_px": 16, "width_px": 32'), shrink=2)
    assert len(re.findall("<img", two.page())) == 4


def test_speeds_on_a_busy_machine_or_another_device_are_not_ranked(two):
    busy = {"cores": 2, "threads": 1, "load_average": 7.2, "waited_share": 0.4, "busy": True}
    two.edit("evaluation/metrics.json", fps=100.0, speed=busy)
    told = "The speed of twice as long was measured on a busy machine (load 7.2 on 2 cores, waited 40 %"
    assert told in two.text()
    two.edit("evaluation/metrics.json", speed={**busy, "busy": False}, device="H100")
    assert "The runs were timed on other devices (results: cpu; twice as long: H100)" in two.text()
    page = two.page()
    assert "best" not in page[page.index("Frames per second</th>") :].split("</tr>")[0]
    assert "best" in page[page.index("mIoU, %</th>") :].split("</tr>")[0]


def test_what_a_run_is_not_scored_on_is_told(two, capsys):
    absent = {"classes": 3, "classes_scored": 1, "classes_absent": ["car", "lamp <b>"]}
    two.edit("evaluation/metrics.json", **absent, consistency_of_one_class="road", temporal_consistency=None)
    text = two.text()
    assert "twice as long is scored on 1 of 3 classes (not in the labels: car, lamp &lt;b&gt;)." in text
    assert "twice as long has no temporal consistency: every pixel compared is road" in text
    assert "Classes in the labels all 3 1 of 3 classes" in text


def test_the_verb_tells_what_is_unfair(two):
    scored_otherwise(two, ('"height_px": 32, "width_px": 64', '"height_px": 16, "width_px": 32'))
    two.edit("evaluation/metrics.json", examples=[])
    runs = [str(two.root / name) for name in ("results", "longer")]
    done = CliRunner().invoke(app, ["compare", *runs, "--output", str(two.root / "page.html")])
    assert done.exit_code == 0, done.output
    assert "warning: The runs were scored at other sizes of the frames" in done.stderr


def test_flow_that_differs_spoils_consistency_alone(two):
    config = json.loads((two.root / "longer/report.json").read_text(encoding="utf-8"))["config"]
    for name in ("results", "longer"):
        metrics = json.loads((two.root / name / "evaluation/metrics.json").read_text(encoding="utf-8"))
        metrics["temporal_consistency"] = 0.5 if name == "longer" else 0.4
        (two.root / name / "evaluation/metrics.json").write_text(json.dumps(metrics))
    two.edit("report.json", config={**config, "evaluate": {**config["evaluate"], "max_gap_frames": 9}})
    assert "temporal consistency along other flow" in two.text()
    page = two.page()
    assert "best" not in page[page.index("Temporal consistency, %</th>") :].split("</tr>")[0]
    assert "best" in page[page.index("mIoU, %</th>") :].split("</tr>")[0]
