"""The flow stage: what its entries hold, what their keys depend on, and that nothing is computed twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from jsonschema import Draft202012Validator
from torchvision.models.optical_flow import raft_small

from helpers.flow_clips import SIZE, STEP_PX, Constant, manifest_of, options, pairs_of, use, write_clip
from weclick.common.content import ChangedFileError
from weclick.common.schemas import load_schema
from weclick.flow import build_estimator, compute_flow, read_flow, stage
from weclick.flow.jobs import Job, key_inputs
from weclick.flow.pairs import PairImages, batches, match_pairs
from weclick.geometry import backward_warp, resize_flow
from weclick.manifest import Clip, Frame, Manifest
from weclick.manifest.images import read_image
from weclick.store import Entry, Store, list_entries, verify_entry
from weclick.store.flow_entries import CODEC, MASK_BITS


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Manifest:
    root = tmp_path_factory.mktemp("data")
    return manifest_of(root, write_clip(root, "a", seed=0), write_clip(root, "b", seed=1))


@pytest.fixture
def store(tmp_path) -> Store:
    return Store([tmp_path / "store"])


@pytest.fixture
def counted(monkeypatch) -> dict[str, int]:
    """How many estimators the stage built, and how many flows they were asked for."""
    counts = {"built": 0, "flows": 0}

    def build(name, **given):
        estimator = build_estimator(name, **given)
        estimate = estimator.estimate

        def counting(target, neighbour):
            counts["flows"] += len(target)
            return estimate(target, neighbour)

        counts["built"] += 1
        estimator.estimate = counting
        return estimator

    monkeypatch.setattr(stage, "build_estimator", build)
    return counts


@pytest.fixture(scope="module")
def entry(manifest, tmp_path_factory) -> Entry:
    """The entry of clip a under the options of `options()`."""
    store = Store([tmp_path_factory.mktemp("store")])
    return store.get("flow", compute_flow(manifest, pairs_of, options=options(), store=store)["a"])


class TestEntries:
    def test_flow_is_on_the_stride_grid_in_its_own_pixels(self, entry):
        for i, gap in enumerate((1, -1, -2)):
            flow, _ = read_flow(entry, i)
            assert (flow.shape, flow.dtype) == ((2, 16, 25), np.float32)
            middle = flow[:, 4:-4, 6:-6].mean((1, 2))
            np.testing.assert_allclose(middle, np.array(STEP_PX) * gap / 4, atol=0.05)

    def test_it_warps_the_neighbour_onto_the_target(self, entry, manifest):
        flow, _ = read_flow(entry, 1)
        full = resize_flow(torch.from_numpy(flow)[None], (64, 100))[:, :, : SIZE[0], : SIZE[1]]
        target, neighbour = (
            torch.from_numpy(read_image(manifest.path(f"a/{name}.png")).copy()).permute(2, 0, 1)[None].float()
            for name in entry.attributes["pairs"][1]
        )
        warped, valid = backward_warp(neighbour, full)
        error = (warped - target).abs().mean(1, keepdim=True)[valid].mean()
        assert error < 0.2 * (neighbour - target).abs().mean()

    def test_masks_are_bits(self, entry):
        _, valid = read_flow(entry, 0)
        assert (valid.shape, valid.dtype) == ((16, 25), np.uint8)
        assert set(np.unique(valid)) <= {0, 1, 2, 3}
        for bit in (1, 2):
            assert ((valid & bit) > 0)[4:-4, 6:-6].mean() > 0.95
        assert not valid[:, -1].any(), "the last column lies 4 px to the right in the next frame: outside"

    def test_attributes_say_it_all_and_fit_their_schema(self, entry):
        Draft202012Validator(load_schema("flow")).validate(dict(entry.attributes))
        assert entry.attributes["pairs"] == [["00002", "00003"], ["00002", "00001"], ["00002", "00000"]]
        assert entry.attributes["pair_positions"] == [[2, 3], [2, 1], [2, 0]]
        assert entry.attributes["image_size"] == list(SIZE)
        assert entry.attributes["estimator"]["name"] == "dis"
        assert entry.array("flow").attrs["axes"] == "PDHW"
        assert entry.array("flow").dtype == np.int16
        assert verify_entry(entry.path) == []

    def test_a_path_is_nowhere_in_it(self, entry, manifest):
        assert manifest.root not in (entry.path / "entry.json").read_text(encoding="utf-8")

    def test_without_masks_there_is_no_array_of_them(self, manifest, store):
        made = compute_flow(manifest, pairs_of, options=options(masks=[], stride_px=1), store=store)
        entry = store.get("flow", made["a"])
        flow, valid = read_flow(entry, 0)
        assert (flow.shape, valid) == ((2, *SIZE), None)
        Draft202012Validator(load_schema("flow")).validate(dict(entry.attributes))

    def test_one_mask_sets_its_bit_alone_and_needs_no_reverse_flow(self, manifest, store, counted):
        made = compute_flow(manifest, pairs_of, options=options(masks=["photometric"]), store=store)
        assert counted["flows"] == 6
        _, valid = read_flow(store.get("flow", made["a"]), 0)
        assert set(np.unique(valid)) <= {0, 2}


class TestKeys:
    def test_a_second_run_computes_nothing_and_builds_nothing(self, manifest, store, counted):
        first = compute_flow(manifest, pairs_of, options=options(), store=store)
        assert counted == {"built": 1, "flows": 12}
        assert compute_flow(manifest, pairs_of, options=options(), store=store) == first
        assert counted == {"built": 1, "flows": 12}

    def test_a_colleague_elsewhere_finds_it(self, manifest, store, counted, tmp_path):
        compute_flow(manifest, pairs_of, options=options(), store=store)
        root = tmp_path / "elsewhere"
        clips = [write_clip(root, name, seed=seed) for name, seed in (("renamed", 0), ("b", 1))]
        mine = Store([store.roots[0], tmp_path / "mine"])
        compute_flow(manifest_of(root, *clips), pairs_of, options=options(batch_pairs=1), store=mine)
        assert counted["built"] == 1
        assert not (tmp_path / "mine").exists()

    def test_one_new_clip_is_one_clip_of_work(self, manifest, store, counted):
        first = manifest_of(Path(manifest.root), manifest.clips[0])
        made = compute_flow(first, pairs_of, options=options(), store=store)
        both = compute_flow(manifest, pairs_of, options=options(), store=store)
        assert both["a"] == made["a"]
        assert counted == {"built": 2, "flows": 12}

    @pytest.mark.parametrize(
        "change",
        [{"stride_px": 2}, {"masks": []}, {"options": {"preset": "fast"}}, {"options": {"finest_scale": 0}}],
    )
    def test_what_changes_the_data_changes_the_key(self, manifest, store, change):
        first = compute_flow(manifest, pairs_of, options=options(), store=store)
        other = compute_flow(manifest, pairs_of, options=options(**change), store=store)
        assert set(first.values()).isdisjoint(other.values())

    @pytest.mark.parametrize(
        "change",
        [
            {"batch_pairs": 5},
            {"options": {"preset": "medium"}},
            {"masks": ["photometric", "forward_backward"]},
        ],
    )
    def test_what_does_not_change_the_data_does_not_change_the_key(self, manifest, store, counted, change):
        first = compute_flow(manifest, pairs_of, options=options(), store=store)
        assert compute_flow(manifest, pairs_of, options=options(**change), store=store) == first
        assert counted["built"] == 1

    def test_other_pairs_and_other_frames_are_other_entries(self, manifest, store):
        first = compute_flow(manifest, pairs_of, options=options(), store=store)
        fewer = compute_flow(manifest, lambda clip: pairs_of(clip)[:2], options=options(), store=store)
        assert set(first.values()).isdisjoint(fewer.values())
        assert len({*first.values()}) == 2

    def test_clips_without_pairs_have_no_entry(self, manifest, store, counted):
        assert compute_flow(manifest, lambda clip: (), options=options(), store=store) == {}
        assert counted["built"] == 0

    def test_keys_stay_what_they_are(self):
        """Other keys make every shared store worthless: raise FORMAT_VERSION, and change this, on purpose."""
        frames = tuple(Frame(str(t), t, "", digest=f"{t:064}") for t in range(2))
        clip = Clip("c", frames, targets=(1,), height_px=8, width_px=8)
        job = Job(clip, ((1, 0),), key_inputs(clip, ((1, 0),), {"name": "constant"}, options()))
        assert job.key == "3750da695ad3b5e452981602fe31d0ea7da3c708c37ad3af0fa87fe80f47c719"

    def test_what_keys_and_entries_say_of_codec_and_masks_stays(self, entry):
        assert CODEC == "int16, 1/64 px"
        assert entry.attributes["scale_px"] == 0.015625
        assert entry.attributes["masks"] == {
            "forward_backward": {"bit": 1, "relative": 0.01, "absolute_px2": 0.5},
            "photometric": {"bit": 2, "threshold_grey_levels": 12.0, "window_px": 5},
        }
        assert MASK_BITS == {"none": 0, "forward_backward": 1, "photometric": 2, "both": 3}


class TestOverflow:
    def test_what_does_not_fit_stops_the_stage_and_names_the_pair(self, manifest, store, monkeypatch):
        use(monkeypatch, Constant(4 * 600.0))
        with pytest.raises(
            ValueError, match=r"clip a, flow 00002 -> 0000\d: 400 flow values such as 600.0 px"
        ):
            compute_flow(manifest, pairs_of, options=options(), store=store)
        assert not list(store.roots[0].rglob("entry.json"))
        assert not list(store.roots[0].rglob("*.tmp"))

    def test_clipping_is_counted_and_not_passed_off_as_whole(self, manifest, store, monkeypatch):
        use(monkeypatch, Constant(4 * 600.0))
        made = compute_flow(manifest, pairs_of, options=options(on_overflow="clip"), store=store)
        entry = store.get("flow", made["a"])
        assert entry.attributes["clipped"] == 3 * 16 * 25
        assert read_flow(entry, 0)[0].max() == pytest.approx(511.984, abs=1e-3)
        with pytest.raises(ValueError, match=r"clip a: its cached flow .* holds 1200 values clipped"):
            compute_flow(manifest, pairs_of, options=options(), store=store)


class TestStream:
    def test_pairs_come_as_soon_as_they_can_in_any_order(self):
        frames = [np.full((2, 2, 3), t, np.uint8) for t in range(5)]
        pairs = [(4, 0), (1, 2), (2, 1), (2, 2), (3, 4)]
        found = [
            (p.index, int(p.target.flat[0]), int(p.neighbour.flat[0])) for p in match_pairs(frames, pairs)
        ]
        assert found == [(1, 1, 2), (2, 2, 1), (3, 2, 2), (0, 4, 0), (4, 3, 4)]

    def test_frames_are_let_go_when_no_pair_waits_for_them(self):
        alive = []

        class Frame(np.ndarray):
            def __del__(self):
                alive.remove(self.number)

        def decode():
            for number in range(50):
                frame = np.zeros((1, 1, 3), np.uint8).view(Frame)
                frame.number = number
                alive.append(number)
                yield frame
                del frame
                assert len(alive) <= 4

        pairs = [(t, t - 2) for t in range(2, 50)]
        assert sum(1 for _ in match_pairs(decode(), pairs)) == 48

    def test_batches_hold_everything_in_order_and_pass_on_errors(self):
        def items():
            yield from (PairImages(i, np.zeros(1), np.zeros(1)) for i in range(5))
            raise ValueError("decoding failed")

        taken = batches(items(), 2)
        assert [[item.index for item in next(taken)] for _ in range(2)] == [[0, 1], [2, 3]]
        with pytest.raises(ValueError, match="decoding failed"):
            next(taken)

    def test_batches_run_over_the_ends_of_clips_but_hold_one_size(self):
        sizes = [(0, 4), (0, 4), (1, 4), (2, 6), (2, 6)]
        items = [PairImages(i, *[np.zeros((side, 4, 3))] * 2, clip) for i, (clip, side) in enumerate(sizes)]
        assert [[item.index for item in batch] for batch in batches(items, 4)] == [[0, 1, 2], [3, 4]]

    def test_one_batch_may_hold_several_clips(self, manifest, store, monkeypatch):
        asked = []

        class Counting(Constant):
            def estimate(self, target, neighbour):
                asked.append(len(target))
                return super().estimate(target, neighbour) * target[:, :1, :1, :1].float().sign()

        use(monkeypatch, Counting(4.0))
        made = compute_flow(manifest, pairs_of, options=options(masks=[], batch_pairs=4), store=store)
        assert asked == [4, 2]
        for key in made.values():
            assert all((read_flow(store.get("flow", key), i)[0][0] == 1).all() for i in range(3))

    def test_clips_before_a_broken_one_are_kept(self, manifest, store, counted):
        a, b = manifest.clips
        broken = replace(b, frames=(replace(b.frames[0], image="b/gone.png"), *b.frames[1:]))
        both = manifest_of(Path(manifest.root), a, broken)
        with pytest.raises(ValueError, match=r"gone.png: cannot be read as an image"):
            compute_flow(both, pairs_of, options=options(batch_pairs=3), store=store)
        compute_flow(manifest_of(Path(manifest.root), a), pairs_of, options=options(), store=store)
        assert counted["built"] == 1
        assert not list(store.roots[0].rglob("*.tmp"))

    def test_a_missing_frame_is_named_and_leaves_nothing_behind(self, manifest, store):
        clip = manifest.clips[0]
        broken = replace(clip, frames=(replace(clip.frames[0], image="a/gone.png"), *clip.frames[1:]))
        with pytest.raises(ValueError, match=r"gone.png: cannot be read as an image"):
            compute_flow(manifest_of(Path(manifest.root), broken), pairs_of, options=options(), store=store)
        assert not list(store.roots[0].rglob("entry.json"))

    def test_only_frames_of_pairs_are_decoded(self, manifest, store):
        clip = manifest.clips[0]
        unused = replace(clip, frames=(replace(clip.frames[0], image="a/gone.png"), *clip.frames[1:]))
        made = compute_flow(
            manifest_of(Path(manifest.root), unused), lambda _: ((2, 1),), options=options(), store=store
        )
        flow, _ = read_flow(store.get("flow", made["a"]), 0)
        np.testing.assert_allclose(flow[:, 4:-4, 6:-6].mean((1, 2)), [-1, -0.5], atol=0.05)


class TestMemory:
    class Greedy(Constant):
        """Has memory for `fits` pairs at once."""

        def __init__(self, fits: int, error: type[BaseException] = torch.OutOfMemoryError):
            super().__init__(4.0)
            self.fits, self.error, self.asked = fits, error, []

        def estimate(self, target, neighbour):
            self.asked.append(len(target))
            if len(target) > self.fits:
                raise self.error("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
            return super().estimate(target, neighbour)

    @pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError, MemoryError])
    def test_batches_are_halved_until_they_fit_and_stay_so(self, manifest, store, monkeypatch, capsys, error):
        use(monkeypatch, greedy := self.Greedy(1, error))
        made = compute_flow(manifest, pairs_of, options=options(masks=[], batch_pairs=4), store=store)
        assert greedy.asked == [4, 2, 1, 1, 1, 1, 1, 1]
        assert (read_flow(store.get("flow", made["b"]), 2)[0][0] == 1).all()
        told = capsys.readouterr().err
        assert "does not hold 4 pairs of 62x98 px (HxW) at once; going on with 2" in told
        assert "set flow.batch_pairs: 1 to begin so" in told

    def test_not_even_one_pair_is_an_error_that_tells_what_to_do(self, manifest, store, monkeypatch):
        use(monkeypatch, self.Greedy(0))
        with pytest.raises(ValueError, match=r"not hold one pair of 62x98 px .*data\.shrink"):
            compute_flow(manifest, pairs_of, options=options(batch_pairs=1), store=store)

    def test_other_errors_pass(self, manifest, store, monkeypatch):
        class Broken(Constant):
            def estimate(self, target, neighbour):
                raise RuntimeError("the kernel is broken")

        use(monkeypatch, Broken(1.0))
        with pytest.raises(RuntimeError, match="the kernel is broken"):
            compute_flow(manifest, pairs_of, options=options(), store=store)


@pytest.mark.parametrize("batch_pairs", [1, 2, 8])
@pytest.mark.parametrize("frame", [0, 3])
def test_a_frame_exchanged_after_the_manifest_leaves_no_entry(store, tmp_path, batch_pairs, frame):
    manifest = manifest_of(tmp_path, write_clip(tmp_path, "a", seed=0))
    path = manifest.path(manifest.clips[0].frames[frame].image)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ChangedFileError, match=rf"{path.name}: changed since its digest was taken"):
        compute_flow(manifest, pairs_of, options=options(batch_pairs=batch_pairs), store=store)
    assert not [*list_entries(tmp_path / "store", "flow")]


def test_weights_that_change_while_they_are_loaded_leave_no_entry(manifest, store, tmp_path, monkeypatch):
    path = tmp_path / "raft.pth"
    torch.save(raft_small(weights=None).state_dict(), path)

    def exchange(name, **given):
        estimator = build_estimator(name, **given)
        torch.save(raft_small(weights=None).state_dict(), path)
        return estimator

    monkeypatch.setattr(stage, "build_estimator", exchange)
    chosen = options(estimator="raft", options={"weights": str(path), "updates": 1})
    with pytest.raises(ChangedFileError, match=r"flow\.options names changed while it was loaded.* run this"):
        compute_flow(manifest, pairs_of, options=chosen, store=store)
    assert not [*list_entries(tmp_path / "store", "flow")]
