"""Entries of instances: what is written comes back, and strange ones are told before masks are decoded."""

import json

import numpy as np
import pytest

from helpers.cam_entries import NAMES, SIZE, clip_of
from helpers.damage import forge, relist
from weclick.common import rle
from weclick.common.errors import InputError
from weclick.store import DamagedEntryError, Store, entry_key, instance_entries, verify_entry
from weclick.store.instance_entries import FILE, FrameInstances, InstanceEntry, no_instances, write_instances

CLIP = clip_of(3)
INPUTS = {"format": 1, "frames": [frame.digest for frame in CLIP.frames]}


def found(seed=0, number=2):
    rng = np.random.default_rng(seed)
    masks = rng.random((number, *SIZE)) < 0.3
    return FrameInstances(masks, rng.integers(1, 3, number), rng.random(number).astype(np.float32))


def written(root, frames, inputs=INPUTS):
    store = Store([root])
    with store.create("instances", inputs) as entry:
        write_instances(entry, frames, SIZE, classes=NAMES)
    return store.get("instances", entry_key("instances", inputs))


@pytest.fixture
def entry(tmp_path):
    objects = [found(0), no_instances(SIZE), found(1, 3)]
    return written(tmp_path, zip(CLIP.frames, objects, strict=True))


def test_objects_come_back_bit_for_bit(entry):
    read = InstanceEntry(entry, SIZE)
    assert read.digests == [frame.digest for frame in CLIP.frames]
    assert read.classes == NAMES
    for frame, expected in zip(CLIP.frames, [found(0), no_instances(SIZE), found(1, 3)], strict=True):
        for part, other in zip(read.of(frame.digest), expected, strict=True):
            assert part.dtype == other.dtype
            np.testing.assert_array_equal(part, other)
    assert verify_entry(entry.path) == []


def test_a_clip_without_an_object_in_any_frame(tmp_path):
    entry = written(tmp_path, [(frame, no_instances(SIZE)) for frame in CLIP.frames])
    masks, classes, scores = InstanceEntry(entry, SIZE).of(CLIP.frames[1].digest)
    assert masks.shape == (0, *SIZE)
    assert len(classes) == len(scores) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"masks": np.zeros((2, 3, 4), bool)}, r"are bool of shape \(2, 3, 4\)"),
        ({"masks": np.zeros((2, *SIZE))}, "are float64 of shape"),
        ({"classes": np.array([1, 3])}, r"have the classes \[1, 3\]"),
        ({"classes": np.array([1])}, r"\(1,\) classes"),
        ({"scores": np.array([0.5, 1.5])}, "expected ids of 3 classes and 0..1"),
        ({"scores": np.array([0.5, np.nan])}, "expected ids of 3 classes and 0..1"),
    ],
    ids=str,
)
def test_strange_objects_are_not_written(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        written(tmp_path, [(CLIP.frames[0], found()._replace(**change))])
    assert Store([tmp_path]).find("instances", entry_key("instances", INPUTS)) is None


def test_frames_of_another_size_or_clip_are_refused(entry):
    with pytest.raises(InputError, match="holds instances of frames of 32 x 48 px, expected 9 x 9 px"):
        InstanceEntry(entry, (9, 9))
    with pytest.raises(InputError, match="holds no frame of the digest ffff"):
        InstanceEntry(entry, SIZE).of("f" * 64)


def lines_of(entry):
    return [json.loads(line) for line in (entry.path / FILE).read_text().splitlines()]


def read_forged(entry, content):
    """What a reader makes of an entry whose file somebody replaced, with all sums right."""
    (entry.path / FILE).write_bytes(content)
    forge(entry.path, lambda meta: relist(entry.path, meta))
    store = Store([entry.path.parents[3]])
    return InstanceEntry(store.get("instances", entry.key), SIZE).of(CLIP.frames[0].digest)


def changed(entry, **first):
    lines = lines_of(entry)
    lines[0] = {**lines[0], **first}
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


@pytest.mark.parametrize(
    "first",
    [
        {"classes": [1, 7]},
        {"classes": [1, True]},
        {"classes": [1]},
        {"classes": 3},
        {"scores": [0.5, 2]},
        {"scores": [0.5, float("nan")]},
        {"scores": [0.5, "1"]},
        {"counts": ["0", 3]},
        {"counts": ["0", "0"]},
        {"counts": ["o" * 9, "o" * 9]},
    ],
    ids=str,
)
def test_a_line_that_claims_anything_is_damage(entry, first):
    with pytest.raises(DamagedEntryError, match=r"line 1 of instances\.jsonl cannot be read"):
        read_forged(entry, changed(entry, **first))


@pytest.mark.parametrize("content", [b"", b"[]\n{}\n{}\n", b"{}\n{}\n", b"{\n{}\n{}\n", b"{}\n{}\n{}"])
def test_other_lines_are_damage(entry, content):
    with pytest.raises(DamagedEntryError):
        read_forged(entry, content)


def test_too_many_masks_are_refused_before_they_are_decoded(entry, monkeypatch):
    monkeypatch.setattr(rle, "MASK_BYTES", SIZE[0] * SIZE[1])
    with pytest.raises(DamagedEntryError, match="2 masks of 32 x 48 px take 3"):
        read_forged(entry, changed(entry))


def test_what_nobody_could_read_again_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(instance_entries, "MASK_BYTES", SIZE[0] * SIZE[1])
    with pytest.raises(InputError, match=r"masks of 2 instances of frame '00000' take 3.*at most 1.5 KiB"):
        written(tmp_path, [(CLIP.frames[0], found())])
    assert Store([tmp_path]).find("instances", entry_key("instances", INPUTS)) is None


def test_a_changed_or_missing_file_is_damage(entry):
    content = (entry.path / FILE).read_bytes()
    (entry.path / FILE).write_bytes(content.replace(b'"classes":[', b'"classes":[ ', 1)[:-1] + b"\n")
    store = Store([entry.path.parents[3]])
    with pytest.raises(DamagedEntryError):
        InstanceEntry(store.get("instances", entry.key), SIZE).of(CLIP.frames[0].digest)
    (entry.path / FILE).unlink()
    with pytest.raises(DamagedEntryError):
        InstanceEntry(store.get("instances", entry.key), SIZE).of(CLIP.frames[0].digest)


def test_attributes_that_do_not_fit_are_damage(entry):
    forge(entry.path, lambda meta: meta["attributes"]["digests"].pop())
    store = Store([entry.path.parents[3]])
    with pytest.raises(DamagedEntryError, match="names 3 frames and 2 digests"):
        InstanceEntry(store.get("instances", entry.key), SIZE)


def test_an_entry_without_its_file_is_damage(entry):
    (entry.path / FILE).rename(entry.path / "other.jsonl")
    forge(entry.path, lambda meta: relist(entry.path, meta))
    store = Store([entry.path.parents[3]])
    with pytest.raises(DamagedEntryError, match=r"it lacks instances\.jsonl"):
        InstanceEntry(store.get("instances", entry.key), SIZE).of(CLIP.frames[0].digest)
