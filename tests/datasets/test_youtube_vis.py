"""YouTube-VIS: a miniature tree, whose truth comes from its JSON file alone."""

import re

import numpy as np
import pytest

from helpers.layouts import manifest_of, told_by_doctor, write_frame
from helpers.youtube_vis_tree import CATEGORIES, many_file, small_file, track, video, write_file, write_tree
from weclick.clicks.tags import make_tags
from weclick.common.config import complete_config
from weclick.common.errors import InputError
from weclick.datasets import build_manifest, listing_digest, open_dataset
from weclick.evaluate.instances.truth import read_true_instances
from weclick.manifest import read_manifest, write_manifest
from weclick.manifest.read import read_instances, read_label
from weclick.runs.doctor.data import check_data

PERSON, DOG = 1, 2
FIRST = {"val_clips": ["bb"]}


@pytest.fixture
def root(tmp_path):
    return write_tree(tmp_path / "vis", small_file())


def summary(root, split, **data):
    clips = open_dataset({"name": "youtube_vis", "root": root, **data}).clips(split)
    return {clip.id: ([f.number for f in clip.frames], clip.targets, clip.scored) for clip in clips}


def test_a_video_is_a_clip_and_its_frames_count_as_their_files(root):
    assert summary(root, "train", **FIRST) == {"aa": ([0, 5, 10], (0, 1, 2), ())}
    assert summary(root, "train_val", **FIRST) == {"bb": ([0, 5], (), (0, 1))}
    assert summary(root, "train", target_every=2, **FIRST)["aa"][1] == (0, 2)
    assert summary(root, "train", target_every=2, train="train_val", **FIRST)["aa"][1:] == ((), (0, 1, 2))


def test_classes_are_background_and_the_categories_in_the_order_of_the_file(root):
    classes = open_dataset({"name": "youtube_vis", "root": root}).classes
    assert classes.names == ("background", *CATEGORIES.values())
    assert classes.instance_classes == (1, 2, 3)
    assert classes.has_background
    assert not classes.numbered_objects


def test_frames_have_their_truth_from_the_file(root):
    manifest = manifest_of("youtube_vis", root, "train", **FIRST)
    (clip,) = manifest.clips
    assert [frame.label for frame in clip.frames] == [f"train.json#17/{t}" for t in range(3)]
    assert all(frame.instances == frame.label for frame in clip.frames)
    label, instances = read_label(manifest, clip.frames[0]), read_instances(manifest, clip.frames[0])
    expected = np.zeros(clip.size, np.int32)
    expected[2:10, 2:10], expected[10:18, 20:28] = 1001, 2002
    np.testing.assert_array_equal(instances, expected)
    np.testing.assert_array_equal(label, expected // 1000)
    assert (label.dtype, instances.dtype) == (np.uint8, np.int32)
    assert set(np.unique(read_instances(manifest, clip.frames[1]))) == {0, 1001}
    assert not read_label(manifest, clip.frames[2]).any()


def test_outlines_and_two_objects_of_one_class(root):
    manifest = manifest_of("youtube_vis", root, "train_val", **FIRST)
    second = read_instances(manifest, manifest.clips[0].frames[1])
    assert set(np.unique(second)) == {0, 2001, 2002}
    assert second[5, 35] == 2002


def test_the_smaller_lies_on_top_and_a_group_has_no_number(tmp_path):
    file = small_file()
    tracks = file["annotations"]
    tracks[1]["segmentations"][0] = tracks[0]["segmentations"][0]
    small = {"size": [32, 48], "counts": [2 * 32 + 2, 2, 32 * 48 - 2 * 32 - 4]}
    tracks[0]["segmentations"][0] = small
    tracks.append(track(5, 17, 3, [[[0, 0, 48, 0, 48, 32, 0, 32]], None, None], iscrowd=1))
    manifest = manifest_of("youtube_vis", write_tree(tmp_path, file), "train", **FIRST)
    instances = read_instances(manifest, manifest.clips[0].frames[0])
    assert (instances[2, 2], instances[5, 5], instances[30, 40]) == (1001, 2002, DOG)


def test_scores_see_objects_groups_and_background(tmp_path):
    file = small_file()
    file["annotations"].append(track(5, 4, 7, [[[0, 20, 48, 20, 48, 32, 0, 32]], None], iscrowd=1))
    manifest = manifest_of("youtube_vis", write_tree(tmp_path, file), "train_val", **FIRST)
    true = read_true_instances(manifest, manifest.clips[0], 0)
    assert (true.classes.tolist(), true.numbers.tolist()) == ([DOG], [2001])
    assert true.group_classes.tolist() == [PERSON]
    assert true.groups[0].sum() == 12 * 48
    assert true.known.all()


def test_doctor_checks_a_run_of_maskconsist(root):
    data = {"name": "youtube_vis", "root": str(root), "val": "train_val", **FIRST}
    config = complete_config({"method": "maskconsist", "tags": {"min_pixels_at": None}, "data": data})
    found = [finding for finding in check_data(config) if finding.level == "error"]
    assert not found, found


def test_shrink_and_a_manifest_that_comes_back(root, tmp_path):
    dataset = open_dataset({"name": "youtube_vis", "root": root, "shrink": 2, **FIRST})
    manifest = build_manifest(dataset, "train", 0, 1, reach_frames=1)
    write_manifest(manifest, tmp_path / "0.json")
    assert read_manifest(tmp_path / "0.json") == manifest
    assert read_label(manifest, manifest.clips[0].frames[0]).shape == (16, 24) == manifest.clips[0].size


def test_tags_come_from_what_is_seen_in_each_frame(root):
    manifest = manifest_of("youtube_vis", root, "train", **FIRST)
    options = {"source": "labels", "file": None, "min_pixels": 1, "min_pixels_at": None, "complete": True}
    rows = make_tags(manifest, {**options, "reach_frames": 0}).rows
    seen = {frame: set(ids) - {0} for (_, frame), ids in rows.items()}
    assert seen == {"00000": {PERSON, DOG}, "00005": {PERSON}, "00010": set()}


def test_an_edit_of_one_video_leaves_the_digests_of_others(root):
    before = (
        manifest_of("youtube_vis", root, "train", **FIRST),
        manifest_of("youtube_vis", root, "train_val", **FIRST),
    )
    dataset = open_dataset({"name": "youtube_vis", "root": root, **FIRST})
    listed = listing_digest(dataset, "train", 0, 1)
    file = small_file()
    del file["annotations"][0]
    write_file(root, file)
    after = (
        manifest_of("youtube_vis", root, "train", **FIRST),
        manifest_of("youtube_vis", root, "train_val", **FIRST),
    )
    old, new = ([frame.label_digest for frame in each[0].clips[0].frames] for each in (before, after))
    assert not set(old) & set(new)
    assert len(set(old)) == 3  # no two frames of a video share one
    assert before[1] == after[1]
    assert (
        listing_digest(open_dataset({"name": "youtube_vis", "root": root, **FIRST}), "train", 0, 1) != listed
    )
    with pytest.raises(InputError, match=r"train\.json: what it says of video 17 changed since its digest"):
        read_label(before[0], before[0].clips[0].frames[0])


def test_the_draw_takes_some_videos_of_each_category_and_stays(tmp_path):
    root = write_tree(tmp_path, many_file(30))
    drawn = summary(root, "train_val", val_per_class=3)
    assert len(drawn) == 9
    assert {int(name[1:]) % 3 for name in drawn} == {0, 1, 2}
    assert not drawn.keys() & summary(root, "train", val_per_class=3).keys()
    assert " ".join(drawn) == "v002 v009 v013 v018 v019 v020 v025 v027 v029"
    assert summary(root, "train_val", val_per_class=3, val_seed=1) != drawn
    assert len(summary(root, "train_val", val_per_class=10)) == 15  # half of each
    write_file(root, many_file(33))
    moved = summary(root, "train_val", val_per_class=3).keys() ^ drawn.keys()
    assert len(moved) <= 6


def test_a_video_of_two_categories_counts_for_both(tmp_path):
    file = many_file(6)
    file["annotations"] = [
        track(i, i, category, [many_file(1)["annotations"][0]["segmentations"][0]])
        for i in range(6)
        for category in CATEGORIES
    ]
    assert 1 <= len(summary(write_tree(tmp_path, file), "train_val", val_per_class=1)) <= 3


def test_all_frames_are_taken_where_they_are_there(root):
    for number in range(11):
        write_frame(root / f"train_all_frames/JPEGImages/aa/{number:05d}.jpg", number)
    numbers, targets, _ = summary(root, "train", **FIRST)["aa"]
    assert numbers == [*range(11)]
    assert targets == (0, 5, 10)
    (clip,) = open_dataset({"name": "youtube_vis", "root": root, **FIRST}).clips("train")
    assert [frame.label is None for frame in clip.frames] == [number % 5 > 0 for number in range(11)]


@pytest.mark.parametrize("place", ["instances.json", "train/train.json", "train/instances.json"])
def test_the_file_may_lie_elsewhere(tmp_path, place):
    root = write_tree(tmp_path, small_file(), place)
    manifest = manifest_of("youtube_vis", root, "train", **FIRST)
    assert manifest.clips[0].frames[0].label == f"{place}#17/0"
    assert read_label(manifest, manifest.clips[0].frames[0]).any()


def test_doctor_tells_what_was_drawn_and_which_frames_are_missing(root):
    found = told_by_doctor("youtube_vis", root, train="train", val="train_val", **FIRST)
    assert not [one for one in found if one[0] == "error"], found
    (told,) = [
        f for f in open_dataset({"name": "youtube_vis", "root": root}).look("train_val") if f.level == "ok"
    ]
    assert "videos, 10 a category, drawn with data.val_seed 0" in told.found
    (root / "train/JPEGImages/aa/00005.jpg").unlink()
    found = {
        what: words for level, what, words in told_by_doctor("youtube_vis", root, val="train_val", **FIRST)
    }
    assert found["frames of train"] == "1 fault: aa lacks 1 of 3 frames, e.g. 00005"
    assert summary(root, "train", **FIRST)["aa"] == ([0, 10], (0, 1), ())


def test_doctor_tells_a_mask_that_cannot_be_read(root):
    file = small_file()
    file["annotations"][0]["segmentations"][0]["counts"] = "0"
    write_file(root, file)
    found = told_by_doctor("youtube_vis", root, val="train_val", **FIRST)
    assert any(
        level == "error"
        and re.search(r"video 17, annotation 0, frame 0: its run-length code cannot be", words)
        for level, _, words in found
    )


def test_a_frame_of_another_size_than_the_file_says(root):
    write_frame(root / "train/JPEGImages/aa/00000.jpg", 1, (16, 16))
    with pytest.raises(InputError, match=r"train.json#17/0: is 32x48 px .HxW., its frame 16x16"):
        manifest_of("youtube_vis", root, "train", **FIRST)


def _without_objects(file):
    file["annotations"] = None


def _paths_that_lead_out(file):
    file["videos"][0]["file_names"][0] = "../../secret.jpg"


def _two_folders(file):
    file["videos"][0]["file_names"][0] = "zz/00000.jpg"


def _one_folder_twice(file):
    file["videos"][1] = video(4, "aa", 2)


def _strange_video(file):
    file["annotations"][0]["video_id"] = 99


def _list_for_a_video(file):
    file["annotations"][1]["video_id"] = [17]


def _list_for_a_category(file):
    file["annotations"][0]["category_id"] = [[7] * 100]


def _lists_for_videos(file):
    file["videos"][0]["id"] = [17]


def _named_background(file):
    file["categories"][0]["name"] = "background"


def _escape_in_a_name(file):
    file["categories"][0]["name"] = "person\x1b[31m"


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_without_objects, "lists no objects, as the official files of validation and test"),
        (
            _paths_that_lead_out,
            "the frames of video 17 are not files of one folder, .*e.g. '../../secret.jpg'",
        ),
        (_two_folders, "the frames of video 17 are not files of one folder"),
        (_one_folder_twice, "the videos 17 and 4 have one folder, 'aa'"),
        (_strange_video, "an annotation names the video 99"),
        (_list_for_a_video, r"train.json, annotation 1: video_id is \[17\], expected a whole number"),
        (_list_for_a_category, r"annotation 0: category_id is \[\[7, 7.{0,60}, expected a whole number"),
        (_lists_for_videos, r"videos/0/id: \[17\] is not of type 'integer'"),
        (_named_background, "each of its own name and none called 'background'"),
        (_escape_in_a_name, r"the name 'person\\x1b\[31m' of a category holds control characters"),
    ],
)
def test_strange_files_are_told(root, spoil, told):
    file = small_file()
    spoil(file)
    write_file(root, file)
    with pytest.raises(InputError, match=told):
        open_dataset({"name": "youtube_vis", "root": root})


def test_errors_teach(root, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"is no YouTube-VIS, since it has no train.json; expected it"):
        open_dataset({"name": "youtube_vis", "root": tmp_path / "empty"})
    with pytest.raises(InputError, match=r"has no split 'val' of youtube_vis; found: train, train_val"):
        open_dataset({"name": "youtube_vis", "root": root}).clips("val")
    with pytest.raises(InputError, match=r"data.val_clips: 'cc' matches none of the clips aa, bb"):
        summary(root, "train", val_clips=["cc"])
    with pytest.raises(InputError, match=r"data.val_clips names all 2 videos"):
        summary(root, "train", val_clips=["*"])
