"""`weclick inspect` of class activation maps: alone, and over the frames that a manifest names."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from weclick.common.config import complete_config
from weclick.common.errors import InputError
from weclick.datasets.toy.classes import CLASSES
from weclick.manifest import write_manifest
from weclick.manifest.read import read_clip
from weclick.manifest.tag_table import TagTable
from weclick.proxy_labels.cam_sources import Mapper
from weclick.proxy_labels.cams import compute_cams, read_maps
from weclick.runs.inspect.maps import map_pictures
from weclick.runs.inspect.show import show
from weclick.store import Store, write_index

CAR = CLASSES.index("car")


class Left:
    """A source that sees every class in the left half of a frame."""

    def key_inputs(self):
        return {"classifier_sha256": "0" * 64}

    def load(self, manifest, device) -> Mapper:
        return self

    def scores(self, images):
        return torch.full((len(images), len(CLASSES)), 0.25)

    def maps(self, images, class_ids):
        found = torch.zeros(len(images), len(class_ids), 4, 6)
        found[..., :3] = 2
        return found


@pytest.fixture(scope="module")
def made(street, tmp_path_factory):
    folder = tmp_path_factory.mktemp("maps")
    first, second = (clip.id for clip in street.train.clips)
    tags = TagTable(CLASSES, True, {(first, ""): frozenset({CAR}), (second, ""): frozenset({7, CAR})})
    options = complete_config({"cams": {"scales": [1], "flip": False}})["cams"]
    store = Store([folder / "store"])
    keys = compute_cams(street.train, Left(), tags, options=options, store=store)
    write_index(folder / "cams.json", "cams", keys)
    write_manifest(street.train, folder / "manifest.json")
    return folder, store, keys


def test_maps_alone_are_those_of_the_entry(street, made):
    _, store, keys = made
    entry = store.get("cams", keys[street.train.clips[1].id])
    pictures = map_pictures(entry, [], 12)
    assert [title for title, _ in pictures[:2]] == [
        f"{entry.attributes['frames'][0]}: {name}, score 0.25" for name in ("person", "car")
    ]
    assert len(pictures) == 2 * len(entry.attributes["frames"])
    np.testing.assert_array_equal(pictures[1][1], read_maps(entry, 0)[0][1])
    assert len(map_pictures(entry, [], 3)) == 2, "all classes of as many frames as there is room for"
    assert len(map_pictures(entry, [], 1)) == 1


def test_over_frames_the_rest_of_the_frame_stays_as_it_is(street, made):
    folder, store, keys = made
    clip = street.train.clips[0]
    pictures = map_pictures(store.get("cams", keys[clip.id]), [folder / "manifest.json"], 2)
    assert len(pictures) == 2
    frames = [*read_clip(street.train, clip)]
    for (_, found), frame in zip(pictures, (frames[0], frames[-1]), strict=True):
        np.testing.assert_array_equal(found[:, 60:], frame[:, 60:])
        assert np.abs(found[:, :36].astype(int) - frame[:, :36]).mean() > 20


def test_an_index_and_an_entry_are_drawn(street, made, tmp_path):
    folder, store, keys = made
    entry = store.get("cams", keys[street.train.clips[0].id]).path
    for path, manifests in ((folder / "cams.json", [folder / "manifest.json"]), (entry, [])):
        show(path, tmp_path / "drawn.png", manifests=manifests, store=store)
        with Image.open(tmp_path / "drawn.png") as drawn:
            assert min(drawn.size) > 100


def test_frames_of_another_split_are_told(street, made, tmp_path):
    _, store, keys = made
    write_manifest(dataclasses.replace(street.val, shards=1), tmp_path / "val.json")
    entry = store.get("cams", keys[street.train.clips[0].id])
    with pytest.raises(InputError, match="its 4 frames are those of no clip of split 'val'"):
        map_pictures(entry, [tmp_path / "val.json"], 12)
