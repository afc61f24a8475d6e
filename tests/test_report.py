"""The page: it carries everything it shows, says what is missing, and draws flow as the field does."""

import colorsys
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from weclick.clicks import POINT, ClickTable, write_clicks
from weclick.config import complete_config
from weclick.flow.entries import allocate_flow, write_flow
from weclick.manifest import Classes, Clip, Frame, Manifest, write_manifest
from weclick.report import words, write_report
from weclick.report.figures import confusion_chart, curve_chart
from weclick.report.flow_color import UNKNOWN, color_wheel, flow_to_rgb, legend_scale, wheel_legend
from weclick.report.pictures import WIDTH_PX, draw_clicks, overlay
from weclick.store import Store, write_index

SIZE = H, W = 32, 64
CLASSES = Classes(("road", "car", "lamp <b>"), ((128, 64, 128), (0, 0, 142), (250, 170, 30)))
RED, GREEN = (255, 0, 0), (0, 255, 0)


@dataclass(frozen=True)
class Run:
    """A results folder as the stages leave it, and what goes with it."""

    folder: Path
    config: dict[str, Any]
    store: Store

    def page(self) -> str:
        out = self.folder.parent / "report.html"
        write_report(out, results=self.folder, config=self.config, store=self.store)
        return out.read_text()

    def edit(self, name: str, **changes) -> None:
        path = self.folder / name
        write_json(path, {**json.loads(path.read_text()), **changes})


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def write_frame(root: Path, split: str, t: int) -> Frame:
    rng, name = np.random.default_rng(t), f"{split}/{t:05d}"
    label = np.zeros(SIZE, np.uint8)
    label[8:24, 4 * t : 4 * t + 20] = 1
    label[:2] = 255
    (root / split).mkdir(exist_ok=True)
    Image.fromarray(rng.integers(0, 255, (*SIZE, 3), np.uint8)).save(root / f"{name}.jpg")
    Image.fromarray(label).save(root / f"{name}_label.png")
    return Frame(f"{t:05d}", t, f"{name}.jpg", digest=f"{split}{t}", label=f"{name}_label.png")


def make_manifest(root: Path, split: str) -> Manifest:
    frames = tuple(write_frame(root, split, t) for t in range(3))
    role = {"targets": (1,)} if split == "train" else {"scored": (0, 2)}
    clip = Clip("street", frames, **role, height_px=H, width_px=W)
    return Manifest("toy", str(root), split, 0, 1, CLASSES, (clip,))


def write_flow_entry(store: Store, manifest: Manifest) -> dict[str, str]:
    (clip,) = manifest.clips
    target, neighbour = clip.frames[1], clip.frames[0]
    inputs = {"pairs": [[target.digest, neighbour.digest]]}
    valid = np.ones((8, 16), np.uint8)
    valid[:, :8] = 0
    with store.create("flow", inputs) as entry:
        arrays = allocate_flow(entry, 1, SIZE, stride_px=4, with_masks=True)
        write_flow(arrays, 0, np.full((2, 8, 16), 1.25), valid, on_overflow="error")
        entry.attributes.update(
            {
                "pairs": [[target.name, neighbour.name]],
                "stride_px": 4,
                "masks": {"photometric": {"bit": 1}},
            }
        )
    (made,) = store.roots[0].glob("flow/v1/*/*/entry.json")
    return {clip.id: json.loads(made.read_text())["key"]}


def scores(miou: float) -> dict[str, Any]:
    return {
        "miou": miou,
        "mean_accuracy": 0.6612,
        "pixel_accuracy": 0.9,
        "per_class_iou": {"road": 0.8, "car": miou, "lamp <b>": None},
        "temporal_consistency": float("nan"),
        "parameters": 16607667,
        "fps": 128.34,
        "confusion_matrix": [[90, 10, 0, 0], [20, 80, 0, 0], [0, 0, 0, 0]],
        "frames": 2,
        "device": "cpu",
        "image_size": [H, W],
    }


def write_model(folder: Path, terms: tuple[str, ...]) -> None:
    options = {"architecture": "deeplabv3plus", "backbone": "resnet18", "num_classes": 3, "channels": 64}
    card = {"options": options, "steps": 400, "train_seconds": 83.2, "parameters": 16607667, "seed": 0}
    digests = {"kind": "models", "key": "ab" * 32, "weights_sha256": "cd" * 32}
    write_json(folder / "model.json", {**digests, **card})
    lines: list[dict[str, Any]] = [
        {
            "step": step,
            "seconds": step * 0.2,
            "lr": 0.1,
            "loss": 1 / step,
            "terms": dict.fromkeys(terms, 0.5 / step),
            "data_wait_share": 0.25,
        }
        for step in range(1, 400)
    ]
    lines.append({"step": 400, "seconds": 80, "validation": {"miou": 0.5, "per_class_iou": {}}})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text + '{"step": 401, "cut')


def write_ablation(folder: Path) -> None:
    def spread(mean, deviation):
        return {"mean": mean, "spread": deviation, "values": [0.5, None, 0.6]}

    kinds = ("miou", "mean_accuracy", "temporal_consistency", "train_seconds", "steps")
    variants = {
        "weakly": {"description": "clicks alone", **{kind: spread(0.55, 0.0707) for kind in kinds}},
        "kd": {"description": "plus soft labels", **{kind: spread(None, None) for kind in kinds}},
    }
    summary = {"seeds": [0, 1, 2], "variants": variants, "note": "Within the spread is noise."}
    write_json(folder / "ablation" / "summary.json", summary)


def make_run(root: Path) -> Run:
    folder, store = root / "results", Store([root / "store"])
    for split in ("train", "val"):
        manifest = make_manifest(root, split)
        write_manifest(manifest, folder / "manifest" / split / "0.json")
        flow = write_flow_entry(store, manifest) if split == "train" else {}
        write_index(folder / "flow" / split / "0.json", "flow", flow)
    points = np.array([(16, 12, 1, 320), (28, 60, 0, 0)], POINT)
    write_clicks(
        ClickTable("train", CLASSES.names, {("street", "00001"): points}), folder / "clicks" / "train.h5"
    )
    for role in ("student", "teacher"):
        write_model(folder / role, ("partial_cross_entropy", "gated_crf"))
        predicted = Image.fromarray(np.ones(SIZE, np.uint8))
        predicted.putpalette([channel for color in CLASSES.palette for channel in color])
        (folder / "evaluation" / "examples").mkdir(parents=True, exist_ok=True)
        predicted.save(folder / "evaluation" / "examples" / f"{role}.png")
    example = {"clip": "street", "frame": "00002", **{r: f"examples/{r}.png" for r in ("student", "teacher")}}
    evaluation = {**scores(0.5834), "teacher": scores(0.6), "examples": [example]}
    write_json(folder / "evaluation" / "metrics.json", evaluation)
    return Run(folder, complete_config({"data": {"root": str(root)}}), store)


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
    assert not re.search(r"<script|<link|@import|https?://|url\((?!#)", page)
    assert len(page) < 1_000_000
    for anchor in ("predictions", "classes", "training", "ablation", "data", "flow", "run"):
        assert f'<section id="{anchor}">' in page
    assert all('alt="' in image for image in re.findall("<img[^>]*>", page))
    assert page.count("<img") == 4 + 1 + 3 + 1  # a row of predictions, clicks, a row of flow, the wheel
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


def test_no_torch_is_loaded():
    from weclick.code_digest import imported_modules

    assert not imported_modules("weclick.report") & {"weclick.train", "weclick.flow", "weclick.metrics_log"}


def test_zero_flow_is_white():
    assert (flow_to_rgb(np.zeros((2, 3, 4)), max_px=5) == 255).all()


def test_directions_have_the_hues_of_middlebury():
    right, down, left, up = (
        colorsys.rgb_to_hsv(*(flow_to_rgb(np.array([[[dx]], [[dy]]]), max_px=1)[0, 0] / 255))[0] * 360
        for dx, dy in ((1, 0), (0, 1), (-1, 0), (0, -1))
    )
    assert right == pytest.approx(0, abs=12)
    assert down == pytest.approx(60, abs=12)
    assert left == pytest.approx(190, abs=12)
    assert up == pytest.approx(265, abs=15)


def test_length_is_saturation():
    flow = np.zeros((2, 1, 4))
    flow[0] = [[0, 1, 2, 4]]
    red, green, _ = flow_to_rgb(flow, max_px=2)[0].T.astype(int)
    assert red.tolist() == [255, 255, 255, 191]  # beyond max_px it darkens
    assert green.tolist() == [255, 128, 0, 0]


def test_unknown_flow_is_grey():
    flow = np.array([np.nan, 1, np.inf, 0]).reshape(2, 1, 2)
    assert (flow_to_rgb(flow, max_px=1)[0, 0] == round(255 * UNKNOWN)).all()


def test_flow_of_the_wrong_shape_is_refused():
    with pytest.raises(ValueError, match=r"shape \(3, 4\) .*expected shape \(2, H, W\)"):
        flow_to_rgb(np.zeros((3, 4)), max_px=1)


def test_wheel_and_its_scale():
    assert color_wheel().shape == (55, 3)
    legend = wheel_legend(64)
    assert legend[0, 0, 3] == 0
    assert legend[32, 32, 3] == 255
    assert legend_scale([np.full((2, 4, 4), 3.0), np.full((2, 1, 1), np.nan)]) == 5
    assert legend_scale([np.zeros((2, 2, 2))]) == pytest.approx(0.1)
    assert legend_scale([np.array([[[10.0]], [[0.0]]])]) == 10


def test_clicks_are_drawn_where_they_are_even_at_the_border():
    points = np.array([(0, 0, 0, 0), (H - 1, W - 1, 1, 0)], POINT)
    drawn = draw_clicks(np.zeros((*SIZE, 3), np.uint8), points, (RED, GREEN))
    scale = WIDTH_PX / W
    centre = int(0.5 * scale)
    assert drawn.shape == (round(H * scale), WIDTH_PX, 3)
    assert tuple(drawn[centre, centre]) == (255, 255, 255)
    assert tuple(drawn[centre, centre + 5]) == RED
    assert tuple(drawn[-centre, -centre - 5]) == GREEN
    assert not drawn[100, 200].any()


def test_overlay_leaves_ignored_pixels_grey():
    ids = np.full(SIZE, 255, np.uint8)
    ids[:, : W // 2] = 0
    drawn = overlay(np.full((*SIZE, 3), 100, np.uint8), ids, (RED,))
    assert tuple(drawn[0, -1]) == (100, 100, 100)
    assert drawn[0, 0, 0] > 180 > 60 > drawn[0, 0, 1]
    with pytest.raises(ValueError, match="of another run"):
        overlay(np.zeros((4, 4, 3), np.uint8), ids, (RED,))


def test_charts_stand_gaps_and_empty_rows():
    gap = {"student": ([1, 2, 3], [0.1, float("nan"), 0.3])}
    assert "var(--student)" in curve_chart(gap, name="gap", alt='a "b"')
    assert "no class" in confusion_chart(np.array([[1, 0, 1], [0, 0, 0]]), "ab", name="c", alt="c")
    assert "no class" not in confusion_chart(np.array([[1, 0, 0], [0, 0, 0]]), "ab", name="c", alt="c")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (words.percent(None), "–"),
        (words.percent(float("nan")), "–"),
        (words.points(-0.0123), "\N{MINUS SIGN}1.2"),
        (words.short_count(999_700), "1.00 M"),
        (words.short_count(230_000), "230 k"),
        (words.rate(8.412), "8.41"),
        (words.duration(3725), "1 h 02 min"),
        (words.duration(59.97), "1 min 00 s"),
        (words.spread({"mean": 0.5, "spread": None}), "50.0"),
        (words.plural(1, "click"), "1 click"),
    ],
)
def test_numbers_read_well(said, expected):
    assert said == expected
