import dataclasses

import numpy as np
import pytest
from jsonschema import validate

from weclick.config import load_schema
from weclick.frames import pack_frames
from weclick.media import read_clip
from weclick.store import Store


def test_entries_hold_the_decoded_frames(street):
    clip = street.train.clips[0]
    entry = street.store.get("frames", street.frames[clip.id])
    for t, image in enumerate(read_clip(street.train, clip)):
        np.testing.assert_array_equal(entry.array("rgb")[t], image)
    validate(dict(entry.attributes), load_schema("frames"))


def test_a_second_run_decodes_nothing(street, monkeypatch):
    def refuse(*_):
        raise AssertionError("decoded again")

    monkeypatch.setattr("weclick.frames.read_clip", refuse)
    assert pack_frames(street.train, chunk_px=32, store=street.store) == street.frames


def test_keys_follow_content_and_chunks(street, tmp_path):
    moved = dataclasses.replace(street.train, root=street.train.root + "/.")
    assert pack_frames(moved, chunk_px=32, store=street.store) == street.frames
    other = pack_frames(street.train, chunk_px=64, store=Store([tmp_path]))
    assert set(other.values()).isdisjoint(street.frames.values())


def test_a_missing_frame_is_told_and_leaves_no_entry(street, tmp_path):
    clip = street.train.clips[0]
    frames = (dataclasses.replace(clip.frames[0], image="gone.png"), *clip.frames[1:])
    broken = dataclasses.replace(street.train, clips=(dataclasses.replace(clip, frames=frames),))
    with pytest.raises((ValueError, FileNotFoundError), match=r"gone\.png"):
        pack_frames(broken, chunk_px=64, store=Store([tmp_path]))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
