"""One more click costs its own frames, pairs and soft labels: the rest is taken over from older entries."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from helpers.counted import count_work
from helpers.flow_clips import SIZE, manifest_of, options
from weclick.datasets.frames import pack_frames
from weclick.flow import compute_flow, stage
from weclick.manifest import Clip, Frame, Manifest
from weclick.manifest.video import video_writer
from weclick.manifest.window import Window
from weclick.models import build_model
from weclick.proxy_labels.soft_labels import compute_soft_labels
from weclick.store import Store, file_digest, list_entries, verify_entry
from weclick.store.model_file import model_bytes

WINDOW = Window(direction="both", frames=3, max_gap_frames=2)
FRAMES = 12


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def clips(root) -> tuple[Clip, ...]:
    return tuple(_write_clip(root, name, seed) for seed, name in enumerate("ab"))


def _write_clip(root: Path, name: str, seed: int) -> Clip:
    """A texture that moves to the right by 2 px a frame."""
    noise = np.random.default_rng(seed).normal(size=(*SIZE, 3))
    texture = np.clip(128 + 200 * gaussian_filter(noise, (2, 2, 0), mode="wrap"), 0, 255).astype(np.uint8)
    (root / name).mkdir()
    frames = []
    for t in range(FRAMES):
        path = root / name / f"{t:05d}.png"
        Image.fromarray(np.roll(texture, 2 * t, 1)).save(path)
        frames.append(Frame(path.stem, t, f"{name}/{path.name}", digest=file_digest(path)))
    return Clip(name, tuple(frames), height_px=SIZE[0], width_px=SIZE[1])


@pytest.fixture(scope="module")
def teacher(root, clips) -> Path:
    model = build_model("deeplabv3plus", "mobilenetv2_compact", 1, channels=16)
    path = root / "teacher.safetensors"
    path.write_bytes(model_bytes(model, manifest_of(root, *clips).classes))
    return path


@pytest.fixture
def counts(monkeypatch) -> dict[str, int]:
    return count_work(monkeypatch)


def around(root: Path, clips, **targets) -> Manifest:
    """The manifest with these targets, each clip cut to what lies in reach of them, as it is listed."""
    kept = []
    for clip in clips:
        wanted = targets.get(clip.id, (2,))
        near = {t + gap for t in wanted for gap in range(-2, 3)} & set(range(FRAMES))
        kept.append(replace(clip, targets=wanted).restrict(near))
    return manifest_of(root, *kept)


def compute(manifest: Manifest, store: Store, teacher: Path) -> dict[str, dict[str, str]]:
    return {
        "frames": pack_frames(manifest, chunk_px=32, store=store),
        "flow": compute_flow(manifest, WINDOW.pairs, options=options(masks=["photometric"]), store=store),
        "soft_labels": compute_soft_labels(manifest, teacher, chunk_px=16, store=store),
    }


def contents(store: Store, kind: str, key: str) -> dict[str, bytes]:
    entry = store.get(kind, key)
    return {name: (entry.path / name).read_bytes() for name in entry.meta["files"]}


def test_one_more_click_computes_what_is_its_own_and_nothing_else(root, clips, teacher, tmp_path, counts):
    store, alone = Store([tmp_path / "store"]), Store([tmp_path / "alone"])
    compute(around(root, clips), store, teacher)
    assert counts == {"frames": 10, "flows": 8, "labels": 10}
    counts.update(dict.fromkeys(counts, 0))
    more = around(root, clips, a=(2, 5))
    keys = compute(more, store, teacher)
    assert counts == {"frames": 3, "flows": 4, "labels": 3}, "frames 5, 6, 7 and the four pairs of frame 5"
    counts.update(dict.fromkeys(counts, 0))
    assert compute(more, alone, teacher) == keys, "keys are as ever"
    assert counts == {"frames": 13, "flows": 12, "labels": 13}
    for kind, of in keys.items():
        assert contents(store, kind, of["a"]) == contents(alone, kind, of["a"]), "bit for bit"
        assert verify_entry(store.get(kind, of["a"]).path) == []
        ours, theirs = (each.get(kind, of["a"]).attributes for each in (store, alone))
        assert dict(ours) == dict(theirs)


def test_a_click_whose_pairs_are_all_known_computes_nothing(root, clips, teacher, tmp_path, counts):
    store = Store([tmp_path / "store"])
    compute(around(root, clips, a=(2, 8)), store, teacher)
    before = dict(counts)
    keys = compute(around(root, clips, a=(2,)), store, teacher)
    assert counts == before
    assert len(store.get("frames", keys["frames"]["a"]).array("rgb")) == 5


def test_parts_come_from_several_entries_and_other_roots(root, clips, teacher, tmp_path, counts):
    team = Store([tmp_path / "team"])
    compute(around(root, clips, a=(2,)), team, teacher)
    store = Store([tmp_path / "team", tmp_path / "mine"])
    compute(around(root, clips, a=(9,)), store, teacher)
    counts.update(dict.fromkeys(counts, 0))
    compute(around(root, clips, a=(2, 9)), store, teacher)
    assert counts == {"frames": 0, "flows": 0, "labels": 0}


def test_what_was_made_in_another_way_is_not_taken(root, clips, teacher, tmp_path, counts):
    store, more = Store([tmp_path / "store"]), around(root, clips[:1], a=(2, 5))
    compute(around(root, clips[:1]), store, teacher)
    counts.update(dict.fromkeys(counts, 0))
    pack_frames(more, chunk_px=16, store=store)
    assert counts["frames"] == 8
    compute_flow(more, WINDOW.pairs, options=options(masks=[]), store=store)
    assert counts["flows"] == 8
    compute_soft_labels(more, teacher, chunk_px=16, store=store, codec="float16")
    assert counts["labels"] == 8


def test_a_damaged_entry_gives_its_sound_steps(root, clips, teacher, tmp_path, counts):
    store = Store([tmp_path / "store"])
    keys = compute(around(root, clips[:1]), store, teacher)
    file = store.get("frames", keys["frames"]["a"]).path / "rgb/c/1/0/0/0"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    counts.update(dict.fromkeys(counts, 0))
    made = pack_frames(around(root, clips[:1], a=(2, 5)), chunk_px=32, store=store)
    assert counts["frames"] == 4, "three new ones, and the one whose file is damaged"
    alone = Store([tmp_path / "alone"])
    pack_frames(around(root, clips[:1], a=(2, 5)), chunk_px=32, store=alone)
    assert contents(store, "frames", made["a"]) == contents(alone, "frames", made["a"])


def test_clipped_flow_is_not_taken_since_nobody_knows_which_pair_it_was(root, clips, tmp_path, counts):
    store = Store([tmp_path / "store"])
    given = options(masks=[], on_overflow="clip")
    made = compute_flow(around(root, clips[:1]), WINDOW.pairs, options=given, store=store)
    (entry,) = list_entries(tmp_path / "store", "flow")
    assert store.get("flow", made["a"]).attributes["clipped"] == 0
    assert entry.name == made["a"]
    assert not stage._has_all_values(replace_attributes(store.get("flow", made["a"]), clipped=3))


def replace_attributes(entry, **attributes):
    return replace(entry, meta={**entry.meta, "attributes": {**entry.attributes, **attributes}})


def test_frames_of_a_video_are_taken_over(tmp_path, counts):
    with video_writer(tmp_path / "film.mp4", Fraction(25)) as write:
        for t in range(8):
            write(np.full((32, 48, 3), 20 * t, np.uint8))
    digest = file_digest(tmp_path / "film.mp4")
    frames = tuple(Frame(f"{t:05d}", t, "film.mp4", digest=f"{digest}:{t}", video_frame=t) for t in range(8))
    clip = Clip("film", frames, height_px=32, width_px=48)
    store = Store([tmp_path / "store"])
    manifest = manifest_of(tmp_path, clip)
    pack_frames(replace(manifest, clips=(clip.restrict(range(4)),)), chunk_px=32, store=store)
    counts.update(dict.fromkeys(counts, 0))
    made = pack_frames(replace(manifest, clips=(clip.restrict(range(2, 6)),)), chunk_px=32, store=store)
    assert counts["frames"] == 2
    rgb = store.get("frames", made["film"]).array("rgb")
    assert [round(float(rgb[i].mean()) / 20) for i in range(4)] == [2, 3, 4, 5]
