import dataclasses

import numpy as np
import pytest
from jsonschema import validate

from weclick.common.schemas import load_schema
from weclick.datasets import build_manifest, open_dataset
from weclick.datasets.frames import pack_frames, unpacked_key
from weclick.manifest.read import read_clip
from weclick.store import Store, verify_entry


def test_entries_hold_the_decoded_frames(street):
    clip = street.train.clips[0]
    entry = street.store.get("frames", street.frames[clip.id])
    for t, image in enumerate(read_clip(street.train, clip)):
        np.testing.assert_array_equal(entry.array("rgb")[t], image)
    validate(dict(entry.attributes), load_schema("frames"))


def test_a_second_run_decodes_nothing(street, monkeypatch):
    def refuse(*_):
        raise AssertionError("decoded again")

    monkeypatch.setattr("weclick.datasets.frames.read_clip", refuse)
    assert pack_frames(street.train, chunk_px=32, store=street.store) == street.frames


def test_keys_follow_content_and_chunks(street, tmp_path):
    moved = dataclasses.replace(street.train, root=street.train.root + "/.")
    assert pack_frames(moved, chunk_px=32, store=street.store) == street.frames
    other = pack_frames(street.train, chunk_px=64, store=Store([tmp_path]))
    assert set(other.values()).isdisjoint(street.frames.values())


def test_entries_of_shrunk_frames_are_whole(street, tmp_path):
    dataset = open_dataset({**street.config["data"], "shrink": 2})
    shrunk = build_manifest(dataset, "train", 0, 1, reach_frames=2, remember=None)
    assert shrunk.clips[0].size == (32, 48)
    store = Store([tmp_path])
    for key in pack_frames(shrunk, chunk_px=32, store=store).values():
        assert verify_entry(store.get("frames", key).path) == []


def test_a_missing_frame_is_told_and_leaves_no_entry(street, tmp_path):
    clip = street.train.clips[0]
    frames = (dataclasses.replace(clip.frames[0], image="gone.png"), *clip.frames[1:])
    broken = dataclasses.replace(street.train, clips=(dataclasses.replace(clip, frames=frames),))
    with pytest.raises((ValueError, FileNotFoundError), match=r"gone\.png"):
        pack_frames(broken, chunk_px=64, store=Store([tmp_path]))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_codecs_make_other_entries_of_the_same_frames(street, tmp_path):
    smaller = pack_frames(street.train, chunk_px=32, codec="zstd", store=Store([tmp_path]))
    assert set(smaller.values()).isdisjoint(street.frames.values())
    clip = street.train.clips[0]
    one, two = (
        store.get("frames", keys[clip.id])
        for store, keys in ((street.store, street.frames), (Store([tmp_path]), smaller))
    )
    np.testing.assert_array_equal(one.array("rgb")[2], two.array("rgb")[2])
    assert two.meta["entry_bytes"] < one.meta["entry_bytes"]


def test_unpacked_frames_take_no_store_and_follow_content(street, tmp_path):
    keys = pack_frames(street.train, chunk_px=32, store=Store([tmp_path]), pack=False)
    assert not list(tmp_path.iterdir())
    clip = street.train.clips[0]
    other = dataclasses.replace(clip.frames[0], digest="0" * 64)
    altered = dataclasses.replace(clip, frames=(other, *clip.frames[1:]))
    assert len({*keys.values(), unpacked_key(altered)}) == len(keys) + 1


def test_video_frames_must_be_packed(street, tmp_path):
    clip = street.train.clips[0]
    frames = tuple(dataclasses.replace(f, image="a.mp4", video_frame=i) for i, f in enumerate(clip.frames))
    video = dataclasses.replace(street.train, clips=(dataclasses.replace(clip, frames=frames),))
    with pytest.raises(ValueError, match=r"a\.mp4: .* is a video file.*set frames\.pack: true"):
        pack_frames(video, chunk_px=32, store=Store([tmp_path]), pack=False)
