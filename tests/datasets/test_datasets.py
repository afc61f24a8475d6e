"""Adapters: tiny made-up layouts of every kind, and real CamVid and DAVIS clips where they are at hand."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from helpers.places import ROOT, SHARED
from weclick.common.config import load_config
from weclick.datasets import build_manifest, listing_digest, open_dataset
from weclick.datasets.folder import CLASSES_EXAMPLE
from weclick.manifest.read import read_clip, read_instances, read_label
from weclick.manifest.video import video_info

REAL = SHARED / "data"
SIZE = (16, 24)


def write_image(path: Path, color=(90, 120, 150)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*SIZE, 3), color, np.uint8)).save(path)
    return path


def write_ids(path: Path, value: int = 0, dtype=np.uint8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(SIZE, value, dtype)).save(path)
    return path


def write_video(path: Path, count: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=24)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        for i in range(count):
            image = np.full((32, 48, 3), 20 * i, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def summary(clips) -> dict[str, tuple[list[int], list[int], list[int]]]:
    """Clip id -> numbers of its frames, of its targets, of its scored frames."""
    return {
        clip.id: (
            [frame.number for frame in clip.frames],
            [clip.frames[i].number for i in clip.targets],
            [clip.frames[i].number for i in clip.scored],
        )
        for clip in clips
    }


class TestOpenDataset:
    def test_names_the_known_adapters(self, tmp_path):
        with pytest.raises(ValueError, match="'kitti', expected one of toy, camvid, cityscapes, folder"):
            open_dataset({"name": "kitti", "root": tmp_path})

    def test_tells_how_to_get_a_missing_root(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="make it with `weclick toy`"):
            open_dataset({"name": "toy", "root": tmp_path / "none"})

    def test_unknown_split_lists_those_there_are(self, tmp_path):
        camvid(tmp_path)
        with pytest.raises(ValueError, match="no split 'test' of camvid; found: train, val"):
            open_dataset({"name": "camvid", "root": tmp_path}).clips("test")


def camvid(root: Path) -> None:
    """A SegNet layout: two train sequences, one of which val shares."""
    for split, stems in {
        "train": ["0016E5_00390", "0016E5_00420", "Seq05VD_f00000"],
        "val": ["0016E5_00405", "0016E5_00407"],
    }.items():
        for stem in stems:
            write_image(root / split / f"{stem}.jpg")
            write_ids(root / f"{split}annot" / f"{stem}.png", 11)


class TestCamVid:
    def test_one_clip_per_sequence_and_split(self, tmp_path):
        camvid(tmp_path)
        dataset = open_dataset({"name": "camvid", "root": tmp_path})
        assert dataset.splits == ("train", "val")
        assert summary(dataset.clips("train")) == {
            "train_0016E5": ([390, 420], [390, 420], []),
            "train_Seq05VD": ([0], [0], []),
        }
        assert summary(dataset.clips("val")) == {"val_0016E5": ([405, 407], [], [405, 407])}

    def test_void_is_ignored(self, tmp_path):
        camvid(tmp_path)
        manifest = build_manifest(
            open_dataset({"name": "camvid", "root": tmp_path}), "val", 0, 1, reach_frames=1
        )
        assert set(read_label(manifest, manifest.clips[0].frames[0]).ravel()) == {255}

    def test_a_list_selects_and_is_checked(self, tmp_path):
        camvid(tmp_path)
        listed = tmp_path / "train.txt"
        listed.write_text(
            "/SegNet/CamVid/train/0016E5_00390.png /SegNet/CamVid/trainannot/0016E5_00390.png\n\n"
        )
        dataset = open_dataset({"name": "camvid", "root": tmp_path})
        assert summary(dataset.clips("train")) == {"train_0016E5": ([390], [390], [])}
        listed.write_text("train/0016E5_00999.jpg\n")
        with pytest.raises(FileNotFoundError, match=r"lacks 0016E5_00999, which train.txt names"):
            open_dataset({"name": "camvid", "root": tmp_path}).clips("train")

    def test_dense_frames_go_to_the_split_of_the_nearest_label(self, tmp_path):
        camvid(tmp_path)
        for number in (389, 390, 397, 398, 406, 410, 419):
            write_image(tmp_path / "frames30" / "0016E5" / f"0016E5_{number:05d}.png")
        dataset = open_dataset({"name": "camvid", "root": tmp_path})
        assert summary(dataset.clips("train"))["train_0016E5"] == ([389, 390, 397, 419, 420], [390, 420], [])
        assert summary(dataset.clips("val"))["val_0016E5"] == ([398, 405, 406, 407, 410], [], [405, 407])

    def test_original_layout_maps_32_colours_to_11_classes(self, tmp_path):
        stem = "0001TP_006690"
        write_image(tmp_path / "701_StillsRaw_full" / f"{stem}.png")
        colors = [(128, 128, 128), (64, 192, 0), (192, 0, 64), (64, 128, 192), (192, 0, 192), (0, 0, 0)]
        label = np.repeat(np.array(colors, np.uint8)[None], SIZE[0], 0).repeat(4, 1)
        (tmp_path / "LabeledApproved_full").mkdir()
        Image.fromarray(label).save(tmp_path / "LabeledApproved_full" / f"{stem}_L.png")
        with pytest.raises(ValueError, match="nothing says which frames are in which split"):
            open_dataset({"name": "camvid", "root": tmp_path})
        (tmp_path / "train.txt").write_text(f"{stem}\n")
        dataset = open_dataset({"name": "camvid", "root": tmp_path})
        manifest = build_manifest(dataset, "train", 0, 1, reach_frames=0)
        names = dataset.classes.names
        ids = read_label(manifest, manifest.clips[0].frames[0])[0, ::4]
        assert [names[i] for i in ids[:-1]] == ["sky", "building", "road", "car", "bicyclist"]
        assert ids[-1] == 255
        assert len(dataset.classes.label_map["colors"]) == 31

    def test_errors_teach(self, tmp_path):
        with pytest.raises(ValueError, match="is no CamVid; expected train/ and trainannot/"):
            open_dataset({"name": "camvid", "root": tmp_path})
        camvid(tmp_path)
        write_ids(tmp_path / "valannot" / "0016E5_00409.png")
        dataset = open_dataset({"name": "camvid", "root": tmp_path})
        with pytest.raises(ValueError, match=r"1 labels have no frame in .*, e.g. 0016E5_00409"):
            dataset.clips("val")
        write_image(tmp_path / "val" / "0016E5_00409.jpg")
        write_image(tmp_path / "train" / "street.jpg")
        with pytest.raises(ValueError, match="'street' is not named like CamVid"):
            dataset.clips("train")


def cityscapes(root: Path) -> None:
    """Two snippets of one city, a frame missing in one; train has an instance map."""
    for number in [*range(1, 12), *range(13, 31), 119]:
        name = f"aachen_000000_{number:06d}_leftImg8bit.png"
        write_image(root / "leftImg8bit_sequence" / "train" / "aachen" / name)
    write_image(root / "leftImg8bit" / "val" / "bochum" / "bochum_000000_016125_leftImg8bit.png")
    for split, stem, value in (
        ("train", "aachen/aachen_000000_000019", 26),
        ("train", "aachen/aachen_000000_000119", 7),
        ("val", "bochum/bochum_000000_016125", 3),
    ):
        write_ids(root / "gtFine" / split / f"{stem}_gtFine_labelIds.png", value)
        write_ids(root / "gtFine" / split / f"{stem}_gtFine_instanceIds.png", value * 1000 + 1, np.uint16)


class TestCityscapes:
    def test_a_clip_is_a_snippet_around_its_annotated_frame(self, tmp_path):
        cityscapes(tmp_path)
        dataset = open_dataset({"name": "cityscapes", "root": tmp_path})
        assert dataset.splits == ("train", "val")
        assert summary(dataset.clips("train")) == {
            "aachen_000000_000019": ([*range(1, 12), *range(13, 30)], [19], []),
            "aachen_000000_000119": ([119], [119], []),
        }
        assert summary(dataset.clips("val")) == {"bochum_000000_016125": ([16125], [], [16125])}

    def test_label_ids_become_training_ids(self, tmp_path):
        cityscapes(tmp_path)
        dataset = open_dataset({"name": "cityscapes", "root": tmp_path})
        classes = dataset.classes
        assert len(classes.names) == 19
        assert len(classes.label_map["ids"]) == 34
        assert Counter(classes.label_map["ids"].values()) == Counter([*range(19), *[255] * 15])
        assert [classes.names[i] for i in classes.instance_classes] == [
            *("person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")
        ]
        manifest = build_manifest(dataset, "train", 0, 1, reach_frames=4)
        first = manifest.clips[0]
        assert [frame.number for frame in first.frames] == list(range(15, 24))
        target = first.frames[first.targets[0]]
        assert classes.names[read_label(manifest, target)[0, 0]] == "car"
        assert read_instances(manifest, target)[0, 0] == 26001
        assert [frame.label is None for frame in first.frames].count(False) == 1

    def test_annotated_frames_of_both_splits_tell_their_objects_apart(self, tmp_path):
        cityscapes(tmp_path)
        dataset = open_dataset({"name": "cityscapes", "root": tmp_path})
        for split, value in (("train", 26001), ("val", 3001)):
            manifest = build_manifest(dataset, split, 0, 1, reach_frames=4)
            for clip in manifest.clips:
                annotated = {*clip.targets, *clip.scored}
                for t, frame in enumerate(clip.frames):
                    assert (frame.instances is not None) == (t in annotated) == (frame.label is not None)
                    assert bool(frame.instances_digest) == (t in annotated)
            clip = manifest.clips[0]
            (t,) = (*clip.targets, *clip.scored)
            assert clip.frames[t].instances == clip.frames[t].label.replace("labelIds", "instanceIds")
            assert (read_instances(manifest, clip.frames[t]) == value).all()

    def test_a_label_needs_its_frame(self, tmp_path):
        cityscapes(tmp_path)
        (tmp_path / "leftImg8bit/val/bochum/bochum_000000_016125_leftImg8bit.png").unlink()
        with pytest.raises(
            FileNotFoundError, match=r"bochum_000000_016125_gtFine_labelIds.png: its frame is missing"
        ):
            open_dataset({"name": "cityscapes", "root": tmp_path}).clips("val")


class TestToy:
    def test_every_frame_of_both_splits_tells_its_objects_apart(self, street):
        for manifest in (street.train, street.val):
            classes = manifest.classes
            assert [classes.names[i] for i in classes.instance_classes] == ["person", "car"]
            assert not classes.numbered_objects
            seen = set()
            for frame in (frame for clip in manifest.clips for frame in clip.frames):
                assert frame.instances
                assert frame.instances_digest
                label, instances = read_label(manifest, frame), read_instances(manifest, frame)
                shown = np.isin(label, classes.instance_classes)
                assert np.array_equal(instances[shown] // 1000, label[shown])
                assert not instances[~shown].any()
                seen |= {*np.unique(instances)} - {0}
            assert seen

    def test_targets_every_nth_frame_of_train(self, tmp_path):
        for split in ("train", "val"):
            for number in range(5):
                stem = f"{split}/street_{split}/street_{split}_{number:06d}"
                write_image(tmp_path / "leftImg8bit" / f"{stem}_leftImg8bit.png")
                write_ids(tmp_path / "gtFine" / f"{stem}_gtFine_labelIds.png", 3)
                write_ids(tmp_path / "gtFine" / f"{stem}_gtFine_instanceIds.png", 8001, np.uint16)
        dataset = open_dataset({"name": "toy", "root": tmp_path, "target_every": 2})
        assert summary(dataset.clips("train")) == {"street_train": ([0, 1, 2, 3, 4], [0, 2, 4], [])}
        assert summary(dataset.clips("val")) == {"street_val": ([0, 1, 2, 3, 4], [], [0, 1, 2, 3, 4])}
        assert dataset.classes.label_map is None
        assert {dataset.classes.names[i] for i in dataset.classes.instance_classes} == {"person", "car"}


@pytest.fixture
def folder(tmp_path) -> Path:
    """Clips cat (images 0..5, labels on 0, 1, 3, 4) and dog (a video of 6 frames, labels on 0 and 5)."""
    for number in range(6):
        write_image(tmp_path / "frames" / "cat" / f"cat_{number:03d}.png")
    for number in (0, 1, 3, 4):
        write_ids(tmp_path / "labels" / "cat" / f"cat_{number:03d}.png", 1)
    write_video(tmp_path / "videos" / "dog.mp4", 6)
    for number in (0, 5):
        path = write_ids(tmp_path / "labels" / "dog" / f"{number:05d}.png", 1)
        Image.open(path).resize((48, 32)).save(path)
    (tmp_path / "classes.yaml").write_text(CLASSES_EXAMPLE)
    return tmp_path


class TestFolder:
    def test_held_out_clips(self, folder):
        dataset = open_dataset({"name": "folder", "root": folder, "held_out": "clips", "val_clips": ["d*"]})
        assert summary(dataset.clips("train")) == {"cat": ([0, 1, 2, 3, 4, 5], [0, 1, 3, 4], [])}
        assert summary(dataset.clips("val")) == {"dog": ([0, 1, 2, 3, 4, 5], [], [0, 5])}

    def test_held_out_frames(self, folder):
        data = {"name": "folder", "root": folder, "held_out": "other_frames", "target_every": 3}
        dataset = open_dataset(data)
        assert summary(dataset.clips("train")) == {
            "cat": ([0, 1, 2, 3, 4, 5], [0, 3], []),
            "dog": ([0, 1, 2, 3, 4, 5], [0], []),
        }
        assert summary(dataset.clips("val")) == {
            "cat": ([0, 1, 2, 3, 4, 5], [], [1, 4]),
            "dog": ([0, 1, 2, 3, 4, 5], [], [5]),
        }

    def test_frames_of_a_video_are_decoded_by_index(self, folder):
        dataset = open_dataset({"name": "folder", "root": folder, "val_clips": ["dog"]})
        manifest = build_manifest(dataset, "val", 0, 1, reach_frames=1)
        (dog,) = manifest.clips
        assert [frame.video_frame for frame in dog.frames] == [0, 1, 4, 5]
        assert [frame.digest.partition(":")[2] for frame in dog.frames] == ["0", "1", "4", "5"]
        assert len({frame.digest.partition(":")[0] for frame in dog.frames}) == 1
        assert dog.size == (32, 48)
        grey = [image.mean() for image in read_clip(manifest, dog)]
        np.testing.assert_allclose(grey, [0, 20, 80, 100], atol=3)

    @pytest.mark.parametrize("suffix", ["mp4", "mkv"])
    def test_video_info_counts_where_the_header_does_not(self, tmp_path, suffix):
        assert video_info(write_video(tmp_path / f"clip.{suffix}", 7))[:3] == (7, 32, 48)

    @pytest.mark.parametrize(
        ("stems", "numbers"),
        [
            (["a_2024_007", "a_2024_009"], [7, 9]),
            (["first", "second"], [0, 1]),
            (["left_1", "right_1"], [0, 1]),
            (["10", "9"], [9, 10]),
        ],
    )
    def test_frame_numbers(self, tmp_path, stems, numbers):
        for stem in stems:
            write_image(tmp_path / "frames" / "clip" / f"{stem}.jpg")
            write_ids(tmp_path / "labels" / "clip" / f"{stem}.png")
        (tmp_path / "classes.yaml").write_text(CLASSES_EXAMPLE)
        dataset = open_dataset({"name": "folder", "root": tmp_path, "held_out": "other_frames"})
        assert [frame.number for frame in dataset.clips("train")[0].frames] == numbers

    def test_click_table_names_the_targets(self, folder):
        table = folder / "clicks.csv"
        table.write_text("clip,frame,y,x,class\ncat,cat_002,3,4,car\ncat,5,1,1,0\ncat,cat_002,1,1,0\n")
        data = {"name": "folder", "root": folder, "val_clips": ["dog"], "clicks": str(table)}
        dataset = open_dataset(data)
        assert dataset.click_file == "clicks.csv"
        assert summary(dataset.clips("train"))["cat"][1] == [2, 5]
        assert summary(dataset.clips("val"))["dog"][2] == [0, 5]
        table.write_text("clip,frame,y,x,class\ncat,cat_009,3,4,car\n")
        with pytest.raises(ValueError, match="line 2: clip 'cat', frame 'cat_009' is not on disk"):
            open_dataset(data).clips("train")
        with pytest.raises(FileNotFoundError, match="or remove the key to make clicks from labels"):
            open_dataset(data | {"clicks": str(folder / "none.csv")})

    def test_classes_may_be_json(self, folder):
        path = folder / "other.json"
        path.write_text(json.dumps({"classes": [{"name": "sea", "color": [0, 0, 255]}]}))
        dataset = open_dataset({"name": "folder", "root": folder, "classes": str(path)})
        assert dataset.classes.names == ("sea",)
        assert dataset.classes.palette == ((0, 0, 255),)

    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("classes: [background, car]", "class 0 has no color and no name"),
            ("classes: [{name: car, color: [0, 0, 300]}]", "outside 0..255"),
            (
                "classes: [{name: car, color: [0, 0, 0]}]\ninstance_classes: [dog]",
                "instance_classes names 'dog'",
            ),
            ("classes: [{name: a, color: [0, 0, 0]}, {name: a, color: [0, 0, 0]}]", "different names"),
        ],
    )
    def test_malformed_classes(self, folder, text, found):
        (folder / "classes.yaml").write_text(text)
        with pytest.raises(ValueError, match=found):
            open_dataset({"name": "folder", "root": folder})

    def test_missing_classes_show_an_example(self, folder):
        (folder / "classes.yaml").unlink()
        with pytest.raises(FileNotFoundError, match=r"- \{name: car, color: "):
            open_dataset({"name": "folder", "root": folder})

    def test_labels_need_frames(self, folder):
        write_ids(folder / "labels" / "cat" / "cat_077.png")
        dataset = open_dataset({"name": "folder", "root": folder, "held_out": "other_frames"})
        with pytest.raises(ValueError, match=r"cat_077.png: belongs to no frame; clip 'cat' has 6 frames"):
            dataset.clips("train")
        write_ids(folder / "labels" / "cow" / "0.png")
        with pytest.raises(ValueError, match="labels without frames; the clips are cat, dog"):
            dataset.clips("train")

    def test_held_out_clips_must_exist(self, folder):
        data = {"name": "folder", "root": folder, "held_out": "clips"}
        with pytest.raises(ValueError, match=r"data.val_clips is empty"):
            open_dataset(data).clips("val")
        with pytest.raises(ValueError, match="'cow' matches none of the clips cat, dog"):
            open_dataset(data | {"val_clips": ["cow"]}).clips("val")

    def test_a_clip_twice_is_refused(self, folder):
        write_image(folder / "frames" / "dog" / "1.png")
        with pytest.raises(ValueError, match="clip 'dog' is there more than once"):
            open_dataset({"name": "folder", "root": folder}).clips("train")

    def test_no_clips_and_no_labels(self, tmp_path):
        (tmp_path / "classes.yaml").write_text(CLASSES_EXAMPLE)
        dataset = open_dataset({"name": "folder", "root": tmp_path, "held_out": "other_frames"})
        with pytest.raises(ValueError, match="holds no clips; put images into frames/<clip>/"):
            dataset.clips("train")
        write_image(tmp_path / "frames" / "cat" / "1.png")
        with pytest.raises(ValueError, match="has 1 clips, but no labelled frame"):
            dataset.clips("train")

    def test_what_is_no_video(self, folder):
        (folder / "videos" / "dog.mp4").write_bytes(b"no video")
        with pytest.raises(ValueError, match=r"dog.mp4: cannot be opened as a video .* re-encode it"):
            open_dataset({"name": "folder", "root": folder, "val_clips": ["dog"]}).clips("val")


class TestListingDigest:
    def digest(self, folder: Path) -> str:
        dataset = open_dataset({"name": "folder", "root": folder, "held_out": "clips", "val_clips": ["dog"]})
        return listing_digest(dataset, "train", 0, 1)

    def test_sees_what_is_added_or_grows_but_not_the_clock(self, folder):
        before = self.digest(folder)
        image = folder / "frames" / "cat" / "cat_000.png"
        image.touch()
        assert self.digest(folder) == before
        image.write_bytes(image.read_bytes() + b"\0")
        grown = self.digest(folder)
        write_ids(folder / "labels" / "cat" / "cat_005.png")
        assert len({before, grown, self.digest(folder)}) == 3

    def test_other_splits_do_not_count(self, folder):
        before = self.digest(folder)
        write_ids(folder / "labels" / "dog" / "00002.png")
        assert self.digest(folder) == before

    def test_classes_count_by_content(self, folder):
        before = self.digest(folder)
        (folder / "classes.yaml").write_text(
            CLASSES_EXAMPLE.replace("name: car", "name: bus").replace("[car]", "[]")
        )
        assert self.digest(folder) != before

    def test_a_broken_link_is_named(self, folder):
        (folder / "frames" / "cat" / "cat_006.png").symlink_to(folder / "nowhere.png")
        with pytest.raises(
            FileNotFoundError, match=r"cat_006.png: named by the data set, but a link that leads"
        ):
            self.digest(folder)


real_camvid = pytest.mark.skipif(not (REAL / "camvid").is_dir(), reason="the CamVid copy is not at hand")
real_davis13 = pytest.mark.skipif(not (REAL / "davis13").is_dir(), reason="the DAVIS clips are not at hand")
real_davis = pytest.mark.skipif(not (REAL / "davis").is_dir(), reason="the DAVIS clips are not at hand")


@real_camvid
def test_real_camvid():
    dataset = open_dataset({"name": "camvid", "root": REAL / "camvid"})
    lengths = {clip.id: len(clip.frames) for split in dataset.splits for clip in dataset.clips(split)}
    assert lengths == {
        "train_0001TP": 62,
        "train_0006R0": 101,
        "train_0016E5": 204,
        "val_0016E5": 101,
        "test_0001TP": 62,
        "test_Seq05VD": 171,
    }
    (val,) = build_manifest(dataset, "val", 0, 1, reach_frames=4).clips
    assert val.size == (360, 480)
    assert [frame.number for frame in val.frames] == list(range(7959, 8160, 2))


@real_davis
def test_real_davis():
    config = ROOT / "config" / "davis_classes.yaml"
    data = {"name": "folder", "root": REAL / "davis", "classes": str(config), "target_every": 10}
    dataset = open_dataset(data | {"held_out": "other_frames"})
    manifest = build_manifest(dataset, "train", 0, 1, reach_frames=4)
    assert sum(len(clip.targets) for clip in manifest.clips) == 28
    assert all(clip.size == (480, 854) for clip in manifest.clips)
    dog = next(clip for clip in manifest.clips if clip.id == "dog")
    assert set(np.unique(read_label(manifest, dog.frames[0]))) == {0, 2}


@real_davis13
@pytest.mark.parametrize("unseen", [False, True])
def test_real_davis13(unseen):
    data = load_config(ROOT / "config" / "davis13.yaml")["data"]
    data |= {"root": REAL / "davis13", "classes": str(ROOT / data["classes"])}
    held_out = ["drift-chicane", "libby", "scooter-black"]
    dataset = open_dataset(data | ({"held_out": "clips", "val_clips": held_out} if unseen else {}))
    splits = {split: dataset.clips(split) for split in ("train", "val")}
    targets, scored = (
        sum(len(part) for clip in splits[split] for part in (clip.targets, clip.scored)) for split in splits
    )
    assert (targets, scored) == ((69, 144) if unseen else (85, 738))
    if unseen:
        assert [clip.id for clip in splits["val"]] == held_out
    manifest = build_manifest(dataset, "train", 0, 1, reach_frames=0)
    (goat,) = (clip for clip in manifest.clips if clip.id == "goat")
    assert goat.size == (240, 427)
    assert set(np.unique(read_label(manifest, goat.frames[0]))) == {0, 6}


def test_a_folder_that_is_not_there_is_told_with_where_relative_paths_start(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as caught:
        open_dataset({"name": "folder", "root": "data/films"})
    assert f"no such folder in {tmp_path}, where relative paths start; correct data.root" in str(caught.value)
    with pytest.raises(FileNotFoundError, match="no such folder; download the data set"):
        open_dataset({"name": "davis", "root": "/nowhere/davis"})
