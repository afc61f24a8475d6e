"""Fused soft labels: neighbours vote along the flow, in its direction, where it is valid."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from helpers.cache_entries import ATTRIBUTES
from weclick.cli import app
from weclick.common.config import ConfigError, complete_config
from weclick.common.config_checks import check_masks
from weclick.common.errors import InputError
from weclick.common.schemas import schema_fault
from weclick.flow.stage import compute_flow
from weclick.manifest import Clip, Frame, write_manifest
from weclick.proxy_labels.fuse import Fuse
from weclick.proxy_labels.fusion import Fusion
from weclick.proxy_labels.soft_labels import compute_soft_labels
from weclick.proxy_labels.teachers import Teachers
from weclick.runs.plan.probe import plausible_teacher
from weclick.runs.wanted import Wanted
from weclick.store import Store, decode_soft_labels, entry_key, read_index, write_index
from weclick.store.flow_entries import MASKS, allocate_flow, write_flow
from weclick.store.ledger.reach import reach
from weclick.store.summaries import read_ledger

SIZE, GRID, K = (96, 160), (24, 40), 4
STEP = (1, 2)
"""Rows and columns of cells of 4 px that everything moves from frame to frame."""


def clip_of(frames: int, *targets: int) -> Clip:
    listed = tuple(Frame(f"{t:05}", t, f"{t}.png", digest=f"{t:064x}") for t in range(frames))
    return Clip("moving", listed, targets=targets, height_px=SIZE[0], width_px=SIZE[1])


def flow_entry(store: Store, clip: Clip, *, reach_frames=4, sign=1, valid=None, masks=("forward_backward",)):
    """The true flow of the moving pattern, on a grid twice as coarse as that of the labels."""
    frames, stride_px = range(len(clip.frames)), 8
    pairs = [(t, o) for t in clip.targets for o in frames if 0 < abs(t - o) <= reach_frames]
    inputs = {"pairs": [[clip.frames[i].digest for i in pair] for pair in pairs], "of": [sign, *masks]}
    rows, columns = (-(-side // stride_px) for side in SIZE)
    bits = np.full((rows, columns), 3, np.uint8) if valid is None else valid
    with store.create("flow", inputs) as entry:
        arrays = allocate_flow(entry, len(pairs), SIZE, stride_px=stride_px, with_masks=bool(masks))
        for i, (target, other) in enumerate(pairs):
            cells = np.array([STEP[1], STEP[0]]) * (other - target) * sign
            flow = np.broadcast_to((cells * 4 / stride_px)[:, None, None], (2, rows, columns))
            write_flow(arrays, i, flow, bits if masks else None, on_overflow="error")
        told = {"pairs": [[clip.frames[i].name for i in pair] for pair in pairs], "pair_positions": pairs}
        told |= {"masks": {name: MASKS[name] for name in masks}, "stride_px": stride_px, "image_size": SIZE}
        axes = {"flow": "PDHW", "valid": "PHW"} if masks else {"flow": "PDHW"}
        entry.attributes.update({**ATTRIBUTES, **told, "axes": axes})
    return store.get("flow", entry_key("flow", inputs))


def options(**changes) -> dict:
    return {**complete_config({})["soft_labels"]["fuse"], "neighbours": 8, **changes}


def moved(pattern: np.ndarray, t: int) -> np.ndarray:
    """The pattern in frame t; what leaves on one side comes in on the other."""
    return np.roll(pattern, (t * STEP[0], t * STEP[1]), (-2, -1))


def noisy_labels(frames: int) -> tuple[np.ndarray, np.ndarray]:
    """True class ids (h, w) of frame 0, and probabilities (T, K, h, w) of which four in ten are wrong."""
    rng = np.random.default_rng(0)
    truth = np.kron(rng.integers(0, K, (6, 10)), np.ones((4, 4), int))
    labels = []
    for t in range(frames):
        ids = np.where(rng.random(GRID) < 0.4, rng.integers(0, K, GRID), moved(truth, t))
        labels.append((0.7 * (ids == np.arange(K)[:, None, None]) + 0.3 / K).astype(np.float32))
    return truth, np.stack(labels)


def fuse(store, clip, labels, *, of=None, **changes) -> dict[int, np.ndarray]:
    return dict(Fusion(clip, of or flow_entry(store, clip), options(**changes))(iter(labels), 4))


INSIDE = np.s_[8:-8, 12:-12]
"""Cells that no neighbour shows outside of its image."""


def right(probabilities: np.ndarray, truth: np.ndarray) -> float:
    return float((probabilities.argmax(0) == truth)[INSIDE].mean())


def test_independent_mistakes_are_voted_down_and_the_wrong_direction_makes_more(tmp_path):
    store, clip, (truth, labels) = Store([tmp_path]), clip_of(9, 4), noisy_labels(9)
    true = moved(truth, 4)
    fused = fuse(store, clip, labels)[4]
    against = fuse(store, clip, labels, of=flow_entry(store, clip, sign=-1))[4]
    assert right(labels[4], true) < 0.75
    assert right(fused, true) > 0.95
    assert right(against, true) < 0.6


def test_by_hand(tmp_path):
    valid = np.full((12, 20), 3, np.uint8)
    valid[:, :10] = 2  # forward_backward fails in the left half
    store, clip = Store([tmp_path]), clip_of(5, 1, 3)
    _, labels = noisy_labels(5)
    fused = fuse(store, clip, labels, of=flow_entry(store, clip, valid=valid), neighbours=2, weight=0.5)
    for t in (0, 2, 4):
        np.testing.assert_array_equal(fused[t], labels[t])
    expected = (labels[1] + 0.5 * moved(labels[0], 1) + 0.5 * moved(labels[2], -1)) / 2
    np.testing.assert_allclose(fused[1][:, 2:-2, 22:-4], expected[:, 2:-2, 22:-4], atol=1e-6)
    np.testing.assert_allclose(fused[1][:, :, :19], labels[1][:, :, :19], atol=1e-6)
    photometric = fuse(store, clip, labels, of=flow_entry(store, clip, masks=()), occlusion="none")
    np.testing.assert_allclose(photometric[1].sum(0), 1, atol=1e-6)


def test_a_frame_at_a_time_is_held_and_targets_come_as_soon_as_they_can(tmp_path):
    store, clip = Store([tmp_path]), clip_of(12, 2, 7)
    _, labels = noisy_labels(12)
    read = []

    def frames():
        for t, each in enumerate(labels):
            read.append(t)
            yield each

    entry = flow_entry(store, clip, reach_frames=2)
    order = [(t, read[-1]) for t, _ in Fusion(clip, entry, options())(frames(), 4)]
    assert order == [(t, {2: 4, 7: 9}.get(t, t)) for t in (0, 1, 3, 4, 2, 5, 6, 8, 9, 7, 10, 11)]


def test_the_nearest_neighbours_are_taken(tmp_path):
    store, clip = Store([tmp_path]), clip_of(9, 4)
    fusion = Fusion(clip, flow_entry(store, clip), options(neighbours=3))
    assert list(fusion.neighbours[4]) == [3, 5, 2]


def test_what_a_frame_does_not_know_its_neighbours_tell(tmp_path):
    store, clip = Store([tmp_path]), clip_of(3, 1)
    truth, labels = noisy_labels(3)
    labels[:] = (moved(truth, 1) == np.arange(K)[:, None, None]).astype(np.float32)
    labels[0], labels[2] = moved(labels[1], -1), moved(labels[1], 1)
    known = labels[1].copy()
    labels[1][:, 8:12] = 0
    fused = fuse(store, clip, labels)[1]
    np.testing.assert_allclose(fused[:, 2:-2, 4:-4], known[:, 2:-2, 4:-4], atol=1e-6)
    labels[:] = 0
    assert not fuse(store, clip, labels)[1].any()


def test_masks_that_the_flow_lacks_and_flow_of_other_frames_are_told(tmp_path):
    store, clip = Store([tmp_path]), clip_of(3, 1)
    _, labels = noisy_labels(3)
    with pytest.raises(InputError, match=r"fuse\.occlusion is 'both', but the flow of clip 'moving' was"):
        fuse(store, clip, labels, occlusion="both")
    other = replace(clip, frames=tuple(replace(frame, digest="f" * 64) for frame in clip.frames))
    with pytest.raises(InputError, match="holds the flow of frames that clip 'moving' has not"):
        fuse(store, other, labels, of=flow_entry(store, clip))


def test_a_configuration_whose_flow_lacks_the_mask_is_refused():
    config = {"flow": {"masks": ["photometric"]}, "mfd": {"occlusion": "none"}}
    check_masks(complete_config(config))
    with pytest.raises(ConfigError, match=r"soft_labels\.fuse\.occlusion is 'forward_backward', but"):
        check_masks(complete_config({**config, "soft_labels": {"fuse": {"neighbours": 2}}}))


@pytest.fixture(scope="module")
def made(street, tmp_path_factory):
    """Configuration, store and flow of the street with the mask, and its teacher."""
    folder = tmp_path_factory.mktemp("fused")
    flow = {**street.config["flow"], "masks": ["forward_backward"], "stride_px": 8}
    fuse = {"neighbours": 4, "weight": 1.0, "occlusion": "forward_backward"}
    labels = {**street.config["soft_labels"], "chunk_px": 16, "fuse": fuse}
    config, store = {**street.config, "flow": flow, "soft_labels": labels}, Store([folder / "store"])
    (folder / "teacher.safetensors").write_bytes(plausible_teacher(config, street.train))
    keys = compute_flow(street.train, Wanted(config).pairs, options=flow, store=store)
    return config, store, keys, Teachers.of([folder / "teacher.safetensors"])


def label(street, made, of=None, **changes) -> dict[str, str]:
    config, store, flow, teacher = made
    options = {**config["soft_labels"]["fuse"], **changes}
    fuse = Fuse(options, flow if of is None else of, store)
    return compute_soft_labels(street.train, teacher, store=store, chunk_px=16, fuse=fuse)


def test_the_stage_fuses_targets_alone_under_a_key_of_its_own(street, made):
    config, store, flow, teacher = made
    plain, fused, clip = label(street, made, neighbours=0), label(street, made), street.train.clips[0]
    assert plain == compute_soft_labels(street.train, teacher, store=store, chunk_px=16)
    keys = [plain, fused, label(street, made, weight=2.0)]
    assert len({each[clip.id] for each in keys}) == 3
    assert Wanted(config, teacher).keys("soft_labels", street.train.clips) == fused
    entries = [store.get("soft_labels", each[clip.id]) for each in (plain, fused)]
    assert not schema_fault(dict(entries[1].attributes), "soft_labels")
    assert entries[1].attributes["fuse"]["flow"] == flow[clip.id]
    one, other = (
        [decode_soft_labels(torch.from_numpy(e.array("probabilities")[t]), e.attributes) for t in range(4)]
        for e in entries
    )
    for t in range(4):
        assert torch.equal(one[t], other[t]) == (t not in clip.targets)
        assert other[t].sum(0).numpy() == pytest.approx(1, abs=1e-5)
    ledger = read_ledger([store.local])
    assert ("flow", flow[clip.id]) in reach(ledger.entries, {("soft_labels", fused[clip.id])})
    assert {each.made_with.endswith(", fused") for each in ledger.entries if each.kind == "soft_labels"} == {
        True,
        False,
    }


def test_clips_without_flow_keep_the_key_of_plain_labels(street, made):
    first, second = street.train.clips
    flow = {first.id: made[2][first.id]}
    assert label(street, made, of=flow)[second.id] == label(street, made, neighbours=0)[second.id]


def test_the_verb_wants_the_flow(street, made, tmp_path):
    config, store, flow, teacher = made
    write_manifest(street.train, tmp_path / "manifest.json")
    write_index(tmp_path / "flow.json", "flow", flow)
    text = json.dumps({**config, "cache": {"roots": [str(store.local)]}})
    words = [
        "soft-labels",
        "--manifest",
        "manifest.json",
        "--output",
        "labels/train/0.json",
        "--config",
        text,
    ]
    words += ["--output", "labels/train/0.json", "--device", "cpu"]
    words += ["--teacher", str(*teacher.files.values())]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        with pytest.raises(InputError, match=r"soft_labels\.fuse is on, but no flow is given; name"):
            CliRunner().invoke(app, words, catch_exceptions=False)
        done = CliRunner().invoke(app, [*words, "--flow", "flow.json"], catch_exceptions=False)
    assert done.exit_code == 0
    assert read_index([tmp_path / "labels/train/0.json"], "soft_labels") == label(street, made)
