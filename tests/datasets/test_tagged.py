"""Data sets that have tags and nothing else: which frames are targets, and what is refused."""

from __future__ import annotations

import json

import pytest

from helpers.tagged_root import TaggedRoot
from weclick.common.errors import InputError
from weclick.datasets import build_manifest, open_dataset
from weclick.manifest import write_manifest


@pytest.fixture
def root(tmp_path) -> TaggedRoot:
    return TaggedRoot(tmp_path)


def test_without_label_click_and_tag_a_split_is_refused(root):
    root.clip("park")
    with pytest.raises(
        InputError,
        match=r"no labelled frame .*; click in it .*, add labels, tag .*tags\.source",
    ):
        root.targets("labels")


def test_frames_of_tagged_clips_are_targets_every_nth_of_them(root):
    root.clip("park", 5)
    root.clip("zoo", 5)
    root.write("tags.csv", "clip,frame,class\npark,,dog\nzoo,000,dog\nzoo,001,dog\nzoo,4,dog\n")
    assert root.targets("file") == {"park": (0, 1, 2, 3, 4), "zoo": (0, 1, 4)}
    assert root.targets("file", target_every=2) == {"park": (0, 2, 4), "zoo": (0, 4)}
    assert root.dataset("file").clips("val")[0].scored == ()


def test_a_table_elsewhere_is_named_as_that_of_clicks(root, tmp_path):
    root.clip("park")
    root.write("lists/mine.csv", "clip,frame,class\npark,,dog\n")
    dataset = root.dataset("file", str(tmp_path / "lists" / "mine.csv"))
    assert dataset.clips("train")[0].targets == (0, 1, 2, 3)
    with pytest.raises(InputError, match=r"tags\.csv: there is no such table of tags"):
        root.targets("file")


def test_labels_and_clicks_come_first(root):
    for name in ("masked", "clicked", "tagged"):
        root.clip(name)
    root.image("labels/masked/002", 1)
    root.write("clicks.csv", "clip,frame,y,x,class\nclicked,001,1,1,dog\n")
    root.write("tags.csv", "clip,frame,class\nmasked,,dog\nclicked,,dog\ntagged,,dog\n")
    clicks = str(root.path / "clicks.csv")
    found = root.targets("file", clicks=clicks, held_out_every=0)
    assert found == {"masked": (), "clicked": (1,), "tagged": (0, 1, 2, 3)}
    # a clicked frame that is held out makes no target of its clip's others
    root.write("clicks.csv", "clip,frame,y,x,class\nmasked,1,1,1,dog\nclicked,001,1,1,dog\n")
    found = root.targets("file", clicks=clicks, held_out_every=1)
    assert found == {"masked": (1,), "clicked": (), "tagged": (0, 1, 2, 3)}


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (
            "prk,,dog\n",
            r"tags\.csv, line 2: clip 'prk' is not on disk; did you mean 'park'\?; there are clips",
        ),
        ("park,9,dog\n", r"tags\.csv, line 2: clip 'park' has no frame '9'; it has 4, '000' to '003'"),
        ("held,9,dog\n", r"line 2: clip 'held' has no frame '9'"),
        ("held,,dog\n", r"clip 'park' of the training split has no label, .*no row in .*tags\.csv\); tag it"),
        (
            "park,1,dog\n",
            r"1 frames of clip 'park' have tags, but .* every 3 frames; lower data\.target_every",
        ),
    ],
)
def test_what_no_run_could_learn_from_is_one_error(root, rows, told):
    root.clip("park")
    root.clip("held")
    root.write("tags.csv", f"clip,frame,class\n{rows}")
    with pytest.raises(InputError, match=told):
        root.targets("file", held_out="clips", val_clips=["held"], target_every=3)


def test_tags_of_the_other_split_are_no_fault(root):
    root.clip("park")
    root.clip("held")
    root.write("tags.csv", "clip,frame,class\npark,,dog\nheld,001,dog\n")
    assert root.targets("file", held_out="clips", val_clips=["held"]) == {"park": (0, 1, 2, 3)}


def test_clips_in_the_folders_of_classes_are_tagged_by_them(root):
    root.clip("dog/one", 2)
    root.clip("dog/two", 2)
    root.image("labels/dog/two/001", 1)
    assert root.targets("folders", target_every=2) == {"dog/one": (0,), "dog/two": ()}
    built = build_manifest(root.dataset("folders"), "train", 0, 1, reach_frames=1)
    assert built.clips[0].frames[0].image == "frames/dog/one/000.png"


def test_a_clip_in_no_such_folder_is_told(root):
    root.clip("park")
    with pytest.raises(InputError, match=r"clip 'park' of the .* no tag \(no folder of a class\); tag it"):
        root.targets("folders")


def test_frames_with_an_annotation_file_are_targets(root):
    root.clip("park")
    root.write("Annotations/000.xml", "<annotation/>")
    root.write("Annotations/003.xml", "<annotation/>")
    root.write("Annotations/other.xml", "<annotation/>")
    assert root.targets("voc") == {"park": (0, 3)}
    root.clip("zoo")
    with pytest.raises(InputError, match=r"000\.xml: may belong to .*put the files of each clip into"):
        root.targets("voc")


def test_tags_from_labels_change_no_manifest(root, tmp_path):
    root.clip("park")
    root.image("labels/park/000", 1)
    data = {"name": "folder", "root": str(root.path), "held_out": "other_frames"}
    with_tags, without = root.dataset("labels"), open_dataset(data)
    for name, dataset in (("a", with_tags), ("b", without)):
        write_manifest(build_manifest(dataset, "train", 0, 1, reach_frames=1), tmp_path / f"{name}.json")
    assert json.loads((tmp_path / "a.json").read_text()) == json.loads((tmp_path / "b.json").read_text())
