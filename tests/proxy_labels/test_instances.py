"""The stage instances and its sources: what they find, what keys count, what is refused."""

import dataclasses

import numpy as np
import pytest
import torch

from helpers.cam_entries import DOG, NAMES, SWAN, clip_of, write_cams, write_steps
from helpers.instance_sources import (
    OBJECTS,
    SCENE,
    STILL,
    TrueRelations,
    ious,
    knowing,
    options,
    painted,
    saved,
    truth_of,
)
from weclick.common.errors import InputError, MissingFileError
from weclick.manifest import Classes
from weclick.manifest.click_table import POINT, ClickTable
from weclick.manifest.read import read_clip, read_instances, read_label
from weclick.manifest.tag_table import TagTable
from weclick.models import build_model, build_relation, normalize
from weclick.models.build import build_detector
from weclick.proxy_labels.instances import instances_inputs, make_instances
from weclick.proxy_labels.instances_from_clicks import FromClicks
from weclick.proxy_labels.instances_from_network import FromNetwork
from weclick.proxy_labels.instances_from_relation import FromRelation
from weclick.proxy_labels.relations import Related, Relations
from weclick.store import DamagedEntryError, Store, entry_key, verify_entry
from weclick.store.instance_entries import FILE, InstanceEntry
from weclick.store.model_file import load_model

TAGS = TagTable(NAMES, True, {("park", ""): frozenset({DOG, SWAN})})
MOVING = {**STILL, "motion": "raw"}


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """The painted clip, and the file of a network of relations that learned nothing."""
    root = tmp_path_factory.mktemp("scene")
    manifest = painted(root / "data")
    torch.manual_seed(0)
    return manifest, saved(build_relation("mobilenetv2_compact"), manifest, root)


@pytest.fixture
def store(tmp_path):
    return Store([tmp_path / "store"])


def true_relations(manifest):
    (clip,) = manifest.clips
    images = enumerate(read_clip(manifest, clip))
    return TrueRelations([(image, truth_of(t)) for t, image in images], [value for value, _ in OBJECTS])


def true_masks(position):
    return np.stack([truth_of(position) == value for value, _ in OBJECTS])


def maps_of(manifest, share=1.0):
    """Class id -> a map of its objects' cells for each frame, weaker beside them."""
    frames = range(len(manifest.clips[0].frames))
    cells = [truth_of(t)[2::4, 2::4] for t in frames]
    return {
        class_id: [
            np.isin(each, [v for v, k in OBJECTS if k == class_id]).astype(np.float32) * share
            for each in cells
        ]
        for class_id in (DOG, SWAN)
    }


def from_relation(store, scene, *, tags=TAGS, maps=None, fcam=STILL, flow=None, **changes):
    manifest, path = scene
    (clip,) = manifest.clips
    cams = {"park": write_cams(store, clip, maps_of(manifest) if maps is None else maps)}
    flow = {"park": flow} if flow else {}
    source = FromRelation(manifest, options(**changes), fcam, tags, cams, flow, path, store)
    return knowing(source, true_relations(manifest))


def clicks_on(manifest, points, scribbles=None):
    """Clicks (y, x, class id) on the first frame of the painted clip."""
    array = np.array([(*point, 0) for point in points], POINT)
    numbers = {} if scribbles is None else {("park", "00000"): np.array(scribbles, np.int32)}
    return ClickTable("train", manifest.classes.names, {("park", "00000"): array}, scribbles=numbers)


ON_ALL = [(20, 16, DOG), (20, 44, DOG), (52, 40, SWAN), (40, 80, 0)]


def from_clicks(scene, points=ON_ALL, *, manifest=None, scribbles=None, **changes):
    manifest, path = manifest or scene[0], scene[1]
    source = FromClicks(manifest, options(**changes), clicks_on(manifest, points, scribbles), path)
    return knowing(source, true_relations(scene[0]))


def test_maps_of_classes_fall_apart_into_objects(store, scene):
    found = list(from_relation(store, scene).make(scene[0].clips[0]))
    assert len(found) == 3
    for position, (masks, classes, scores) in enumerate(found):
        overlaps = ious(masks, true_masks(position))
        best = overlaps.argmax(0)
        assert (overlaps.max(0) > 0.6).all(), overlaps
        assert classes[best].tolist() == [DOG, DOG, SWAN]
        assert (scores[best] > 0.3).all()
        assert masks.dtype == bool
        assert (classes.dtype, scores.dtype) == (np.int64, np.float32)


def test_only_tagged_classes_are_found(store, scene):
    tags = TagTable(NAMES, True, {("park", "00000"): frozenset({SWAN}), ("park", "00002"): frozenset()})
    found = list(from_relation(store, scene, tags=tags).make(scene[0].clips[0]))
    assert set(found[0].classes) == {SWAN}
    assert [len(each.masks) for each in found[1:]] == [0, 0]


def test_without_tags_no_map_is_read_and_every_frame_is_empty(store, scene):
    source = from_relation(store, scene, tags=TagTable(NAMES, True, {}))
    source = dataclasses.replace(source, cams={})
    keys = make_instances(scene[0], source, store=store)
    read = InstanceEntry(store.get("instances", keys["park"]), SCENE)
    assert [len(read.of(digest).masks) for digest in read.digests] == [0, 0, 0]


def test_empty_maps_show_nothing(store, scene):
    nothing = maps_of(scene[0], 0.0)
    found = list(from_relation(store, scene, maps=nothing).make(scene[0].clips[0]))
    assert [len(each.masks) for each in found] == [0, 0, 0]


def test_scores_below_the_least_are_dropped(store, scene):
    every = next(from_relation(store, scene, min_share=0.12).make(scene[0].clips[0]))
    assert (every.scores > 0).all(), "the swan is smaller than that, and has the score 0"
    assert SWAN not in every.classes
    some = next(from_relation(store, scene, min_share=0.12, min_score=0).make(scene[0].clips[0]))
    assert SWAN in some.classes


def test_what_moves_is_amplified(store, scene):
    (clip,) = scene[0].clips
    flow = np.zeros((2, 16, 24), np.float32)
    flow[0, 12:15] = 2  # rows of the swan
    source = from_relation(store, scene, fcam=MOVING, flow=write_steps(store, clip, flow))
    first, _, last = source.make(clip)
    still, _, _ = from_relation(store, scene).make(clip)
    assert first.scores[first.classes == DOG].max() < 0.7 * still.scores[still.classes == DOG].max()
    assert np.allclose(last.scores.max(), 1), "no frame follows the last one, so nothing is amplified there"


def test_each_click_is_an_object(scene):
    first, *others = from_clicks(scene).make(scene[0].clips[0])
    overlaps = ious(first.masks, true_masks(0))
    assert first.classes.tolist() == [DOG, DOG, SWAN]
    assert (first.scores == 1).all()
    assert (overlaps.diagonal() > 0.55).all(), overlaps.diagonal()
    assert [len(each.masks) for each in others] == [0, 0], "frames without a click have no object"


def test_clicks_on_background_keep_others_out(scene):
    alone = next(from_clicks(scene, ON_ALL[:1]).make(scene[0].clips[0]))
    beside = next(from_clicks(scene, [ON_ALL[0], ON_ALL[3]]).make(scene[0].clips[0]))
    assert alone.masks[0].sum() > 2 * beside.masks[0].sum()
    assert not beside.masks[0][40, 80]


def test_two_clicks_on_one_object_share_it(scene):
    found = next(from_clicks(scene, [(12, 12, DOG), (30, 28, DOG), ON_ALL[3]]).make(scene[0].clips[0]))
    whole = truth_of(0) == 1
    assert len(found.masks) == 2
    assert not (found.masks[0] & found.masks[1]).any()
    assert ious(found.masks.any(0)[None], whole[None])[0, 0] > 0.5


def test_a_scribble_is_one_object(scene):
    points = [(20, 12, DOG), (21, 24, DOG), *ON_ALL[1:]]
    found = next(from_clicks(scene, points, scribbles=[4, 4, 0, 0, 0]).make(scene[0].clips[0]))
    assert sorted(found.classes.tolist()) == [DOG, DOG, SWAN]
    assert ious(found.masks, true_masks(0)).max(0).min() > 0.5


def test_only_classes_with_instances_become_objects(scene):
    classes = Classes(NAMES, ((0, 0, 0),) * 3, instance_classes=(SWAN,))
    manifest = dataclasses.replace(scene[0], classes=classes)
    found = next(from_clicks(scene, manifest=manifest).make(manifest.clips[0]))
    assert found.classes.tolist() == [SWAN]


def test_clicks_on_the_toy_street_give_its_objects(street, tmp_path, record_property):
    """With true edges. Objects of the tiny street are thin; how good they get is told, not only bounded."""
    manifest, overlaps = street.train, []
    relations, truths = [], {}
    for clip in manifest.clips:
        for position, image in enumerate(read_clip(manifest, clip)):
            frame = clip.frames[position]
            objects = read_instances(manifest, frame)
            relations.append((image, np.where(objects >= 1000, objects, read_label(manifest, frame))))
            truths[clip.id, position] = objects
    path = saved(build_relation("mobilenetv2_compact"), manifest, tmp_path)
    source = knowing(FromClicks(manifest, options(), street.clicks, path), TrueRelations(relations, []))
    for clip in manifest.clips:
        for position, found in enumerate(source.make(clip)):
            objects = truths[clip.id, position]
            numbers = [n for n in np.unique(objects[objects >= 1000]) if (objects == n).sum() >= 60]
            clicked = street.clicks.of(clip.id, clip.frames[position].name)
            hit = [n for n in numbers if (objects[clicked["y"], clicked["x"]] == n).any()]
            if hit and len(found.masks):
                overlaps += ious(found.masks, objects == np.array(hit)[:, None, None]).max(0).tolist()
    record_property("mean IoU with the true objects", float(np.mean(overlaps)))
    print(f"toy street: {len(overlaps)} clicked objects of 60 px or more, mean IoU {np.mean(overlaps):.2f}")
    assert np.mean(overlaps) > 0.35


def test_the_network_is_asked_once_a_frame_and_both_ways(scene):
    manifest, path = scene
    image = next(read_clip(manifest, manifest.clips[0]))[:, :91]
    relations = Relations(path, NAMES)
    edge, moved = relations.of(image)
    assert edge.shape == (16, 23)
    assert moved.shape == (2, 16, 23)
    mirrored = relations.of(np.concatenate([image, image[:, -1:]], 1)[:, ::-1].copy())
    torch.testing.assert_close(mirrored.edge.flip(-1), edge)
    network, rgb = relations._model, torch.tensor(image).permute(2, 0, 1)[None].float()
    whole = torch.cat([rgb, rgb[..., -1:]], -1)
    with torch.no_grad():
        logits, displacement = network(normalize(whole))
        mirror, _ = network(normalize(whole.flip(-1)))
    torch.testing.assert_close(edge, ((logits + mirror.flip(-1)) / 2).sigmoid()[0, 0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(moved, displacement[0], rtol=1e-4, atol=1e-4)


def test_entries_are_made_once_and_read_back(store, scene):
    source = from_clicks(scene)
    keys = make_instances(scene[0], source, store=store)
    entry = store.get("instances", keys["park"])
    assert verify_entry(entry.path) == []
    assert entry.attributes["source"] == "clicks"
    read = InstanceEntry(entry, SCENE)
    np.testing.assert_array_equal(read.of(read.digests[0]).masks, next(source.make(scene[0].clips[0])).masks)
    again = knowing(from_clicks(scene), _Unasked())
    assert make_instances(scene[0], again, store=store) == keys


class _Unasked:
    sha256 = TrueRelations.sha256


def test_what_was_killed_half_way_leaves_nothing_and_is_made_again(store, scene):
    class Killed(TrueRelations):
        def of(self, image):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_instances(scene[0], knowing(from_clicks(scene), Killed([], [])), store=store)
    assert not [*(store.local.path / "instances").rglob("entry.json")]
    assert store.find("instances", make_instances(scene[0], from_clicks(scene), store=store)["park"])


def test_a_damaged_entry_is_told(store, scene):
    keys = make_instances(scene[0], from_clicks(scene), store=store)
    path = store.get("instances", keys["park"]).path / FILE
    path.write_bytes(path.read_bytes().replace(b"1.0", b"0.9", 1))
    with pytest.raises(DamagedEntryError):
        InstanceEntry(Store([store.local.path]).get("instances", keys["park"]), SCENE).of("")


def key_of(scene, source, clip=None):
    return entry_key("instances", instances_inputs(clip or scene[0].clips[0], NAMES, source))


@pytest.mark.parametrize(
    "change",
    [
        {"background": 0.3},
        {"weak_px": 2},
        {"min_share": 0.02},
        {"normalise": "instance"},
        {"min_score": 0.1},
        {"radius": 4},
        {"beta": 9},
        {"exp_times": 7},
        {"tags": TagTable(NAMES, True, {("park", ""): frozenset({DOG})})},
        {"fcam": MOVING, "flow": "1" * 64},
    ],
    ids=str,
)
def test_the_key_of_relations_follows_what_counts(store, scene, change):
    assert key_of(scene, from_relation(store, scene, **change)) != key_of(scene, from_relation(store, scene))


@pytest.mark.parametrize(
    "change",
    [
        {"beta": 10.0, "background": 0.25},
        {"source": "relation", "network": {"path": "x", "min_score": 0.9}},
        {"fcam": {**STILL, "factor": 9}},
        {"tags": TagTable(NAMES, False, {("park", ""): frozenset({0, DOG, SWAN})})},
    ],
    ids=str,
)
def test_the_key_of_relations_does_not_follow_the_rest(store, scene, change):
    assert key_of(scene, from_relation(store, scene, **change)) == key_of(scene, from_relation(store, scene))


def test_the_key_of_clicks(scene):
    base = key_of(scene, from_clicks(scene))
    assert base == key_of(scene, from_clicks(scene, background=0.9, weak_px=1, normalise="instance"))
    assert base != key_of(scene, from_clicks(scene, ON_ALL[:3]))
    assert base != key_of(scene, from_clicks(scene, scribbles=[1, 1, 0, 0]))
    assert base != key_of(scene, from_clicks(scene, radius=4))
    nothing = from_clicks(scene, ON_ALL[3:])
    assert nothing.key_inputs(scene[0].clips[0]) == {"clicks": None}


def test_the_key_follows_the_weights_and_not_their_path(store, scene, tmp_path):
    manifest, path = scene
    (tmp_path / "copy.safetensors").write_bytes(path.read_bytes())
    other = saved(build_relation("mobilenetv2_compact"), manifest, tmp_path)
    clicks = clicks_on(manifest, ON_ALL)
    base, same, different = (
        key_of(scene, FromClicks(manifest, options(), clicks, each))
        for each in (path, tmp_path / "copy.safetensors", other)
    )
    assert base == same != different


def test_strange_networks_are_refused(scene, tmp_path):
    manifest, _ = scene
    image = np.zeros((*SCENE, 3), np.uint8)
    with pytest.raises(MissingFileError):
        Relations(tmp_path / "none.safetensors", NAMES)
    student = saved(build_model("deeplabv3plus", "mobilenetv2_compact", 3, channels=16), manifest, tmp_path)
    with pytest.raises(InputError, match="of the architecture deeplabv3plus, expected relation"):
        Relations(student, NAMES).of(image)
    with pytest.raises(InputError, match="expected detector; give the model"):
        next(FromNetwork(manifest, student, 0.5).make(manifest.clips[0]))
    other = saved(build_relation("mobilenetv2_compact"), manifest, tmp_path)
    with pytest.raises(InputError, match="was trained for the classes"):
        Relations(other, ("ground", "car")).of(image)


def test_a_network_of_relations_that_has_diverged_is_told_with_the_frame(store, scene):
    class Diverged:
        sha256 = "7" * 64

        def of(self, image):
            return Related(torch.full((16, 24), 0.5), torch.full((2, 16, 24), torch.nan))

    source = knowing(from_relation(store, scene), Diverged())
    with pytest.raises(InputError, match="frame '00000' of clip 'park': displacements are not all finite"):
        next(source.make(scene[0].clips[0]))


def test_strange_clicks_are_refused(scene):
    manifest, path = scene
    table = ClickTable("train", ("ground", "car"), {})
    with pytest.raises(InputError, match="the clicks are of the classes ground, car, but the data set has"):
        FromClicks(manifest, options(), table, path)
    with pytest.raises(InputError, match="a click on frame '00000' of clip 'park' lies outside of"):
        key_of(scene, from_clicks(scene, [(64, 3, DOG)]))


def test_scored_clips_are_refused(store, scene):
    clip = dataclasses.replace(scene[0].clips[0], scored=(1,))
    manifest = dataclasses.replace(scene[0], clips=(clip,))
    with pytest.raises(InputError, match="instances are made of the training split"):
        make_instances(manifest, from_clicks(scene), store=store)
    assert make_instances(manifest, from_clicks(scene), store=store, allow_val=True)


def test_maps_of_another_clip_are_refused(store, scene):
    source = from_relation(store, scene)
    with pytest.raises(InputError, match="clip 'field' has no entry in the index of cams"):
        instances_inputs(clip_of(3, "field"), NAMES, dataclasses.replace(source, tags=_field()))


def _field():
    return TagTable(NAMES, True, {("field", ""): frozenset({DOG})})


@pytest.fixture(scope="module")
def detector(scene, tmp_path_factory):
    torch.manual_seed(0)
    told = {"channels": 16, "rois": 8, "proposals": (16, 8), "anchors_px": (16, 32, 64, 128, 256)}
    network = build_detector("mobilenetv2_compact", 3, min_score=0.01, **told)
    return saved(network, scene[0], tmp_path_factory.mktemp("round"))


def test_a_detector_s_predictions_become_labels(store, scene, detector):
    (clip,) = scene[0].clips
    found = list(FromNetwork(scene[0], detector, 0.0).make(clip))
    assert len(found) == len(clip.frames)
    assert all(each.masks.shape[1:] == SCENE for each in found)
    scores = np.concatenate([each.scores for each in found])
    assert len(scores), "an untrained detector finds something, too"
    least = float(np.median(scores))
    fewer = list(FromNetwork(scene[0], detector, least).make(clip))
    assert sum(len(each.masks) for each in fewer) == (scores >= least).sum()
    keys = make_instances(scene[0], FromNetwork(scene[0], detector, 0.0), store=store)
    read = InstanceEntry(store.get("instances", keys["park"]), SCENE)
    for digest, expected in zip(read.digests, found, strict=True):
        for part, other in zip(read.of(digest), expected, strict=True):
            np.testing.assert_array_equal(part, other)


def test_a_detector_that_has_diverged_is_told(scene, detector, tmp_path):
    """It finds nothing in any frame, which looks like frames without an object."""
    network, _ = load_model(detector, architectures=["detector"])
    with torch.no_grad():
        next(network.parameters()).fill_(torch.nan)
    path = saved(network, scene[0], tmp_path)
    with pytest.raises(InputError, match=r"model\.safetensors: .* are NaN or infinite"):
        next(FromNetwork(scene[0], path, 0.0).make(scene[0].clips[0]))


def test_the_key_of_predictions_follows_weights_and_the_least_score(scene, detector):
    base = key_of(scene, FromNetwork(scene[0], detector, 1))
    assert base == key_of(scene, FromNetwork(scene[0], detector, 1.0))
    assert base != key_of(scene, FromNetwork(scene[0], detector, 0.5))
    assert base != key_of(scene, FromNetwork(scene[0], scene[1], 1))
