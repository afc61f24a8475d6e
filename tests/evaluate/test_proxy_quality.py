"""How good proxy labels are: counted on labelled pixels, written beside the index, and added over shards."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from helpers.cam_entries import DOG, SIZE, SWAN, clip_of, manifest_of
from weclick.common.errors import InputError
from weclick.evaluate.proxy_quality import proxy_quality, read_quality, write_quality
from weclick.proxy_labels.proxy_labels import make_proxy_labels
from weclick.store import Store


class Given:
    """A source that gives class maps."""

    name = "given"

    def __init__(self, labels):
        self._labels = labels

    def key_inputs(self, clip):
        return {}

    def make(self, clip):
        return self._labels


@pytest.fixture
def rows(tmp_path):
    """Half of the dog's pixels are labelled, a quarter of these as a swan; frame 3 has no true label."""
    truth = np.zeros(SIZE, np.uint8)
    truth[:16], truth[16] = DOG, 255
    Image.fromarray(truth).save(tmp_path / "label.png")
    clip = clip_of()
    frames = list(clip.frames)
    frames[2] = dataclasses.replace(frames[2], label="label.png")
    clip = dataclasses.replace(clip, frames=tuple(frames))
    found = np.full(SIZE, 255, np.uint8)
    found[:6], found[6:8], found[16:] = DOG, SWAN, 0
    store, manifest = Store([tmp_path / "store"]), manifest_of(clip, root=str(tmp_path))
    keys = make_proxy_labels(manifest, Given([(2, found), (3, found)]), chunk_px=32, store=store)
    return proxy_quality(manifest, keys, store)


def test_only_labelled_pixels_count(rows):
    told = {row["class"]: row for row in rows}
    assert list(told) == ["background", "dog", "swan"]
    width = SIZE[1]
    assert told["dog"] == {
        "class": "dog",
        "frames": 1,
        "true_px": 8 * width,
        "found_px": 6 * width,
        "hit_px": 6 * width,
        "unlabelled_px": 8 * width,
        "iou": 6 / 8,
        "precision": 1,
        "recall": 6 / 8,
    }
    assert told["background"]["iou"] == 1
    assert (told["swan"]["iou"], told["swan"]["precision"], told["swan"]["recall"]) == (0, 0, None)


def test_shards_add_up(rows, tmp_path):
    write_quality(tmp_path / "0.json", rows)
    write_quality(tmp_path / "1.json", [{**row, "hit_px": 0} for row in rows if row["class"] == "dog"])
    together = {row["class"]: row for row in read_quality([tmp_path / f"{n}.json" for n in range(3)])}
    assert together["dog"]["precision"] == 1 / 2
    assert together["dog"]["frames"] == 2
    assert together["background"] == next(row for row in rows if row["class"] == "background")


def test_where_nothing_is_known_no_file_stays(rows, tmp_path):
    write_quality(tmp_path / "0.json", rows)
    assert (tmp_path / "0.quality.jsonl").is_file()
    write_quality(tmp_path / "0.json", [])
    assert not (tmp_path / "0.quality.jsonl").exists()
    assert read_quality([tmp_path / "0.json"]) == []


def test_a_damaged_file_is_told(tmp_path):
    (tmp_path / "0.quality.jsonl").write_text('{"class": "dog"}\n')
    with pytest.raises(InputError, match=r"0\.quality\.jsonl"):
        read_quality([tmp_path / "0.json"])
