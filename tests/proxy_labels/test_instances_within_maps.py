"""Instances of clicks that stay within the maps of their classes."""

import numpy as np
import pytest
import torch

from helpers.cam_entries import DOG, NAMES, SWAN, write_cams
from helpers.instance_sources import OBJECTS, SCENE, STILL, ious, knowing, options, painted, saved, truth_of
from weclick.common.errors import InputError
from weclick.manifest.click_table import POINT, ClickTable
from weclick.manifest.tag_table import TagTable
from weclick.models import build_relation
from weclick.proxy_labels.amplified_maps import MapSource
from weclick.proxy_labels.instances_from_clicks import FromClicks
from weclick.proxy_labels.relations import Related
from weclick.store import Store

FIRST_DOG, SECOND_DOG, BACKGROUND = (20, 16, DOG), (20, 44, DOG), (40, 80, 0)
BOTH = TagTable(NAMES, True, {("park", ""): frozenset({DOG, SWAN})})


class NoEdges:
    """Relations that see no edge, so that walks go everywhere."""

    sha256 = "5" * 64

    def of(self, image):
        return Related(torch.zeros(16, 24), torch.zeros(2, 16, 24))


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """The painted clip, and the file of a network of relations that learned nothing."""
    root = tmp_path_factory.mktemp("scene")
    manifest = painted(root / "data")
    return manifest, saved(build_relation("mobilenetv2_compact"), manifest, root)


@pytest.fixture
def made(scene, tmp_path):
    """Makes a source of instances from clicks on the first frame."""
    (manifest, path), store = scene, Store([tmp_path / "store"])
    (clip,) = manifest.clips
    cells = [truth_of(t)[2::4, 2::4] for t in range(len(clip.frames))]
    maps = {
        class_id: [
            np.isin(each, [v for v, k in OBJECTS if k == class_id]).astype(np.float32) for each in cells
        ]
        for class_id in (DOG, SWAN)
    }
    cams = {"park": write_cams(store, clip, maps)}

    def source(*points, within=True, tags=BOTH, **changes):
        at = np.array([(*point, 0) for point in points], POINT)
        clicks = ClickTable("train", manifest.classes.names, {("park", "00000"): at})
        bounds = MapSource(manifest.classes, tags, cams, {}, STILL, store) if within else None
        # few steps, so that a walk does not even out all of so small a frame
        given = options(exp_times=2, background=0.6, **changes)
        return knowing(FromClicks(manifest, given, clicks, path, bounds), NoEdges())

    return source


def first_of(source):
    return next(source.make(source.manifest.clips[0]))


def dogs():
    return np.stack([truth_of(0) == value for value, class_id in OBJECTS if class_id == DOG])


def test_an_object_ends_where_the_map_of_its_class_does(made):
    clicked = FIRST_DOG, SECOND_DOG, BACKGROUND
    loose, bound = first_of(made(*clicked, within=False)), first_of(made(*clicked))
    assert bound.classes.tolist() == loose.classes.tolist() == [DOG, DOG]
    assert (np.diagonal(ious(loose.masks, dogs())) < 0.4).all()
    assert (np.diagonal(ious(bound.masks, dogs())) > 0.5).all()
    assert (bound.masks <= loose.masks).all(), "maps only take away"


def test_clicks_part_what_one_map_covers(made):
    one = first_of(made(FIRST_DOG, BACKGROUND))
    two = first_of(made(FIRST_DOG, SECOND_DOG, BACKGROUND))
    assert len(one.masks) == 1
    assert len(two.masks) == 2
    assert not (two.masks[0] & two.masks[1]).any()


def test_a_click_beside_the_map_of_its_class_has_no_object(made):
    found = first_of(made(FIRST_DOG, (60, 90, SWAN)))
    assert found.classes.tolist() == [DOG]


def test_a_class_that_is_no_tag_has_no_object(made):
    tags = TagTable(NAMES, True, {("park", ""): frozenset({SWAN})})
    found = first_of(made(FIRST_DOG, (52, 40, SWAN), BACKGROUND, tags=tags))
    assert found.classes.tolist() == [SWAN]
    assert first_of(made(FIRST_DOG, tags=TagTable(NAMES, True, {}))).masks.shape == (0, *SCENE)


def test_the_key_follows_the_maps_and_what_cuts_them(made):
    def key(**changes):
        source = made(FIRST_DOG, BACKGROUND, **changes)
        return source.key_inputs(source.manifest.clips[0])

    base = key()
    assert base["maps"]["cams"]
    assert base == key(weak_px=9)
    assert all(base != key(**change) for change in ({"within": False}, {"normalise": "instance"}))
    assert "maps" not in key(within=False)
    assert key(within=False) == key(within=False, normalise="instance")


def test_a_clip_without_maps_is_refused(made):
    source = made(FIRST_DOG)
    source.maps.cams.clear()
    with pytest.raises(InputError, match="clip 'park' has no entry in the index of cams"):
        first_of(source)
