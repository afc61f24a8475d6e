"""The page: it carries everything it shows, and says what is missing."""

import json
import re

import pytest

from helpers.report_run import Run, make_run, write_ablation, write_json
from weclick.common import words
from weclick.common.errors import InputError
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
    assert page.count("<svg") == 5  # loss, two terms, confusion, ablation


def test_ids_are_unique_and_equal_runs_give_equal_pages(whole_run, page):
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert whole_run.page() == page


def test_what_is_grey_is_told_where_there_is_truth(page):
    assert "Pixels that the truth leaves open stay grey" in page


def test_scores_are_told(page):
    page = re.sub(r"<[^>]+>", "", page)
    for told in ("58.3%", "60.0%", "66.1%", "16.61M", "128", "1 min 23 s", "25.0 %", "32 × 64"):
        assert told in page, told
    assert "nan" not in page.lower()


def test_scores_after_the_crf_are_told(run):
    assert "dense CRF" not in run.page()
    known = dict.fromkeys(("miou", "mean_accuracy", "pixel_accuracy"), 0.6234)
    crf = {"preset": "irn", "iterations": 10, "seconds_per_frame": 1.1416, **known, "per_class_iou": {}}
    run.edit("evaluation/metrics.json", crf=crf)
    page = run.page()
    assert "after a dense CRF 62.3" in page
    row = re.search(r"After a dense CRF</th>(.*?)</tr>", page, re.S)
    assert "mIoU 62.3 % (irn, 1.14 s a frame)" in row[1]
    run.edit("evaluation/metrics.json", crf={**crf, "miou": "high"})
    with pytest.raises(InputError, match=r"metrics.json"):
        run.page()


def test_scores_on_target_frames_are_told_and_what_they_say_of_the_teacher(run):
    path = run.folder / "evaluation" / "metrics.json"
    evaluation = json.loads(path.read_text(encoding="utf-8"))
    before = run.page()
    assert "target frames</th>" not in before
    assert "nothing more to give" not in before

    def on_targets(miou):
        known = dict.fromkeys(("miou", "mean_accuracy", "pixel_accuracy"), miou)
        return {"on_targets": {**known, "per_class_iou": {}, "frames": 3, "clips": 1}}

    for own, taught, warned in ((0.61, 0.62, False), (0.62, 0.61, True)):
        teacher = {**evaluation["teacher"], **on_targets(taught)}
        write_json(path, {**evaluation, **on_targets(own), "teacher": teacher})
        page = run.page()
        row = page[page.index("mIoU on target frames</th>") :].split("</tr>")[0]
        assert f"{100 * own:.1f} %" in row
        assert f"{100 * taught:.1f} %" in row
        told = "The teacher is no better than the student on the frames that both learned from"
        assert (told in page) == warned
        assert ("take a larger teacher, or train it longer." in page) == warned


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
    evaluation = json.loads((run.folder / "evaluation" / "metrics.json").read_text(encoding="utf-8"))
    del evaluation["teacher"], evaluation["examples"][0]["teacher"]
    write_json(run.folder / "evaluation" / "metrics.json", evaluation)
    page = run.page()
    assert "No clip has a neighbour in reach" in page
    assert "memory-flow distillation had nothing to compare" in page
    assert "This run has no teacher" in page
    assert "Teacher mIoU" not in page
    assert 'id="ablation"' not in page


def test_what_made_the_soft_labels_is_told(run, page):
    assert "The soft labels come from the run&#39;s own teacher." in page
    section = run.config["soft_labels"]
    section.update(source="folder", folder={"path": "my/<masks>", "kind": "class_maps"})
    section["fuse"].update(neighbours=8)
    page = run.page()
    assert "come from the class maps in my/&lt;masks&gt;; those of targets are averaged with" in page
    assert "This run has no teacher" in page, "that of an earlier run lies in its folder"


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


NO_JSON = {"empty": "", "half": '{"miou": 0.5,', "deep": "[" * 100_000, "pickle": "\x80\x04\x95."}
FILES = ("evaluation/metrics.json", "student/model.json", "ablation/summary.json")
LINES = ("student/metrics.jsonl", "flow/train/0.cost.jsonl")


@pytest.mark.parametrize("text", NO_JSON)
@pytest.mark.parametrize("name", [*FILES, *LINES])
def test_a_file_that_is_no_json_is_told(run, name, text):
    (run.folder / name).parent.mkdir(exist_ok=True)
    (run.folder / name).write_text(NO_JSON[text] + "\n" * name.endswith("l"), encoding="latin-1")
    if name in LINES and text == "empty":
        (run.folder / name).write_text('{"cut\n{}\n')
    with pytest.raises(InputError, match=rf"{name}: cannot be read as JSON .*; delete it and run the"):
        run.page()


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        *((name, "[1]", "holds a list, expected an object") for name in FILES),
        ("evaluation/metrics.json", {"miou": "x"}, r"miou: 'x' is not of type 'number', 'null'"),
        ("evaluation/metrics.json", {"parameters": 10**400}, r"parameters: 1000* \.\.\. 0* is greater than"),
        ("evaluation/metrics.json", {"teacher": [1]}, "teacher: .* is not of type 'object'"),
        ("evaluation/metrics.json", {"examples": [{"clip": "a"}]}, r"examples/0: 'frame' is a required"),
        (
            "evaluation/metrics.json",
            {"per_class_iou": {"car": "x"}},
            r"per_class_iou/car: 'x' is not of type",
        ),
        (
            "evaluation/metrics.json",
            {"confusion_matrix": [[1], [1, 2]]},
            "confusion_matrix is not of 3 classes",
        ),
        ("student/model.json", {"key": "x"}, r"key: 'x' does not match"),
        ("student/model.json", {"options": [1]}, r"options: \[1\] is not of type 'object'"),
        ("student/metrics.jsonl", '{"loss": 1}', r"metrics\.jsonl/0: 'step' is a required"),
        ("student/metrics.jsonl", '{"step": 1, "loss": "x"}', r"metrics\.jsonl/0/loss: 'x' is not of type"),
        ("flow/train/0.cost.jsonl", "3", r"cost\.jsonl/0: 3 is not of type 'object'"),
        (
            "ablation/summary.json",
            '{"seeds": [], "variants": [1]}',
            r"variants: \[1\] is not of type 'object'",
        ),
    ],
)
def test_a_file_of_other_content_is_told(run, name, text, told):
    if isinstance(text, dict):
        run.edit(name, **text)
    else:
        (run.folder / name).parent.mkdir(exist_ok=True)
        (run.folder / name).write_text(text + "\n")
    with pytest.raises(InputError, match=rf"{name}: .*{told}.*run the"):
        run.page()


@pytest.mark.parametrize("name", ["../../secret.png", "/tmp/secret.png"])
def test_pictures_from_elsewhere_are_not_shown(run, name):
    run.edit("evaluation/metrics.json", examples=[{"clip": "street", "frame": "00002", "student": name}])
    with pytest.raises(InputError, match=r"metrics\.json: names the picture .* leads out of its folder"):
        run.page()


def test_limits_of_the_scores_are_told(run):
    busy = {"cores": 2, "threads": 1, "load_average": 7.2, "waited_share": 0.4, "busy": True}
    run.edit(
        "evaluation/metrics.json",
        classes=3,
        classes_scored=1,
        classes_absent=["car", "lamp <b>"],
        temporal_consistency=None,
        consistency_of_one_class="road",
        speed=busy,
    )
    page = run.page()
    assert "Scored on 1 of 3 classes (not in the labels: car, lamp &lt;b&gt;)." in page
    assert "every pixel compared is road, and one class alone always agrees with itself" in page
    assert "cpu, measured on a busy machine (load 7.2 on 2 cores" in page


def test_unknown_figures_may_be_null_or_nan_everywhere(run):
    for unknown in (None, float("nan")):
        lines = [{"step": 1, "loss": unknown, "terms": {"mfd": unknown}, "data_wait_share": unknown}]
        lines.append({"step": 2, "validation": {"miou": unknown}})
        for role in ("student", "teacher"):
            text = "".join(json.dumps(line) + "\n" for line in lines)
            (run.folder / role / "metrics.jsonl").write_text(text, encoding="utf-8")
        unknowns = dict.fromkeys(("miou", "mean_accuracy", "pixel_accuracy", "temporal_consistency"), unknown)
        run.edit("evaluation/metrics.json", **unknowns, per_class_iou={"road": unknown})
        score = {"mean": unknown, "spread": unknown, "values": [unknown]}
        write_json(
            run.folder / "ablation/summary.json", {"seeds": [0], "variants": {"weakly": {"miou": score}}}
        )
        page = run.page()
        assert f'<dd class="value">{words.DASH}</dd>' in page
        assert "nan" not in re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL).lower().split()


def test_scores_in_training_are_drawn_once_there_are_several(run):
    for steps in ((4,), (2, 4)):
        lines = [{"step": step, "validation": {"miou": 0.5}} for step in steps]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (run.folder / "student" / "metrics.jsonl").write_text(text, encoding="utf-8")
        page = run.page()
        assert ("mIoU in validation" in page) == (len(steps) > 1)
        assert ("not scored during training" in page) == (len(steps) == 1)


def words_of(run, **config):
    page = Run(run.folder, run.config | config, run.store).page()
    return " ".join(re.sub(r"<[^>]+>", "", page).split())


def test_it_says_what_the_networks_learned_from(run):
    budget = {**run.config["annotation"], "minutes": 5.0}
    told = words_of(run)
    assert "Learned from 2 clicks on 1 frame, scored" in told
    assert "Nothing else is labelled in training." in told
    assert "limited to" not in told
    told = words_of(run, supervision="masks")
    assert "Learned from the masks of 1 frame, scored" in told
    assert "The networks learn from the masks of 1 frame, not from clicks." in told
    assert "Learned from the masks of 1 frame, scored" in words_of(run, supervision="both")
    told = words_of(run, supervision="masks", annotation=budget)
    assert "The annotation is limited to 5 minutes, of which 2.6 are used. Assumed are 2.4 s for the" in told
    assert "Bearman et al. 2016" in told
    told = words_of(run, annotation=budget)
    assert "of which 0.1 are used" in told
