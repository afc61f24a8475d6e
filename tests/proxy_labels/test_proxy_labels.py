"""The stage proxy_labels with its source f2f: what it labels, what its keys count, what it refuses."""

import dataclasses
import shutil

import numpy as np
import pytest
from PIL import Image

from helpers.cam_entries import DOG, NAMES, SIZE, SWAN, cell, clip_of, manifest_of, write_cams, write_chain
from weclick.common.config import complete_config
from weclick.common.digest import file_digest
from weclick.common.errors import InputError, MissingFileError
from weclick.common.schemas import load_schema, schema_fault
from weclick.manifest.tag_table import TagTable
from weclick.proxy_labels.background import Saliency
from weclick.proxy_labels.f2f import F2F
from weclick.proxy_labels.proxy_labels import make_proxy_labels, proxy_labels_inputs, read_proxy_labels
from weclick.proxy_labels.unlabelled import unlabelled
from weclick.store import DamagedEntryError, Store, verify_entry
from weclick.store.flow_entries import MASKS


@pytest.fixture
def store(tmp_path):
    return Store([tmp_path / "store"])


CLIP = clip_of()
SURE = TagTable(NAMES, True, {("park", ""): frozenset({DOG})})


def options(**changes):
    return complete_config({"proxy_labels": {"frames": 3, **changes}})["proxy_labels"]


def digests(files):
    return {file: file_digest(file) for file in files}


def source_of(store, maps=None, *, clip=CLIP, tags=SURE, scores=None, flow=None, saliency=None, **changes):
    """The source of a clip; maps and flow are written if the store lacks them."""
    return F2F(
        options(**changes),
        NAMES,
        tags,
        {clip.id: write_cams(store, clip, maps or parts(), scores)},
        {clip.id: write_chain(store, clip) if flow is None else flow},
        store,
        saliency,
    )


def parts():
    """Frame t shows column 2 + (t % 3) of the dog, which moves to the right by a cell a frame."""
    return {DOG: [cell(2, 1 + t + t % 3) for t in range(6)]}


def labels_of(store, source, clip=CLIP, manifest=None, **more):
    manifest = manifest or manifest_of(clip)
    keys = make_proxy_labels(manifest, source, chunk_px=32, store=store, **more)
    return dict(read_proxy_labels(store.get("proxy_labels", keys[clip.id]), clip))


def columns(label, value):
    """The columns of cells whose centres, in the two rows of cells of the dog, have a value."""
    return np.flatnonzero((label[[10, 13], 2::4] == value).all(0)).tolist()


def test_the_parts_of_three_frames_are_joined_where_the_object_is_now(store):
    found = labels_of(store, source_of(store))
    assert list(found) == [2], "of equal runs the first"
    assert columns(found[2], DOG) == [3, 4, 5]
    assert set(np.unique(found[2])) <= {0, DOG, 255}
    assert found[2].shape == SIZE
    assert (found[2][20:] == 0).all()


def test_one_frame_joins_nothing_and_reads_no_flow(store):
    source = dataclasses.replace(source_of(store, frames=1), flow={})
    found = labels_of(store, source)
    assert columns(found[0], DOG) == [1]
    assert "flow" not in source.key_inputs(CLIP)["f2f"]


def test_the_middle_is_reached_from_both_sides(store):
    flow = write_chain(store, CLIP, both=True)
    found = labels_of(store, source_of(store, flow=flow, target="middle"))
    assert list(found) == [1]
    assert columns(found[1], DOG) == [2, 3, 4]


def test_a_gap_counts_frames_of_the_video(store):
    flow = write_chain(store, CLIP, (-2, 0), gap=2)
    found = labels_of(store, source_of(store, flow=flow, gap_frames=2, frames=2))
    assert list(found) == [2]
    assert columns(found[2], DOG) == [3, 5]


def test_all_runs_that_share_no_frame(store):
    found = labels_of(store, source_of(store, runs_per_clip=None))
    assert list(found) == [2, 5]
    assert columns(found[5], DOG) == [6, 7, 8]


def test_the_best_run_is_taken(store):
    scores = np.zeros((6, 3), np.float32)
    scores[:, DOG] = [0.91, 0.92, 0.95, 0.99, 0.99, 0.92]
    assert list(labels_of(store, source_of(store, scores=scores))) == [4]


def test_the_filter_asks_for_equal_classes_with_the_tag_among_them(store):
    maps = {**parts(), SWAN: [cell(5, t) for t in range(6)]}
    scores = np.zeros((6, 3), np.float32)
    scores[:, 0], scores[:, DOG] = 1, 0.95
    scores[:2, SWAN] = 0.95
    found = labels_of(store, source_of(store, maps, scores=scores, runs_per_clip=None))
    assert list(found) == [4], "frames 0 and 1 show a swan, too; background does not count"
    assert SWAN not in found[4]


def test_without_the_filter_tags_are_the_classes(store):
    scores = np.full((6, 3), 0.1, np.float32)
    found = labels_of(store, source_of(store, scores=scores))
    assert not found
    found = labels_of(store, source_of(store, scores=scores, filter=False))
    assert columns(found[2], DOG) == [3, 4, 5]


def test_a_frame_without_a_tag_gets_no_label(store):
    nothing = TagTable(NAMES, True, {})
    source = dataclasses.replace(source_of(store, tags=nothing, filter=False), cams={}, flow={})
    assert not labels_of(store, source)
    entry = store.get(
        "proxy_labels", make_proxy_labels(manifest_of(CLIP), source, chunk_px=32, store=store)["park"]
    )
    assert entry.attributes["frames"] == entry.attributes["digests"] == []
    assert verify_entry(entry.path) == []
    assert list(read_proxy_labels(entry, CLIP)) == []


def test_an_entry_says_which_frames_it_labels(store):
    source = source_of(store, runs_per_clip=None)
    keys = make_proxy_labels(manifest_of(CLIP), source, chunk_px=32, store=store)
    entry = store.get("proxy_labels", keys["park"])
    assert entry.attributes["frames"] == ["00002", "00005"]
    assert entry.attributes["digests"] == [CLIP.frames[t].digest for t in (2, 5)]
    assert entry.attributes["source"] == "f2f"
    assert entry.meta["inputs"]["frames"] == [frame.digest for frame in CLIP.frames]
    assert not schema_fault(dict(entry.attributes), "proxy_labels")
    assert load_schema("proxy_labels")["additionalProperties"] is False
    assert verify_entry(entry.path) == []


def test_the_smaller_of_two_regions_wins(store):
    both = TagTable(NAMES, True, {("park", ""): frozenset({DOG, SWAN})})
    maps = {DOG: [cell(2, 2, 2, 4)] * 6, SWAN: [cell(2, 4, 2, 3)] * 6}
    flow = write_chain(store, CLIP, (0, 0))
    found = labels_of(store, source_of(store, maps, tags=both, flow=flow))[2]
    assert (columns(found, DOG), columns(found, SWAN)) == ([2, 3], [4, 5, 6])
    found = labels_of(store, source_of(store, maps, tags=both, flow=flow, conflict="ignore"))[2]
    assert (columns(found, DOG), columns(found, SWAN)) == ([2, 3], [6])
    assert {4, 5} <= {*columns(found, 255)}


@pytest.mark.parametrize(("how", "expected"), [("union", [3, 4, 5]), ("maximum", [3, 4, 5]), ("mean", [5])])
def test_ways_to_aggregate(store, how, expected):
    """One part is seen in two frames of three, the others in one."""
    clip = clip_of(3)
    maps = {DOG: [cell(2, 3), cell(2, 5), cell(2, 4) + 0.6 * cell(2, 5)]}
    flow = write_chain(store, clip, (0, 0))
    source = source_of(store, maps, clip=clip, flow=flow, aggregate=how, threshold=0.7)
    assert columns(labels_of(store, source, clip)[2], DOG) == expected


def test_where_a_mask_fails_nothing_is_carried(store):
    valid = np.full((8, 12), 3, np.uint8)
    valid[:, 4] = 2
    flow = write_chain(store, CLIP, masks=MASKS, valid=valid)
    for occlusion, expected in (("photometric", [3, 4, 5]), ("forward_backward", [3, 5]), ("both", [3, 5])):
        found = labels_of(store, source_of(store, flow=flow, occlusion=occlusion))[2]
        assert columns(found, DOG) == expected


def test_the_flow_may_lie_on_another_grid(store):
    flow = write_chain(store, CLIP, (-4, 0), stride_px=1)
    assert columns(labels_of(store, source_of(store, flow=flow))[2], DOG) == [3, 4, 5]


def test_background_by_saliency(store, tmp_path):
    plane = np.full(SIZE, 255, np.uint8)
    plane[:, 24:] = 30
    (tmp_path / "dss" / "park").mkdir(parents=True)
    Image.fromarray(plane).save(tmp_path / "dss" / "park" / "00002.png")
    saliency = Saliency(tmp_path / "dss", digests)
    source = source_of(store, saliency=saliency, background="saliency_file", background_threshold=0.12)
    found = labels_of(store, source)[2]
    assert columns(found, DOG) == [3, 4, 5], "the foreground wins"
    assert (found[20:, 24:] == 0).all()
    assert (found[20:, :24] == 255).all()
    with pytest.raises(MissingFileError, match="no saliency map of frame '00005' of clip 'park'"):
        labels_of(store, dataclasses.replace(source, options={**source.options, "runs_per_clip": None}))
    Image.fromarray(plane[:16]).save(tmp_path / "dss" / "park" / "00002.png")
    with pytest.raises(InputError, match=r"is 16x48 px \(HxW\), expected the size of the frame, 32x48"):
        labels_of(store, source)


def test_background_by_motion(store):
    flow = write_chain(store, CLIP)
    found = labels_of(store, source_of(store, flow=flow, background="motion"))[2]
    assert columns(found, DOG) == [3, 4, 5]
    assert (found[20:] == 0).all(), "all of it moves as one"
    first = labels_of(store, source_of(store, flow=flow, background="motion", frames=1))[0]
    assert (first[20:] == 255).all(), "nobody knows how the first frame moved"


def test_two_runs_compute_once(store, monkeypatch):
    source = source_of(store)
    keys = make_proxy_labels(manifest_of(CLIP), source, chunk_px=32, store=store)
    monkeypatch.setattr(F2F, "make", lambda *_: pytest.fail("made again"))
    assert make_proxy_labels(manifest_of(CLIP), source, chunk_px=32, store=store) == keys


def key_of(source, clip=CLIP):
    from weclick.store import entry_key

    return entry_key("proxy_labels", proxy_labels_inputs(clip, NAMES, source, 32))


@pytest.mark.parametrize(
    "change",
    [
        {"frames": 4},
        {"gap_frames": 2},
        {"tau": 0.8},
        {"threshold": 0.3},
        {"background_threshold": 0.1},
        {"filter": False},
        {"runs_per_clip": None},
        {"target": "middle"},
        {"aggregate": "mean"},
        {"binarise": "end"},
        {"occlusion": "both"},
        {"background": "motion"},
        {"conflict": "ignore"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_key_counts_what_decides(store, change):
    assert key_of(source_of(store)) != key_of(source_of(store, **change))


@pytest.mark.parametrize(
    ("base", "change"),
    [
        ({}, {"chunk_px": 64}),
        ({"tau": 1}, {"tau": 1.0}),
        ({"filter": False}, {"tau": 0.5}),
        ({"aggregate": "mean"}, {"binarise": "end"}),
        ({"frames": 1}, {"occlusion": "both", "target": "middle"}),
    ],
)
def test_the_key_counts_no_more(store, base, change):
    assert key_of(source_of(store, **base)) == key_of(source_of(store, **{**base, **change}))


def test_the_key_follows_maps_flow_tags_and_classes(store):
    base = source_of(store)
    others = [
        dataclasses.replace(base, cams={"park": "1" * 64}),
        dataclasses.replace(base, flow={"park": "1" * 64}),
        dataclasses.replace(base, tags=TagTable(NAMES, True, {("park", ""): frozenset({DOG, SWAN})})),
    ]
    assert len({key_of(each) for each in (base, *others)}) == 4
    renamed = ("background", "hound", "swan")
    assert proxy_labels_inputs(CLIP, renamed, base, 32)["classes"] == list(renamed)


def test_names_of_frames_and_a_complete_table_change_no_key(store):
    base = source_of(store)
    named = tuple(dataclasses.replace(frame, name=f"x{frame.name}") for frame in CLIP.frames)
    other = dataclasses.replace(CLIP, frames=named)
    assert key_of(base, other) == key_of(base)
    assert key_of(dataclasses.replace(base, tags=dataclasses.replace(SURE, complete=False))) == key_of(base)


@pytest.mark.parametrize("lacking", ["cams", "flow"])
def test_a_clip_that_an_index_lacks_is_told(store, lacking):
    source = dataclasses.replace(source_of(store), **{lacking: {}})
    with pytest.raises(InputError, match=f"clip 'park' has no entry in the index of {lacking}"):
        labels_of(store, source)


def test_maps_of_other_frames_and_classes_are_told(store):
    other = clip_of(name="yard")
    source = dataclasses.replace(source_of(store), cams={"park": write_cams(store, other, parts())})
    with pytest.raises(InputError, match="holds maps of other frames than those of clip 'park'"):
        labels_of(store, source)
    with pytest.raises(InputError, match="maps of the classes background, dog, swan, but the data set has"):
        labels_of(store, dataclasses.replace(source_of(store), classes=("background", "hound", "swan")))


def test_flow_of_other_pairs_is_told(store):
    source = source_of(store, flow=write_chain(store, CLIP, gap=2))
    with pytest.raises(InputError, match=r"no flow from frame '00001' to '00000' of clip 'park'"):
        labels_of(store, source)
    with pytest.raises(InputError, match=r"no flow from frame '00001' to '00002'"):
        labels_of(store, source_of(store, target="middle"))


def test_a_flow_without_the_mask_is_told(store):
    with pytest.raises(InputError, match=r"proxy_labels\.occlusion is 'both', but the flow of clip 'park'"):
        labels_of(store, source_of(store, occlusion="both"))


def test_a_class_without_a_map_is_told(store):
    scores = np.full((6, 3), 0.95, np.float32)
    with pytest.raises(InputError, match=r"has no map of swan.*set that no higher than proxy_labels\.tau"):
        labels_of(store, source_of(store, scores=scores))


def test_damaged_maps_are_told(store):
    source = source_of(store)
    entry = store.get("cams", source.cams["park"])
    shutil.rmtree(entry.path / "maps" / "c")
    with pytest.raises(DamagedEntryError, match="maps/c/0"):
        labels_of(store, source)
    assert not list(store.roots[0].glob("proxy_labels/*/*/*/entry.json"))


def test_clips_with_scored_frames_are_refused(store):
    scored = dataclasses.replace(CLIP, targets=(), scored=(3,))
    with pytest.raises(
        InputError, match=r"1 clips of the split 'train' have frames that are scored.*--allow-val"
    ):
        labels_of(store, source_of(store), scored)
    assert labels_of(store, source_of(store), scored, allow_val=True)


def test_a_run_that_is_killed_leaves_no_half_entry(store, monkeypatch):
    """The label of the second run of a clip fails; the next run makes the very same entry."""
    source = source_of(store, runs_per_clip=None)
    whole = F2F._label

    def dies(self, clip, run, *others):
        if run.chain.target == 5:
            raise KeyboardInterrupt
        return whole(self, clip, run, *others)

    monkeypatch.setattr(F2F, "_label", dies)
    with pytest.raises(KeyboardInterrupt):
        labels_of(store, source)
    assert not list(store.roots[0].glob("proxy_labels/*/*/*/entry.json"))
    monkeypatch.setattr(F2F, "_label", whole)
    assert list(labels_of(store, source)) == [2, 5]


def test_an_entry_of_another_clip_is_told(store):
    keys = make_proxy_labels(manifest_of(CLIP), source_of(store), chunk_px=32, store=store)
    entry = store.get("proxy_labels", keys["park"])
    with pytest.raises(InputError, match="the label of a frame that clip 'yard' has not"):
        list(read_proxy_labels(entry, clip_of(name="yard")))
    with pytest.raises(DamagedEntryError, match=r"classes is of shape \(1, 32, 48\), expected"):
        list(read_proxy_labels(entry, dataclasses.replace(CLIP, height_px=40)))


def test_tags_that_led_to_no_label_are_told_once(store):
    both = TagTable(NAMES, True, {("park", ""): frozenset({0, DOG, SWAN})})
    manifest = manifest_of(CLIP)

    def told(tags, **changes):
        source = source_of(store, tags=tags, **changes)
        keys = make_proxy_labels(manifest, source, chunk_px=32, store=store)
        return unlabelled(manifest, keys, tags, source.options, store)

    assert told(SURE) == []
    assert told(TagTable(NAMES, True)) == []
    unsure = {"scores": np.full((6, 3), 0.4, np.float32), "tau": 0.7}
    (finding,) = told(both, **unsure)
    dog, swan = NAMES[DOG], NAMES[SWAN]
    expected = f"no label at all on 1 of 1 clips with a tag (park) and of the tagged classes {dog}, {swan}"
    assert (finding.level, finding.found) == ("warning", expected)
    assert finding.todo == "lower proxy_labels.tau, which is 0.7, or set proxy_labels.filter: false"
    (finding,) = told(
        both, filter=False, maps={**parts(), SWAN: [np.zeros_like(each) for each in parts()[DOG]]}
    )
    assert finding.found == f"no label at all of the tagged class {swan}"
    assert "proxy_labels.threshold" in finding.todo
