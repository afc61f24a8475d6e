"""Benchmarks of flow: figures by hand, on real video, and what users are told."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from helpers.places import SHARED
from weclick.cli import app
from weclick.common.errors import InputError
from weclick.evaluate.bench.flow import bench_flow, measure_truth, measure_warp
from weclick.evaluate.bench.flow_data import Truth, open_truth, open_video
from weclick.evaluate.bench.flow_table import tables
from weclick.flow import write_flo, write_kitti_flow

SHARED = SHARED / "data"
SHIFT_PX = 3
"""Everything moves so far to the right from a frame to the next."""


def needs(folder: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        not (SHARED / folder).is_dir(), reason=f"real data ({folder}) is not beside this checkout"
    )


def moving(target, neighbour):
    """The exact flow to the frame before."""
    flow = torch.zeros_like(target[:, :2], dtype=torch.float32)
    flow[:, 0] = -SHIFT_PX
    return flow


def still(target, neighbour):
    return torch.zeros_like(target[:, :2], dtype=torch.float32)


@pytest.fixture
def clip(tmp_path) -> tuple[Path, Path]:
    """Twelve frames 0.png .. 11.png of a moving texture, with labels of 4 classes and an ignored 255."""
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (24, 90, 3), np.uint8)
    label = rng.integers(0, 4, (6, 90), np.uint8).repeat(4, 0)
    label[:4] = 255
    for folder in ("frames", "labels"):
        (tmp_path / folder).mkdir()
    for t in range(12):
        left = 40 - SHIFT_PX * t
        Image.fromarray(rgb[:, left : left + 48]).save(tmp_path / "frames" / f"{t}.png")
        Image.fromarray(label[:, left : left + 48]).save(tmp_path / "labels" / f"{t}.png")
    return tmp_path / "frames", tmp_path / "labels"


def bench(*words) -> tuple[int, str, str]:
    """Exit status, what was printed, and the error."""
    done = CliRunner().invoke(app, ["flow-bench", *map(str, words)])
    return done.exit_code, done.output, str(done.exception)


class TestWarp:
    def test_the_true_flow_carries_labels_and_colours_without_loss(self, clip):
        video = open_video(*clip)
        rows = {row["mask"]: row for row in measure_warp(moving, video, 1)}
        inside = rows["photometric"]
        assert (inside["miou"], inside["photometric_error_grey_levels"]) == (1, 0)
        assert 0.9 < inside["coverage"] <= (48 - SHIFT_PX) / 48
        assert rows["none"]["coverage"] == 1
        assert rows["none"]["miou"] < 1, "what comes in at the border is not known"
        assert measure_warp(still, video, 1)[0]["miou"] < 0.5 < rows["none"]["miou"]

    def test_frames_are_in_the_order_of_their_numbers(self, clip):
        video = open_video(*clip)
        assert video.names[1:3] == ("1", "2")
        assert measure_warp(moving, video, 1)[2]["pairs"] == 11

    @pytest.mark.parametrize(("ignore", "classes"), [(255, 4), (3, 3)])
    def test_classes_follow_from_the_labels(self, clip, ignore, classes):
        for path in clip[1].iterdir() if ignore == 3 else ():
            label = np.asarray(Image.open(path))
            Image.fromarray(np.where(label == 255, 3, label).astype(np.uint8)).save(path)
        assert open_video(*clip, ignore=ignore).classes == classes

    def test_only_labelled_pairs_count(self, clip):
        for t in range(12):
            if t % 4:
                (clip[1] / f"{t}.png").unlink()
        video = open_video(*clip)
        assert video.targets(4) == [4, 8]
        with pytest.raises(InputError, match=r"12 frames, 3 with a label, .* \[1, 2\] apart; try --gap 4"):
            bench_flow(["zero"], video=video, gaps=[1, 2])
        result = bench_flow(["zero"], video=video, gaps=[1, 4])
        assert {row["gap_frames"] for row in result["table"]} == {4}

    def test_pairs_can_be_thinned(self, clip):
        video = open_video(*clip)
        assert video.targets(1, 3) == [1, 6, 11]
        assert measure_warp(still, video, 1, 3)[0]["pairs"] == 3

    def test_without_labels_there_is_no_miou(self, clip):
        result = bench_flow(["zero", "dis"], video=open_video(clip[0]), gaps=[2])
        assert {row["miou"] for row in result["table"]} == {None}
        zero, dis = (row["photometric_error_grey_levels"] for row in result["table"] if row["mask"] == "none")
        assert zero > 0 < dis
        (table,) = tables(result)
        assert "mIoU %" not in [column.header for column in table.columns]

    def test_a_video_file(self, clip, tmp_path):
        av = pytest.importorskip("av")
        with av.open(str(tmp_path / "a.mp4"), "w") as container:
            stream = container.add_stream("mpeg4", 10)
            stream.width, stream.height = 48, 24
            for t in range(5):
                image = np.asarray(Image.open(clip[0] / f"{t}.png"))
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode(None))
        (tmp_path / "marked").mkdir()
        for t in range(5):
            (clip[1] / f"{t}.png").rename(tmp_path / "marked" / f"{t:05}.png")
        rows = measure_warp(moving, open_video(tmp_path / "a.mp4", tmp_path / "marked"), 1)
        assert (rows[0]["pairs"], rows[0]["miou"] > 0.8) == (4, True)


class TestTruth:
    def write(self, folder: Path, suffix: str) -> Truth:
        """Flow (3, 4) on the left, (0, 2) in the middle, unknown on the right; the images are grey."""
        for name in ("1.png", "2.png"):
            Image.fromarray(np.full((16, 48, 3), 99, np.uint8)).save(folder / name)
        flow = np.zeros((2, 16, 48), np.float32)
        flow[:, :, :16] = np.array([3, 4], np.float32).reshape(2, 1, 1)
        flow[1, :, 16:32] = 2
        known = np.zeros((16, 48), bool)
        known[:, :32] = True
        if suffix == ".flo":
            write_flo(folder / "a.flo", np.where(known, flow, np.float32(1e10)))
        else:
            write_kitti_flow(folder / "a.png", flow, known)
        return Truth(folder / "1.png", folder / "2.png", folder / f"a{suffix}")

    @pytest.mark.parametrize("suffix", [".flo", ".png"])
    def test_figures_by_hand(self, tmp_path, suffix):
        rows = measure_truth(still, [self.write(tmp_path, suffix)])
        assert rows[0].items() >= {"mask": "none", "epe_px": 3.5, "outliers": 0.5, "coverage": 1}.items()

    def test_an_outlier_is_also_off_by_five_per_cent(self, tmp_path):
        truth = self.write(tmp_path, ".flo")
        write_flo(truth.flow, np.full((2, 16, 48), 100, np.float32))

        def near(target, neighbour):
            return still(target, neighbour) + 97

        assert measure_truth(near, [truth])[0].items() >= {"epe_px": 4.243, "outliers": 0}.items()

    def test_masks_leave_pixels_out(self, tmp_path):
        def half(target, neighbour):
            flow = still(target, neighbour)
            flow[:, 0, :, :16] = 1000
            return flow

        rows = measure_truth(half, [self.write(tmp_path, ".png")])
        assert (rows[2]["mask"], rows[2]["coverage"], rows[2]["epe_px"]) == ("photometric", 0.5, 2)
        everywhere = measure_truth(lambda a, b: still(a, b) + 1000, [self.write(tmp_path, ".png")])
        assert everywhere[2].items() >= {"coverage": 0, "epe_px": None, "outliers": None}.items()

    def test_pairs_are_matched_by_patterns_folders_and_files(self, tmp_path):
        for i in (2, 10):
            for name in (f"{i}_a.png", f"{i}_b.png", f"{i}.flo"):
                (tmp_path / name).touch()
        (pairs,) = open_truth(
            [f"{tmp_path}/*_a.png"], [f"{tmp_path}/*_b.png"], [f"{tmp_path}/*.flo"]
        ).values()
        assert [pair.flow.name for pair in pairs] == ["2.flo", "10.flo"]
        assert [pair.second.name for pair in pairs] == ["2_b.png", "10_b.png"]
        with pytest.raises(InputError, match=r"found 6 files by .*, 1 files by .*, 2 files by"):
            open_truth([str(tmp_path)], [str(tmp_path / "2_a.png")], [f"{tmp_path}/*.flo"])


class TestRealData:
    @needs("kitti2015_flow_pair")
    def test_kitti(self):
        folder = SHARED / "kitti2015_flow_pair"
        truth = open_truth(
            [str(folder / "image_2_000000_10.png")],
            [str(folder / "image_2_000000_11.png")],
            [str(folder / "flow_occ_000000_10.png")],
        )
        zero, dis = (
            row for row in bench_flow(["zero", "dis"], truth=truth)["truth"] if row["mask"] == "none"
        )
        assert zero["epe_px"] == pytest.approx(51.0, abs=0.1)
        assert dis["epe_px"] == pytest.approx(38.5, abs=2)
        assert dis["outliers"] < zero["outliers"]

    @needs("flyingchairs_gt")
    def test_flying_chairs(self):
        folder = SHARED / "flyingchairs_gt"
        truth = open_truth([f"{folder}/*_img1.png"], [f"{folder}/*_img2.png"], [f"{folder}/*.flo"])
        zero, dis = (
            row for row in bench_flow(["zero", "dis"], truth=truth)["truth"] if row["mask"] == "none"
        )
        assert zero["pairs"] == dis["pairs"] == 3
        assert zero["epe_px"] == pytest.approx(3.73, abs=0.01)
        assert dis["epe_px"] == pytest.approx(2.12, abs=0.2)

    @needs("camvid")
    def test_camvid(self):
        video = open_video(SHARED / "camvid/val", SHARED / "camvid/valannot", ignore=11)
        assert video.classes == 11
        rows = bench_flow(["zero", "dis"], video=video, gaps=[1, 4], at_most=4)["table"]
        miou = {(row["estimator"], row["gap_frames"], row["mask"]): row["miou"] for row in rows}
        assert miou["dis", 1, "none"] > miou["zero flow", 1, "none"] + 0.1
        assert miou["dis", 4, "photometric"] > miou["dis", 4, "none"] > miou["zero flow", 4, "none"] + 0.15

    @needs("camvid")
    def test_the_benchmark_writes_what_it_wrote(self, repository, tmp_path):
        words = ["--gap", "7", "--at-most", "1", "--estimator", "zero", "--output", str(tmp_path / "a.json")]
        subprocess.run([sys.executable, repository / "benchmarks/label_warp.py", *words], check=True)
        now = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
        before = json.loads(
            (repository / "benchmarks/results/label_warp_camvid_val.json").read_text(encoding="utf-8")
        )
        assert list(now) == list(before)
        for part in ("machine", "versions"):
            assert list(now[part]) == list(before[part])
        assert list(now["table"][0]) == list(before["table"][0])
        assert [row["mask"] for row in now["table"]] == [row["mask"] for row in before["table"][:4]]


class TestVerb:
    def test_it_prints_a_table_and_writes_json(self, clip, tmp_path):
        output = tmp_path / "out" / "bench.json"
        words = ["--frames", clip[0], "--labels", clip[1], "--gap", 1, "--estimator", "dis:preset=fast"]
        status, told, _ = bench(*words, "--output", output)
        assert status == 0, told
        assert "dis preset=fast" in told
        assert "mIoU %" in told
        result = json.loads(output.read_text(encoding="utf-8"))
        assert len(result["table"]) == 4
        assert result["machine"]["threads_used"] == 1
        assert "truth" not in result

    def test_help_teaches(self):
        told = CliRunner().invoke(app, ["flow-bench", "--help"], terminal_width=200).output
        assert "--labels labels/park --gap 1 --gap 4" in re.sub(r"\s+", " ", told)

    @pytest.mark.parametrize(
        ("words", "told"),
        [
            ([], "give --frames"),
            (["--labels", "{labels}"], "give --frames"),
            (["--frames", "none"], "none: is neither a folder of images nor a video"),
            (["--frames", "."], r"holds 0 frames, expected at least 2"),
            (["--frames", "{frames}", "--labels", "{frames}/.."], "holds no label images"),
            (
                ["--frames", "{frames}", "--labels", "{labels}", "--classes", "3"],
                r"0\.png: holds values \[3\]",
            ),
            (["--frames", "{frames}", "--labels", "{frames}"], r"0\.png: holds colours"),
            (["--frames", "{frames}", "--labels", "{labels}", "--ignore", "0"], "no value from 0 to -1"),
            (["--frames", "{frames}", "--gap", "12"], "hold no pair at a gap of"),
            (["--frames", "{frames}", "--estimator", "foo"], "--estimator foo: .* expected one of dis"),
            (["--frames", "{frames}", "--estimator", "dis:x=1"], "options of dis are"),
            (["--frames", "{frames}", "--estimator", "dis:fast"], "is not of the form name:option=value"),
            (["--first", "{frames}/0.png"], "--first 1 times, --second 0, --truth 0"),
            (["--first", "no*", "--second", "a", "--truth", "b"], r"--first no\*: there is no such file"),
        ],
    )
    def test_errors_say_what_to_do(self, clip, tmp_path, monkeypatch, words, told):
        monkeypatch.chdir(tmp_path)
        status, _, error = bench(*(word.format(frames=clip[0], labels=clip[1]) for word in words))
        assert status == 1
        assert re.search(told, error), error
        assert not (tmp_path / "flow_bench.json").exists()

    def test_sizes_have_to_agree(self, clip):
        Image.fromarray(np.zeros((24, 40), np.uint8)).save(clip[1] / "1.png")
        with pytest.raises(InputError, match=r"1\.png: is 24x40 px \(HxW\), but .*, frame 1 is 24x48"):
            bench_flow(["zero"], video=open_video(*clip))
        (clip[1] / "1.png").rename(clip[1] / "lost.png")
        with pytest.raises(InputError, match=r"lost\.png: is one of 1 labels without a frame"):
            open_video(*clip)
