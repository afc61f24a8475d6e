import dataclasses

import numpy as np
import pytest
from jsonschema import validate
from PIL import Image

from weclick.common.content import ChangedFileError
from weclick.common.errors import InputError
from weclick.common.schemas import load_schema
from weclick.datasets import build_manifest, open_dataset
from weclick.manifest.read import read_label
from weclick.proxy_labels.masks import labelled_targets, masks_key, pack_masks
from weclick.store import Store, verify_entry


@pytest.fixture
def store(tmp_path):
    return Store([tmp_path / "store"])


def without_label(manifest, *positions):
    """The split whose first clip has no label at some frames."""
    first, *others = manifest.clips
    frames = [
        dataclasses.replace(frame, label=None, label_digest=None) if t in positions else frame
        for t, frame in enumerate(first.frames)
    ]
    clips = (dataclasses.replace(first, frames=tuple(frames)), *others)
    return dataclasses.replace(manifest, clips=clips)


def test_entries_hold_the_class_maps_of_the_targets(street, store):
    keys = pack_masks(street.train, chunk_px=32, store=store)
    assert keys.keys() == {clip.id for clip in street.train.clips}
    for clip in street.train.clips:
        entry = store.get("masks", keys[clip.id])
        targets = [clip.frames[t] for t in clip.targets]
        assert len(targets) < len(clip.frames)
        assert entry.meta["inputs"]["frames"] == [frame.digest for frame in targets]
        assert entry.attributes["frames"] == [frame.name for frame in targets]
        for t, frame in enumerate(targets):
            np.testing.assert_array_equal(entry.array("classes")[t], read_label(street.train, frame))
        validate(dict(entry.attributes), load_schema("masks"))
        assert verify_entry(entry.path) == []


def test_a_second_run_reads_no_label(street, store, monkeypatch):
    keys = pack_masks(street.train, chunk_px=32, store=store)

    def refuse(*_):
        raise AssertionError("read again")

    monkeypatch.setattr("weclick.proxy_labels.masks.read_label_of", refuse)
    moved = dataclasses.replace(street.train, root=street.train.root + "/.")
    assert pack_masks(moved, chunk_px=32, store=store) == keys


def test_the_key_follows_labels_classes_size_and_chunks(street):
    clip, classes = street.train.clips[0], street.train.classes
    base = masks_key(clip, classes, 32)
    frames = list(clip.frames)
    other = dataclasses.replace(frames[clip.targets[0]], label_digest="0" * 64)
    shrunk = [dataclasses.replace(frame, digest=f"{frame.digest}/2") for frame in frames]
    frames[clip.targets[0]] = other
    keys = {
        masks_key(dataclasses.replace(clip, frames=tuple(frames)), classes, 32),
        masks_key(dataclasses.replace(clip, frames=tuple(shrunk)), classes, 32),
        masks_key(clip, dataclasses.replace(classes, label_map={"ids": {"7": 0}}), 32),
        masks_key(clip, classes, 64),
    }
    assert len({base, *keys}) == 5


def test_the_key_counts_no_names_and_no_frames_but_the_targets(street):
    clip, classes = street.train.clips[0], street.train.classes
    named = [dataclasses.replace(frame, name=f"x{t}", image="x.png") for t, frame in enumerate(clip.frames)]
    named[1] = dataclasses.replace(named[1], digest="0" * 64)
    assert 1 not in clip.targets
    renamed = dataclasses.replace(classes, names=tuple(f"x{name}" for name in classes.names))
    other = dataclasses.replace(clip, id="other", frames=tuple(named))
    assert masks_key(other, renamed, 32) == masks_key(clip, classes, 32)


def test_shrunk_labels_have_the_size_of_shrunk_frames(street, store):
    dataset = open_dataset({**street.config["data"], "shrink": 2})
    shrunk = build_manifest(dataset, "train", 0, 1, reach_frames=2, remember=None)
    keys = pack_masks(shrunk, chunk_px=32, store=store)
    clip = shrunk.clips[0]
    found = store.get("masks", keys[clip.id]).array("classes")
    assert found.shape == (len(clip.targets), 32, 48)
    np.testing.assert_array_equal(found[0], read_label(shrunk, clip.frames[clip.targets[0]]))


def test_targets_without_a_label_are_left_out(street, store):
    clip = street.train.clips[0]
    some = without_label(street.train, clip.targets[0])
    entry = store.get("masks", pack_masks(some, chunk_px=32, store=store)[clip.id])
    assert entry.attributes["frames"] == [clip.frames[t].name for t in clip.targets[1:]]
    none = without_label(street.train, *range(len(clip.frames)))
    assert clip.id not in pack_masks(none, chunk_px=32, store=store)
    assert not labelled_targets(none.clips[0]).frames


@pytest.fixture
def edited(street, tmp_path):
    """A split whose first target's label can be edited."""
    clip = street.train.clips[0]
    frame = clip.frames[clip.targets[0]]
    path = tmp_path / "label.png"
    path.write_bytes(street.train.path(frame.label).read_bytes())
    frames = list(clip.frames)
    frames[clip.targets[0]] = dataclasses.replace(frame, label=str(path))
    clips = (dataclasses.replace(clip, frames=tuple(frames)),)
    return dataclasses.replace(street.train, clips=clips), path


def test_a_label_that_changed_is_told_and_leaves_no_entry(edited, store):
    manifest, path = edited
    Image.fromarray(np.zeros((64, 96), np.uint8)).save(path)
    with pytest.raises(ChangedFileError, match=r"label\.png"):
        pack_masks(manifest, chunk_px=32, store=store)
    assert not list(store.roots[0].glob("masks/*/*/*/entry.json"))


@pytest.mark.parametrize(
    ("label", "told"),
    [
        (np.zeros((32, 48), np.uint8), r"label\.png: is 32x48 px \(HxW\), its frame 64x96; a label needs"),
        (np.full((64, 96), 77, np.uint8), r"label\.png: holds values \[77\], "),
        (None, r"label\.png: cannot be read as an image"),
    ],
    ids=["size", "values", "damaged"],
)
def test_a_label_that_does_not_fit_is_told(edited, store, label, told):
    manifest, path = edited
    if label is None:
        path.write_bytes(b"no image")
    else:
        Image.fromarray(label).save(path)
    (clip,) = manifest.clips
    frames = tuple(dataclasses.replace(frame, label_digest=None) for frame in clip.frames)
    trusting = dataclasses.replace(manifest, clips=(dataclasses.replace(clip, frames=frames),))
    with pytest.raises(InputError, match=told):
        pack_masks(trusting, chunk_px=32, store=store)
