"""The stage confident_labels: where maps are sure, what keys count, what is refused."""

import dataclasses
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.cam_entries import DOG, GRID, NAMES, SIZE, SWAN, clip_of, manifest_of, write_cams, write_steps
from weclick.common.crf_package import crf_fault
from weclick.common.digest import file_digest
from weclick.common.errors import InputError
from weclick.manifest import IGNORE, Classes
from weclick.manifest.tag_table import TagTable
from weclick.proxy_labels import confident
from weclick.proxy_labels.amplified_maps import MapSource
from weclick.proxy_labels.confident import confident_labels_inputs, make_confident_labels
from weclick.proxy_labels.label_crf import LabelCRF
from weclick.proxy_labels.proxy_labels import read_proxy_labels
from weclick.store import DamagedEntryError, Store, entry_key, verify_entry

CLIP = clip_of(3)
TAGS = TagTable(NAMES, True, {("park", ""): frozenset({DOG})})
STILL = {"motion": "none", "factor": 2.0, "percentile": 80}


@pytest.fixture
def store(tmp_path):
    return Store([tmp_path / "store"])


def options(**changes):
    told = {"foreground": 0.3, "background": 0.05, "crf": None, "backend": "exact", "grid_px": 4}
    return {**told, "iterations": 10, "confidence": 0.7, "chunk_px": 32, **changes}


def columns(*values):
    """A map whose columns of cells have these values from the left on, and then 0."""
    found = np.zeros(GRID, np.float32)
    found[:, : len(values)] = values
    return found


def labels_of(
    store, maps, *, clip=CLIP, tags=TAGS, manifest=None, flow=None, fcam=STILL, made_by="0" * 64, **changes
):
    """Position -> (H, W) label, from maps that every frame of the clip has."""
    manifest = manifest or manifest_of(clip)
    held = {k: [each] * len(clip.frames) for k, each in maps.items()}
    keys = make_confident_labels(
        manifest,
        tags,
        cams={clip.id: write_cams(store, clip, held, names=manifest.classes.names, made_by=made_by)},
        flow={clip.id: write_steps(store, clip, flow)} if flow is not None else {},
        options=options(**changes),
        fcam=fcam,
        store=store,
    )
    return dict(read_proxy_labels(store.get("confident_labels", keys[clip.id]), clip))


def at_cells(label):
    """The values of a label at the centres of the cells of its second row."""
    return label[6, 2::4].tolist()


def test_sure_unsure_and_nothing(store):
    found = labels_of(store, {DOG: columns(1, 1, 1, 0.2, 0.2, 0.2)})
    assert list(found) == [0, 1, 2]
    assert found[1].shape == SIZE
    assert at_cells(found[1]) == [DOG] * 3 + [IGNORE] * 3 + [0] * 6


def test_the_stronger_of_two_classes_wins(store):
    both = TagTable(NAMES, True, {("park", ""): frozenset({DOG, SWAN})})
    maps = {DOG: columns(1, 1, 0.4), SWAN: columns(0, 0.5, 1, 1, 0.2)}
    assert at_cells(labels_of(store, maps, tags=both)[0])[:6] == [DOG, DOG, SWAN, SWAN, IGNORE, 0]
    assert at_cells(labels_of(store, maps)[0])[:6] == [DOG, DOG, DOG, 0, 0, 0], "a class without a tag"


def test_one_class(store):
    names = ("background", "dog")
    tags = TagTable(names, True, {("park", ""): frozenset({DOG})})
    found = labels_of(store, {DOG: columns(1, 0.1)}, tags=tags, manifest=manifest_of(CLIP, names=names))
    assert at_cells(found[0])[:3] == [DOG, IGNORE, 0]


def test_frames_without_a_tag_have_no_label(store):
    tags = TagTable(NAMES, True, {("park", "00001"): frozenset({DOG}), ("park", "00002"): frozenset({0})})
    assert list(labels_of(store, {DOG: columns(1)}, tags=tags)) == [1]


def test_a_clip_without_tags_reads_nothing_and_has_an_entry(store):
    keys = make_confident_labels(
        manifest_of(CLIP),
        TagTable(NAMES, True, {}),
        cams={},
        flow={},
        options=options(crf="irn"),
        fcam={**STILL, "motion": "residual"},
        store=store,
    )
    entry = store.get("confident_labels", keys["park"])
    assert entry.attributes["digests"] == []
    assert verify_entry(entry.path) == []


def test_where_every_map_is_empty_nothing_is_known(store):
    both = TagTable(NAMES, True, {("park", ""): frozenset({DOG, SWAN})})
    assert not labels_of(store, {DOG: columns(), SWAN: columns()}, tags=both)
    found = labels_of(store, {DOG: columns(), SWAN: columns(1)}, tags=both, made_by="1" * 64)
    assert at_cells(found[0])[:2] == [SWAN, 0]


def test_what_moves_is_amplified_and_the_last_frame_stays_as_it_is(store):
    flow = np.zeros((2, *GRID), np.float32)
    flow[0, :, 1] = 3
    fcam = {"motion": "raw", "factor": 2.0, "percentile": 80}
    found = labels_of(store, {DOG: columns(1, 0.2, 0.2, 0.5)}, flow=flow, fcam=fcam)
    assert at_cells(found[0])[:5] == [DOG, DOG, IGNORE, DOG, 0]
    assert at_cells(found[2])[:5] == [DOG, IGNORE, IGNORE, DOG, 0]
    still = labels_of(store, {DOG: columns(1, 0.2, 0.2, 0.5)})
    assert at_cells(still[0])[:5] == at_cells(still[2])[:5] == [DOG, IGNORE, IGNORE, DOG, 0]


def test_a_frame_whose_next_one_is_missing_reads_no_flow(store):
    gap = dataclasses.replace(CLIP, frames=(CLIP.frames[0], CLIP.frames[2]), targets=(0,))
    found = labels_of(store, {DOG: columns(1, 0.5)}, clip=gap, fcam={**STILL, "motion": "residual"})
    assert at_cells(found[0])[:2] == [DOG, DOG]


def painted(root, clip):
    """The clip with images of four columns of cells that are dark, and the rest bright."""
    frames = []
    for frame in clip.frames:
        image = np.full((*SIZE, 3), 220, np.uint8)
        image[:, :16] = 30
        path = root / frame.image
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
        frames.append(dataclasses.replace(frame, digest=file_digest(path)))
    return dataclasses.replace(clip, frames=tuple(frames))


@pytest.mark.parametrize("backend", ["exact", "lattice"])
def test_the_crf_carries_labels_to_the_borders_of_colours(store, tmp_path, backend):
    if backend == "lattice" and (fault := crf_fault("this test")):
        pytest.skip(fault)
    clip = painted(tmp_path / "data", clip_of(1))
    manifest = manifest_of(clip, root=str(tmp_path / "data"))
    maps = {DOG: columns(1, 1, 1, 0.02, 0.02, 0.02)}
    found = labels_of(store, maps, clip=clip, manifest=manifest, crf="irn", backend=backend)
    assert at_cells(found[0]) == [DOG] * 4 + [0] * 8
    assert (found[0][:, 15] == DOG).all()
    assert (found[0][:, 16] == 0).all()
    bare = labels_of(store, maps, clip=clip, manifest=manifest)
    assert at_cells(bare[0]) == [DOG] * 3 + [0] * 9


def test_the_backends_agree_on_most_pixels():
    if fault := crf_fault("this test"):
        pytest.skip(fault)
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :96]
    thing = (y - 30) ** 2 + (x - 40) ** 2 < 400
    image = np.where(thing[..., None], 170, 90) + rng.integers(-6, 7, (64, 96, 3))
    cells = torch.from_numpy(thing[2::4, 2::4] ^ (rng.random((16, 24)) < 0.1))
    maps = torch.stack([~cells, cells]).float()[None]

    def refined(backend, levels):
        return LabelCRF("irn", backend, 4, 10, 0.7).refined(levels, image.astype(np.uint8))[0]

    whole = maps.repeat_interleave(4, -1).repeat_interleave(4, -2)
    exact, lattice = refined("exact", maps), refined("lattice", whole)
    assert (exact == lattice).mean() > 0.95
    assert (exact == thing).mean() > 0.95


def key_of(clip=CLIP, tags=TAGS, fcam=STILL, cams="0" * 64, flow="1" * 64, classes=None, **changes):
    classes = classes or manifest_of(CLIP).classes
    maps = MapSource(classes, tags, {clip.id: cams}, {clip.id: flow}, fcam, Store(["nowhere"]))
    return entry_key("confident_labels", confident_labels_inputs(clip, maps, options(**changes)))


MOVING = {"motion": "raw", "factor": 2.0, "percentile": 80}


@pytest.mark.parametrize(
    "change",
    [
        {"foreground": 0.31},
        {"background": 0.06},
        {"crf": "sec"},
        {"crf": "irn", "backend": "lattice"},
        {"crf": "irn", "grid_px": 8},
        {"crf": "irn", "iterations": 5},
        {"crf": "irn", "confidence": 0.8},
        {"crf": None},
        {"chunk_px": 64},
        {"cams": "2" * 64},
        {"fcam": MOVING},
        {"fcam": {**MOVING, "motion": "residual"}},
        {"clip": clip_of(4)},
        {"tags": TagTable(NAMES, True, {("park", ""): frozenset({DOG, SWAN})})},
        {"tags": TagTable(NAMES, True, {("park", "00000"): frozenset({DOG})})},
    ],
    ids=str,
)
def test_the_key_follows_what_counts(change):
    assert key_of(**{"crf": "irn", **change}) != key_of(crf="irn")


@pytest.mark.parametrize(
    "change", [{"factor": 3.0}, {"percentile": 50}, {"motion": "residual"}, {"flow": "3" * 64}], ids=str
)
def test_the_key_of_amplified_maps_follows_what_counts(change):
    flow = {"flow": change["flow"]} if "flow" in change else {}
    fcam = {name: value for name, value in change.items() if name != "flow"}
    assert key_of(fcam={**MOVING, **fcam}, **flow) != key_of(fcam=MOVING)


@pytest.mark.parametrize(
    ("change", "base"),
    [
        ({"foreground": 1}, {"foreground": 1.0}),
        ({"grid_px": 8, "backend": "lattice", "iterations": 3, "confidence": 0.5}, {}),
        ({"crf": "irn", "backend": "lattice", "grid_px": 8}, {"crf": "irn", "backend": "lattice"}),
        ({"fcam": {**STILL, "factor": 5, "percentile": 1}, "flow": "4" * 64}, {}),
        ({"fcam": {**MOVING, "factor": 2, "percentile": 80.0}}, {"fcam": MOVING}),
        ({"tags": TagTable(NAMES, False, {("park", ""): frozenset({0, DOG})})}, {}),
        (
            {"tags": TagTable(NAMES, True, {("park", f"{t:05}"): frozenset({DOG}) for t in range(3)})},
            {"fcam": STILL},
        ),
    ],
    ids=str,
)
def test_the_key_does_not_follow_the_rest(change, base):
    assert key_of(**change) == key_of(**base)


def test_classes_without_instances_do_not_count():
    classes = Classes(NAMES, ((0, 0, 0),) * 3, instance_classes=(DOG,))
    both = TagTable(NAMES, True, {("park", ""): frozenset({DOG, SWAN})})
    assert key_of(classes=classes, tags=both) == key_of(classes=classes)


def test_entries_are_made_once(store):
    found = labels_of(store, {DOG: columns(1)})
    maps = write_cams(store, CLIP, {DOG: [columns(1)] * 3})
    shutil.rmtree(store.local.path / "cams")  # so that nothing could be made again
    told = {"options": options(), "fcam": STILL, "store": store}
    keys = make_confident_labels(manifest_of(CLIP), TAGS, cams={"park": maps}, flow={}, **told)
    again = dict(read_proxy_labels(store.get("confident_labels", keys["park"]), CLIP))
    assert all(np.array_equal(again[t], found[t]) for t in range(3))


def spoil(store, kind, array):
    """Change the file of the second step of an array of the only entry of a kind."""
    (step,) = (store.local.path / kind).rglob(f"{array}/c/1")
    (file,) = (path for path in step.rglob("*") if path.is_file())
    file.write_bytes(file.read_bytes()[:-1] + b"!")


def test_damaged_entries_are_told(store):
    labels_of(store, {DOG: columns(1)})
    spoil(store, "confident_labels", "classes")
    with pytest.raises(DamagedEntryError):
        labels_of(store, {DOG: columns(1)})
    spoil(store, "cams", "maps")
    with pytest.raises(DamagedEntryError):
        labels_of(store, {DOG: columns(1)}, foreground=0.4)


@pytest.mark.parametrize("lacking", ["cams", "flow"])
def test_a_clip_without_maps_or_flow_is_named(store, lacking):
    told = {"cams": {"park": "0" * 64}, "flow": {"park": "1" * 64}, lacking: {}}
    with pytest.raises(InputError, match=f"clip 'park' has no entry in the index of {lacking}"):
        make_confident_labels(manifest_of(CLIP), TAGS, options=options(), fcam=MOVING, store=store, **told)


def test_a_tag_that_came_after_the_maps_is_told(store):
    both = TagTable(NAMES, True, {("park", ""): frozenset({DOG, SWAN})})
    with pytest.raises(InputError, match="has no map of swan, a tag of clip 'park'; the tags changed since"):
        labels_of(store, {DOG: columns(1)}, tags=both)


def test_class_0_must_have_no_instances(store):
    manifest = manifest_of(CLIP, names=("cat", "dog"))
    tags = TagTable(("cat", "dog"), True, {})
    with pytest.raises(InputError, match="class 0, 'cat', has instances, but in confident labels 0 is all"):
        labels_of(store, {DOG: columns(1)}, manifest=manifest, tags=tags)


def test_scored_clips_are_refused(store):
    scored = clip_of(3, scored=(1,))
    with pytest.raises(InputError, match="confident labels are made of the training split"):
        labels_of(store, {DOG: columns(1)}, clip=scored)


def test_the_crfs_package_is_asked_for_before_anything_is_computed(store, monkeypatch):
    def missing(asked):
        raise InputError(f"{asked}, which is missing")

    monkeypatch.setattr(confident, "require_crf", missing)
    with pytest.raises(InputError, match=r"confident_labels\.backend is lattice"):
        labels_of(store, {DOG: columns(1)}, crf="irn", backend="lattice")
