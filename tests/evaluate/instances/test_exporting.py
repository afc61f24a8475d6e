"""Instances of the store as COCO's and YouTube-VIS's JSON, on the toy street with its own true objects."""

import json
from dataclasses import replace

import numpy as np
import pytest
from pycocotools.coco import COCO

from helpers.video_instances import listed
from weclick.clicks.components import FIRST_INSTANCE
from weclick.common.bounded_json import parse_json
from weclick.common.errors import InputError
from weclick.evaluate import video_ap
from weclick.evaluate.instances.exporting import export_instances, runs_along
from weclick.flow.stage import compute_needs
from weclick.manifest import Clip, Frame, write_manifest
from weclick.manifest.needs import pair, step
from weclick.manifest.read import read_instances
from weclick.proxy_labels import read_coco_json, read_youtube_vis_json
from weclick.store import EntryMissingError, Store, entry_key, write_index
from weclick.store.instance_entries import FrameInstances, write_instances

DELTA = 2


def true_objects(manifest, frame):
    ids = read_instances(manifest, frame)
    numbers = np.unique(ids[ids >= FIRST_INSTANCE])
    scores = np.linspace(0.9, 0.5, len(numbers), dtype=np.float32)
    return FrameInstances(ids == numbers[:, None, None], (numbers // 1000).astype(np.int64), scores)


def add_instances(store, manifest):
    """Clip id -> key of an entry that holds the true objects."""
    keys = {}
    for clip in manifest.clips:
        inputs = {"format": 1, "frames": [frame.digest for frame in clip.frames]}
        keys[clip.id] = entry_key("instances", inputs)
        with store.create("instances", inputs) as entry:
            found = ((frame, true_objects(manifest, frame)) for frame in clip.frames)
            write_instances(entry, found, clip.size, classes=manifest.classes.names)
    return keys


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("instances")


@pytest.fixture(scope="module")
def labelled(street, root):
    """The street, its true objects as entries of a store, and the flow that MaskConsist needs."""
    store = Store([root])
    needs = {"step": step, "pair": lambda clip: pair(clip, DELTA)}
    flow = compute_needs(street.train, needs, options=street.config["flow"], store=store)
    return street.train, store, add_instances(store, street.train), flow


def test_pycocotools_reads_every_mask(labelled, tmp_path):
    manifest, store, index, _ = labelled
    written = export_instances(manifest, index, tmp_path / "x.json", store=store)
    known = COCO(tmp_path / "x.json")
    frames = [(clip, frame) for clip in manifest.clips for frame in clip.frames]
    assert written.frames == len(frames) == len(known.imgs)
    assert written.instances == len(known.anns) > 0
    by_name = {image["file_name"]: image for image in known.imgs.values()}
    for clip, frame in frames:
        assert (manifest.path(frame.image)).is_file()
        image = by_name[frame.image]
        assert (image["height"], image["width"]) == clip.size
        expected = true_objects(manifest, frame)
        found = known.loadAnns(known.getAnnIds(image["id"]))
        masks = np.array([known.annToMask(each) for each in found], bool).reshape(expected.masks.shape)
        np.testing.assert_array_equal(masks, expected.masks)
        assert [each["category_id"] - 1 for each in found] == expected.classes.tolist()
        assert [each["score"] for each in found] == pytest.approx(expected.scores.tolist())
    assert known.cats[1]["name"] == manifest.classes.names[0]
    images, names = read_coco_json(parse_json((tmp_path / "x.json").read_bytes()))
    assert len(images) == len(frames)
    assert names == manifest.classes.names


def test_tracks_follow_the_flow_of_pairs(labelled, tmp_path):
    """True objects, linked along the flow, are nearly the true tracks: numbers are the same in all frames."""
    manifest, store, index, flow = labelled
    path = tmp_path / "x.json"
    written = export_instances(manifest, index, path, store=store, file_format="youtube-vis", flow=flow)
    file = json.loads(path.read_text(encoding="utf-8"))
    videos, names = read_youtube_vis_json(file)
    assert names == manifest.classes.names
    assert written.instances == sum(len(video.tracks) for video in videos)
    assert len(videos) == DELTA * len(manifest.clips)  # every other frame of a clip, and those between
    frames = {frame.image: frame for clip in manifest.clips for frame in clip.frames}
    assert sorted(name for video in videos for name in video.file_names) == sorted(frames)
    truth, tracks = {"videos": file["videos"], "categories": file["categories"], "annotations": []}, 0
    for video in file["videos"]:
        ids = np.array([read_instances(manifest, frames[name]) for name in video["file_names"]])
        for number in np.unique(ids[ids >= FIRST_INSTANCE]):
            shown = ids == number
            tracks += 1
            truth["annotations"].append(_track(tracks, video["id"], int(number) // 1000 + 1, shown))
    results = [
        {key: each[key] for key in ("video_id", "category_id", "segmentations", "score")}
        for each in file["annotations"]
    ]
    assert video_ap(truth, results)["AP50"] > 0.6
    assert tracks <= written.instances < 2 * tracks


def _track(number, video_id, category, shown):
    return {"id": number, "iscrowd": 0, **listed(shown, video=video_id, category=category)}


def test_without_flow_a_track_has_one_frame(labelled, tmp_path):
    manifest, store, index, _ = labelled
    path = tmp_path / "x.json"
    written = export_instances(manifest, index, path, store=store, file_format="youtube-vis")
    videos, _ = read_youtube_vis_json(json.loads(path.read_text(encoding="utf-8")))
    assert [len(video.file_names) for video in videos] == [len(clip.frames) for clip in manifest.clips]
    seen = [sum(code is not None for code in track.codes) for video in videos for track in video.tracks]
    assert seen == [1] * written.instances


def clip_of(*numbers):
    return Clip("c", tuple(Frame(f"{number}", number, f"{number}.png") for number in numbers))


@pytest.mark.parametrize(
    ("numbers", "pairs", "runs"),
    [
        ((0, 1, 2), [], [(0,), (1,), (2,)]),
        ((0, 1, 2), [(1, 0), (2, 1), (0, 1)], [(0, 1, 2)]),
        ((0, 1, 2, 3), [(2, 0), (3, 1)], [(0, 2), (1, 3)]),
        ((0, 5, 10), [(1, 0), (2, 0)], [(0, 1), (2,)]),
        ((0, 5, 10), [(2, 0), (2, 1), (1, 0)], [(0, 1, 2)]),
    ],
    ids=["alone", "in order", "two interleaved", "one follower", "the nearest"],
)
def test_runs_along_the_flow(numbers, pairs, runs):
    assert [*runs_along(clip_of(*numbers), pairs)] == runs


def test_frames_of_a_video_file_are_told_apart(labelled, tmp_path):
    manifest, store, index, _ = labelled
    clip = manifest.clips[0]
    frames = tuple(replace(frame, image="videos/c.mp4", video_frame=t) for t, frame in enumerate(clip.frames))
    filmed = replace(manifest, clips=(replace(clip, frames=frames),))
    export_instances(filmed, index, tmp_path / "x.json", store=store)
    names = [image["file_name"] for image in json.loads((tmp_path / "x.json").read_text())["images"]]
    assert names == [f"{clip.id}/{frame.name}" for frame in frames]


def test_errors_teach_and_leave_no_file(labelled, tmp_path):
    manifest, store, index, _ = labelled
    path = tmp_path / "x.json"
    with pytest.raises(InputError, match=r"none of the \d+ clips? of split 'train' is in the index"):
        export_instances(manifest, {"other": "0" * 64}, path, store=store)
    with pytest.raises(EntryMissingError):
        export_instances(manifest, dict.fromkeys(index, "0" * 64), path, store=store)
    other = replace(manifest, classes=replace(manifest.classes, names=("x", *manifest.classes.names[1:])))
    with pytest.raises(InputError, match=r"holds instances of the classes road, .* the manifest has x"):
        export_instances(other, index, path, store=store)
    with pytest.raises(InputError, match=r"none of the \d+ clips? of split 'train' is in the index of flow"):
        export_instances(manifest, index, path, store=store, file_format="youtube-vis", flow={"x": {}})
    assert not path.exists()


def test_the_verb_reads_a_run(labelled, root, tmp_path, verb):
    manifest, _, index, flow = labelled
    results, tracks = tmp_path / "results", tmp_path / "tracks.json"
    for stage in ("manifest", "instances", "flow"):
        (results / stage / "train").mkdir(parents=True)
    write_manifest(manifest, results / "manifest/train/0.json")
    write_index(results / "instances/train/0.json", "instances", index)
    write_index(results / "flow/train/0.json", "flow", flow)
    words = ("export-instances", results, "--root", root)
    status, said = verb(*words, "--output", tmp_path / "coco.json")
    assert (status, said.err) == (0, "")
    assert f"frames: {tmp_path / 'coco.json'}" in said.out
    assert COCO(tmp_path / "coco.json").anns
    assert verb(*words, "--format", "youtube-vis", "--output", tracks)[0] == 0
    linked = len(json.loads(tracks.read_text(encoding="utf-8"))["annotations"])
    assert verb(*words, "--format", "youtube-vis", "--no-flow", "--output", tracks)[0] == 0
    assert len(json.loads(tracks.read_text(encoding="utf-8"))["annotations"]) > linked
    status, said = verb("export-instances", tmp_path / "nothing", "--output", tracks)
    assert status == 1
    assert "holds no manifest of split 'train'" in said.err
