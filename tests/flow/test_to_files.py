"""Flow as files: what is written of the store, and what the store takes from elsewhere."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from weclick.cli import app
from weclick.common.errors import InputError
from weclick.common.schemas import load_schema
from weclick.flow import (
    build_estimator,
    compute_flow,
    from_files,
    read_flo,
    read_flow,
    read_kitti_flow,
    write_flo,
    write_kitti_flow,
)
from weclick.flow.from_files import import_flow, write_wanted
from weclick.flow.to_files import export_flow, flow_path
from weclick.manifest import Clip, Manifest, write_manifest
from weclick.manifest.read import read_clip
from weclick.manifest.window import Window
from weclick.store import Store, list_entries, read_index, verify_entry, write_index
from weclick.train.data.stream import Caches, Stream

SIZE = (64, 96)


def pairs_of(clip: Clip) -> tuple[tuple[int, int], ...]:
    return tuple(
        (t, other) for t in clip.targets for other in (t + 1, t - 1) if 0 <= other < len(clip.frames)
    )


@pytest.fixture
def store(tmp_path) -> Store:
    return Store([tmp_path / "store"])


@pytest.fixture
def options(street) -> dict:
    return {**street.config["flow"], "masks": [], "stride_px": 4}


def write_flows(manifest: Manifest, folder: Path, flow_of, *, back: bool = False) -> None:
    """A .flo file for every pair; `flow_of` takes (clip, target, neighbour) and gives (2, H, W)."""
    for clip in manifest.clips:
        for pair in pairs_of(clip):
            for target, neighbour in (pair, pair[::-1]) if back else (pair,):
                names = (clip.frames[position].name for position in (target, neighbour))
                path = flow_path(folder, clip.id, *names).with_suffix(".flo")
                path.parent.mkdir(parents=True, exist_ok=True)
                write_flo(path, flow_of(clip, target, neighbour))


def smooth(clip: Clip, target: int, neighbour: int) -> np.ndarray:
    """A zoom and a shear, another for each pair."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float32)
    wave = 3 * np.sin((x + 2 * y) / 40 + target)
    return np.stack([wave + (neighbour - target) * x / 50, 2 - wave / 2 + y / 30]).astype(np.float32)


def flows(store: Store, made: dict[str, str]) -> dict[tuple[str, int], tuple[np.ndarray, np.ndarray | None]]:
    return {
        (clip, i): read_flow(store.get("flow", key), i)
        for clip, key in made.items()
        for i in range(len(store.get("flow", key).attributes["pairs"]))
    }


class TestExport:
    def test_on_the_grid_as_stored(self, street, tmp_path):
        count = export_flow(street.flow, tmp_path, store=street.store)
        files = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.flo"))
        assert len(files) == count
        for clip, key in street.flow.items():
            entry = street.store.get("flow", key)
            for i, (target, neighbour) in enumerate(entry.attributes["pairs"]):
                flow = read_flo(tmp_path / clip / f"{target}__{neighbour}.flo")
                np.testing.assert_array_equal(flow, read_flow(entry, i)[0])

    def test_kitti_holds_the_masks(self, street, tmp_path):
        clip, key = next(iter(street.flow.items()))
        export_flow(street.flow, tmp_path, store=street.store, file_format="kitti", clips=[clip])
        assert [path.name for path in tmp_path.iterdir()] == [clip]
        entry = street.store.get("flow", key)
        target, neighbour = entry.attributes["pairs"][0]
        flow, valid = read_kitti_flow(tmp_path / clip / f"{target}__{neighbour}.png")
        stored, bits = read_flow(entry, 0)
        np.testing.assert_array_equal(valid, bits == 2)
        np.testing.assert_array_equal(flow[:, valid], stored[:, valid])
        assert 0 < valid.mean() < 1

    def test_full_is_in_pixels_of_the_image(self, street, store, options, tmp_path):
        small = replace(street.train, clips=(replace(street.train.clips[0], height_px=64, width_px=96),))
        write_flows(small, tmp_path / "in", lambda *_: np.full((2, *SIZE), 6, np.float32))
        made = import_flow(small, pairs_of, tmp_path / "in", options={**options, "stride_px": 5}, store=store)
        for file_format, read in (("flo", read_flo), ("kitti", lambda path: read_kitti_flow(path)[0])):
            folder = tmp_path / file_format
            export_flow(made, folder, store=store, file_format=file_format, full=True)
            for path in folder.rglob("*.*"):
                flow = read(path)
                assert flow.shape == (2, *SIZE)
                np.testing.assert_allclose(flow, 6, atol=5 / 128)

    def test_an_unknown_clip_is_told(self, street, tmp_path):
        with pytest.raises(InputError, match="--clip 'none' is not in the index; its 2 clips are"):
            export_flow(street.flow, tmp_path, store=street.store, clips=["none"])


class TestRoundTrip:
    def test_at_stride_1_it_is_exact(self, street, store, options, tmp_path):
        options = {**options, "stride_px": 1}
        made = compute_flow(street.train, pairs_of, options=options, store=store)
        export_flow(made, tmp_path / "flow", store=store, full=True)
        back = import_flow(street.train, pairs_of, tmp_path / "flow", options=options, store=store)
        assert set(back.values()).isdisjoint(made.values())
        before, after = flows(store, made), flows(store, back)
        assert before.keys() == after.keys()
        for which, (flow, _) in before.items():
            np.testing.assert_array_equal(after[which][0], flow)

    def test_at_stride_1_files_are_kept_to_half_a_step(self, street, store, options, tmp_path):
        write_flows(street.train, tmp_path / "in", smooth)
        options = {**options, "stride_px": 1}
        made = import_flow(street.train, pairs_of, tmp_path / "in", options=options, store=store)
        export_flow(made, tmp_path / "out", store=store, full=True)
        for path in (tmp_path / "in").rglob("*.flo"):
            ours = read_flo(tmp_path / "out" / path.relative_to(tmp_path / "in"))
            assert np.abs(ours - read_flo(path)).max() <= 1 / 128

    def test_at_stride_4_a_smooth_flow_stays(self, street, store, options, tmp_path):
        write_flows(street.train, tmp_path / "in", smooth)
        made = import_flow(street.train, pairs_of, tmp_path / "in", options=options, store=store)
        export_flow(made, tmp_path / "out", store=store, full=True)
        for path in (tmp_path / "in").rglob("*.flo"):
            error = read_flo(tmp_path / "out" / path.relative_to(tmp_path / "in")) - read_flo(path)
            assert np.abs(error)[:, 2:-2, 2:-2].max() < 4 / 128 + 0.05
        again = import_flow(street.train, pairs_of, tmp_path / "out", options=options, store=store)
        before, after = flows(store, made), flows(store, again)
        for which, (flow, _) in before.items():
            error = np.abs(after[which][0] - flow)[:, 1:-1, 1:-1]
            assert error.max() <= 1 / 64 + 0.01


class TestImport:
    def test_files_of_an_estimator_give_what_the_stage_gives(self, street, store, options, tmp_path):
        options = {**options, "masks": ["forward_backward", "photometric"]}
        images = {clip.id: list(read_clip(street.train, clip)) for clip in street.train.clips}
        estimator = build_estimator("dis")

        def estimate(clip, target, neighbour):
            frames = (torch.tensor(images[clip.id][i]).permute(2, 0, 1)[None] for i in (target, neighbour))
            return estimator.estimate(*frames)[0].numpy()

        write_flows(street.train, tmp_path / "in", estimate, back=True)
        made = import_flow(street.train, pairs_of, tmp_path / "in", options=options, store=store)
        computed = compute_flow(street.train, pairs_of, options=options, store=store)
        ours, stage = flows(store, made), flows(store, computed)
        assert ours.keys() == stage.keys()
        for which, (flow, bits) in stage.items():
            np.testing.assert_array_equal(ours[which][0], flow)
            np.testing.assert_array_equal(ours[which][1], bits)
        assert {bit for _, bits in stage.values() for bit in np.unique(bits)} == {0, 1, 2, 3}

    def test_the_key_follows_from_the_files(self, street, store, options, tmp_path):
        write_flows(street.train, tmp_path / "in", smooth)

        def run():
            return import_flow(street.train, pairs_of, tmp_path / "in", options=options, store=store)

        first = run()
        assert run() == first
        changed, other = (clip.id for clip in street.train.clips)
        path = next((tmp_path / "in" / changed).iterdir())
        write_flo(path, read_flo(path) + 1)
        second = run()
        assert second[other] == first[other]
        assert second[changed] != first[changed]
        entry = store.get("flow", first[other])
        Draft202012Validator(load_schema("flow")).validate(dict(entry.attributes))
        assert entry.attributes["estimator"]["name"] == "imported"
        assert verify_entry(entry.path) == []
        assert str(tmp_path) not in (entry.path / "entry.json").read_text(encoding="utf-8")

    @pytest.mark.parametrize("ending", [".flo", ".png"])
    def test_a_file_that_changes_after_its_digest_was_taken_leaves_no_entry(
        self, street, store, options, tmp_path, monkeypatch, ending
    ):
        write_flows(street.train, tmp_path / "in", smooth)
        for path in (tmp_path / "in").rglob("*.flo") if ending == ".png" else ():
            write_kitti_flow(path.with_suffix(".png"), read_flo(path))
            path.unlink()

        def exchange(*given):
            for path in (tmp_path / "in").rglob(f"*{ending}"):
                path.write_bytes(path.read_bytes() + b"\0")
            return read_clip(*given)

        monkeypatch.setattr(from_files, "read_clip", exchange)
        with pytest.raises(InputError, match=rf"{ending}: changed since .* run this again"):
            import_flow(street.train, pairs_of, tmp_path / "in", options=options, store=store)
        assert not [*list_entries(tmp_path / "store", "flow")]

    def test_unknown_pixels_fail_every_mask_and_spoil_no_cell(self, street, store, options, tmp_path):
        (clip, *_), known = street.train.clips, np.ones(SIZE, bool)
        known[:, 2:4] = known[:, 9:12] = known[:16, :4] = False
        one = replace(street.train, clips=(clip,))
        write_flows(one, tmp_path / "in", smooth)
        for path in list((tmp_path / "in").rglob("*.flo")):
            write_kitti_flow(path.with_suffix(".png"), read_flo(path), known)
            path.unlink()
        with pytest.raises(
            InputError, match=r"\.png: knows the flow of 9\d% of its pixels only, .* flow.masks"
        ):
            import_flow(one, pairs_of, tmp_path / "in", options=options, store=store)
        options = {**options, "masks": ["photometric"]}
        made = import_flow(one, pairs_of, tmp_path / "in", options=options, store=store)
        truth = smooth(clip, *pairs_of(clip)[0]).reshape(2, 16, 4, 24, 4).mean((2, 4)) / 4
        flow, bits = read_flow(store.get("flow", made[clip.id]), 0)
        assert not bits[:, 2].any(), "three of four columns are not known"
        assert not bits[:4, 0].any()
        assert bits[:, 1].any()
        assert not flow[:, :4, 0].any(), "nothing known, nothing said"
        np.testing.assert_allclose(flow[:, 4:], truth[:, 4:], atol=0.15)

    def test_a_missing_file_is_told(self, street, store, options, tmp_path):
        write_flows(street.train, tmp_path / "in", smooth)
        masked = {**options, "masks": ["forward_backward"]}
        with pytest.raises(
            InputError, match=r"no such flow file, .*; \d+ of \d+ files .* needs the flows back"
        ):
            import_flow(street.train, pairs_of, tmp_path / "in", options=masked, store=store)
        next((tmp_path / "in").rglob("*.flo")).unlink()
        with pytest.raises(InputError, match=r"no such flow file, neither .flo nor .png; 1 of \d+ files"):
            import_flow(street.train, pairs_of, tmp_path / "in", options=options, store=store)
        assert not store.roots[0].exists()

    def test_flow_of_another_size_is_told(self, street, store, options, tmp_path):
        for size, hint in (((16, 24), "stride grid: export it with --full"), ((32, 48), "resize")):
            write_flows(street.train, tmp_path / "in", lambda *_, size=size: np.zeros((2, *size), np.float32))
            with pytest.raises(InputError, match=rf"is {size[0]}x{size[1]} px \(HxW\), .* 64x96; .*{hint}"):
                import_flow(street.train, pairs_of, tmp_path / "in", options=options, store=store)
        assert not list(store.roots[0].rglob("entry.json"))

    def test_what_does_not_fit_names_its_file(self, street, store, options, tmp_path):
        write_flows(street.train, tmp_path / "in", lambda *_: np.full((2, *SIZE), 4000, np.float32))
        with pytest.raises(InputError, match=r"\.flo: 768 flow values such as 1000.0 px do not fit"):
            import_flow(street.train, pairs_of, tmp_path / "in", options=options, store=store)

    def test_two_files_of_one_flow_are_told(self, street, store, options, tmp_path):
        write_flows(street.train, tmp_path / "in", smooth)
        path = next((tmp_path / "in").rglob("*.flo"))
        path.with_suffix(".png").touch()
        with pytest.raises(InputError, match="the same flow lies beside it as"):
            import_flow(street.train, pairs_of, tmp_path / "in", options=options, store=store)

    def test_the_table_of_what_is_wanted(self, street, tmp_path):
        count = write_wanted(street.train, pairs_of, ["forward_backward"], tmp_path / "wanted.csv")
        rows = list(csv.DictReader((tmp_path / "wanted.csv").open()))
        assert count == len(rows) == len({row["file"] for row in rows})
        clip = street.train.clips[0]
        assert rows[0]["file"] == f"{clip.id}/{clip.frames[0].name}__{clip.frames[1].name}"
        assert Path(rows[0]["first"]) == street.train.path(clip.frames[0].image)
        fewer = write_wanted(street.train, pairs_of, [], tmp_path / "wanted.csv")
        assert fewer < count


class TestVerbs:
    def run(self, *words):
        done = CliRunner().invoke(app, list(map(str, words)))
        assert done.exit_code == 0, (done.output, done.exception)
        return done.output

    def test_flow_goes_out_and_comes_back_to_train_with(self, street, tmp_path):
        write_index(tmp_path / "results/flow/train/0.json", "flow", street.flow)
        write_manifest(street.train, tmp_path / "manifest.json")
        root = street.store.roots[0]
        words = ["--output", tmp_path / "flow", "--full", "--format", "kitti", "--root", root]
        assert "flows in" in self.run("flow-export", tmp_path / "results", *words)
        config = json.dumps({**street.config, "cache": {"roots": [str(root), str(tmp_path / "store")]}})
        words = [tmp_path / "flow", "--manifest", tmp_path / "manifest.json", "--config", config]
        self.run("flow-import", *words, "--wanted", tmp_path / "wanted.csv")
        assert (tmp_path / "wanted.csv").read_text(encoding="utf-8").count("\n") == 1 + len(
            [*(tmp_path / "flow").rglob("*.png")]
        )
        self.run("flow-import", *words, "--output", tmp_path / "imported/0.json")
        assert (tmp_path / "imported/0.cost.jsonl").is_file()
        index = read_index([tmp_path / "imported/0.json"], "flow")
        assert index.keys() == street.flow.keys()
        batches = {}
        for name, made in (("computed", street.flow), ("imported", index)):
            store = Store([root, tmp_path / "store"])
            stream = Stream(
                street.train,
                street.clicks,
                Caches(store, street.frames, made, {}),
                window=Window(**street.config["window"]),
                options={**street.config["student"], "batch_size": 1},
                stride_px=4,
                occlusion="photometric",
                seed=0,
            )
            batches[name] = next(iter(stream.batches(0, 1, torch.device("cpu"))))
        ours, stage = batches["imported"], batches["computed"]
        assert ours.flow_valid.any()
        assert (ours.flow_valid & ~stage.flow_valid).sum() == 0
        both = (ours.flow_valid & stage.flow_valid).expand_as(ours.flow)
        assert (ours.flow - stage.flow)[both].abs().mean() < 0.1

    def test_nothing_to_export_is_told(self, tmp_path):
        done = CliRunner().invoke(app, ["flow-export", str(tmp_path)])
        assert "holds no index of flows" in str(done.exception)

    def test_import_needs_one_output(self, street, tmp_path):
        write_manifest(street.train, tmp_path / "manifest.json")
        done = CliRunner().invoke(app, ["flow-import", "flow", "--manifest", str(tmp_path / "manifest.json")])
        assert "either --output INDEX, to import, or --wanted CSV" in str(done.exception)


@pytest.mark.parametrize(
    ("pairs", "first"),
    [
        ([("00001", "00002"), ("00002", "00001")], "clip/00001__00002"),
        ([("a_b", "c"), ("a", "b_c")], "clip/a_b__c"),
        ([("a__b", "c"), ("a", "b__c")], "clip/a__b/c"),
        ([("a_", "b"), ("a", "_b")], "clip/a_/b"),
        ([("x" * 200, "y" * 200), ("x" * 200, "z" * 200)], f"clip/{'x' * 200}/{'y' * 200}"),
        ([("f" * 255, "g" * 255), ("f" * 255, "h" * 255)], None),
    ],
)
def test_flows_of_names_that_meet_lie_apart(tmp_path, pairs, first):
    paths = [flow_path(tmp_path, "clip", *pair) for pair in pairs]
    assert first is None or paths[0] == tmp_path / first
    assert len(set(paths)) == len(pairs)
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name(f"{path.name}.flo").touch()
