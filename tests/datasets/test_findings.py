"""What `weclick manifest` says of people's labels and numbers, and that it says nothing of sound ones."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from weclick.datasets import open_dataset
from weclick.datasets.findings import split_findings
from weclick.manifest.window import Window

NAMES = ("background", "road", "tree", "car")
PALETTE = ((0, 0, 0), (128, 64, 128), (0, 128, 0), (64, 0, 128))
SIZE = (40, 56)
WINDOW = Window(direction="both", frames=3, max_gap_frames=2)


def street(shift: int = 0) -> np.ndarray:
    """A car (3) on the road (1) under trees (2); the class map jumps between ids that are far apart."""
    label = np.zeros(SIZE, np.uint8)
    label[4:20, 6:50], label[24:36] = 2, 1
    label[22:32, 10 + shift : 30 + shift] = 3
    return label


def cars() -> np.ndarray:
    """Two cars side by side on nothing else."""
    label = np.zeros(SIZE, np.uint8)
    label[10:20, 5:15] = label[10:20, 15:25] = 3
    return label


class Project:
    """A folder with clip a and the held-out clip val: five frames each, labels on 0, 2 and 4."""

    def __init__(self, root: Path, names=NAMES) -> None:
        self.root = root
        rows = [f"- {{name: {n}, color: {list(c)}}}" for n, c in zip(names, PALETTE, strict=False)]
        classes = "\n".join(["classes:", *rows, f"instance_classes: [{names[-1]}]"])
        (root / "classes.yaml").write_text(classes)
        for clip in ("a", "val"):
            for i in range(5):
                self.save("frames", clip, i, np.zeros((*SIZE, 3), np.uint8))
            for i in (0, 2, 4):
                self.save("labels", clip, i, street(i) % len(names))

    def save(self, kind: str, clip: str, number: int, image: np.ndarray | Image.Image) -> None:
        path = self.root / kind / clip / f"{number:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(path)

    def relabel(self, make, clips=("a", "val")) -> None:
        for clip in clips:
            for i in (0, 2, 4):
                self.save("labels", clip, i, make(i))

    def said(self, split: str = "train", window: Window = WINDOW, max_gap_frames: int = 4) -> str:
        dataset = open_dataset({"name": "folder", "root": self.root, "val_clips": ["val"]})
        found = split_findings(dataset, split, window, max_gap_frames)
        return " | ".join(f"{each.level} {each.what}: {each.found}; {each.todo}" for each in found)


@pytest.fixture
def project(tmp_path) -> Project:
    return Project(tmp_path)


def test_one_strange_file_among_many_small_ones_is_told(project):
    for i in range(40):
        project.save("frames", "a", i, np.zeros((*SIZE, 3), np.uint8))
        project.save("labels", "a", i, street(i % 5))
    assert project.said() == ""
    swapped = Image.fromarray(street()).convert("P")
    swapped.putpalette([64, 0, 128, *PALETTE[1], *PALETTE[2], 0, 0, 0])
    project.save("labels", "a", 17, swapped)
    assert "0 is background in the list of classes, but has the colour of car" in project.said()


def test_sound_labels_are_passed_without_a_word(project):
    for clip in ("a", "val"):
        for i in (0, 2, 4):
            numbers = np.where(street(i) == 3, 3001, 0).astype(np.uint16)
            project.save("instances", clip, i, numbers)
    assert project.said() == project.said("val") == ""


def test_masks_of_0_and_255_are_told(tmp_path):
    project = Project(tmp_path, ("background", "car"))
    project.relabel(lambda i: np.where(street(i) == 3, 255, 0).astype(np.uint8))
    told = "in all labels only 255 stands beside background; 255 is ignored: if it is car, write 1"
    assert project.said() == f"warning labels of train: {told}"
    assert project.said("val") == f"warning labels of val: {told}"


def test_labels_of_255_alone_are_told(tmp_path):
    project = Project(tmp_path, ("background", "car"))
    project.relabel(lambda i: np.full(SIZE, 255, np.uint8))
    assert "all labels hold 255 alone; 255 is ignored: if it is background, write 0" in project.said("val")


def test_255_beside_several_classes_is_what_it_should_be(project):
    project.relabel(lambda i: np.where(np.arange(SIZE[1]) < 3, 255, street(i)).astype(np.uint8))
    assert project.said() == ""
    project.save("labels", "a", 2, np.where(street() == 3, 255, 0).astype(np.uint8))
    assert project.said() == ""


@pytest.mark.parametrize("how", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC])
def test_labels_that_were_resized_by_interpolation_are_told(project, how):
    def resized(make, how):
        small = Image.fromarray(make()).resize((SIZE[1] // 2, SIZE[0] // 2), Image.Resampling.NEAREST)
        return small.resize((SIZE[1], SIZE[0]), how)

    project.relabel(lambda i: resized(cars, Image.Resampling.NEAREST))
    assert project.said() == ""
    project.relabel(lambda i: np.clip(np.asarray(resized(cars, how)), 0, 3))
    assert "edges step through the values between two classes" in project.said()
    assert "px of road, tree), as if smoothed or resized" in project.said()


def test_a_palette_in_another_order_is_told_where_its_classes_occur(project):
    def swapped(i):
        image = Image.fromarray(street(i))
        image.putpalette([channel for color in (PALETTE[3], *PALETTE[1:3], PALETTE[0]) for channel in color])
        return image

    project.relabel(swapped)
    assert "0 is background in the list of classes, but has the colour of car in the files" in project.said()
    project.relabel(lambda i: Image.fromarray(np.full(SIZE, 1, np.uint8)))
    assert "colour" not in project.said()


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        ([3001, 3002], ""),
        ([185, 186], "numbers car 185, 186, expected 3001, 3002, ..."),
        ([1, 2], "numbers car 1, 2, expected 3001, 3002, ..."),
        ([3001, 3], ""),  # a group, as in Cityscapes
        ([3, 3], "none of 3 files, such as that of "),
        ([0, 0], "none of 3 files, such as that of "),
    ],
)
def test_instances_that_tell_nothing_apart_are_told(project, numbers, told):
    project.relabel(lambda i: cars())
    instances = np.zeros(SIZE, np.uint16)
    instances[10:20, 5:15], instances[10:20, 15:25] = numbers
    for i in (0, 2, 4):
        project.save("instances", "a", i, instances.astype(np.uint8) if max(numbers) < 256 else instances)
    said = project.said()
    assert (told in said and "warning instances of train" in said) if told else said == ""


def test_labels_without_the_instance_file_that_others_have_are_told(project):
    project.relabel(lambda i: np.zeros(SIZE, np.uint8) if i == 4 else cars())
    project.save("instances", "a", 0, np.where(cars() == 3, 3001, 0).astype(np.uint16))
    told = "warning instances of train: 1 of 2 labels that show car have no such file, e.g. "
    assert project.said().startswith(f"{told}{project.root}/labels/a/00002.png; add them")
    project.save("instances", "a", 2, np.where(cars() == 3, 3001, 0).astype(np.uint16))
    assert project.said() == ""


def test_instances_without_a_class_that_has_them_are_told(project):
    path = project.root / "classes.yaml"
    path.write_text(path.read_text().replace("instance_classes: [car]", ""))
    assert project.said() == ""
    project.save("instances", "a", 0, np.where(street() == 3, 3001, 0).astype(np.uint16))
    assert "the list of classes has no instance_classes, so the files are not read" in project.said()


def test_an_instance_file_of_another_size_is_one_error(project):
    project.save("instances", "a", 0, np.zeros((8, 8), np.uint16))
    said = project.said()
    assert said.startswith("error labels of train: 1 fault: ")
    assert "instances/a/00000.png: is 8x8 px (HxW), its frame 40x56; " in said
    assert "warning" not in said


def test_objects_of_class_0_cannot_be_numbered(tmp_path):
    project = Project(tmp_path, ("car",))
    project.save("instances", "a", 0, np.full(SIZE, 7, np.uint16))
    assert "numbers car 7, expected 1000 or more, which the class id 0 cannot have" in project.said()


@pytest.mark.parametrize(
    ("label", "told"),
    [
        (np.full(SIZE, 9, np.uint8), r"00002.png: holds values [9], expected class ids 0..3 or 255"),
        (np.zeros((8, 8), np.uint8), "00002.png: is 8x8 px (HxW), its frame 40x56"),
    ],
)
def test_a_label_that_a_run_would_refuse_is_an_error_at_once(project, label, told):
    project.save("labels", "val", 2, label)
    assert project.said("val").startswith("error labels of val: 1 fault: ")
    assert told in project.said("val")
    assert project.said() == ""


def renumber(project: Project, kind: str, change) -> None:
    for clip in ("a", "val"):
        for path in sorted((project.root / kind / clip).iterdir(), reverse=True):
            path.rename(path.with_stem(f"{change(int(path.stem)):05d}"))


@pytest.mark.parametrize(("apart", "sampling"), [(5, "random"), (30, "random"), (5, "fixed")])
def test_gaps_are_told_with_the_smallest_one_that_would_do(project, apart, sampling):
    for kind in ("frames", "labels"):
        renumber(project, kind, lambda number: number * apart)
    window = replace(WINDOW, sampling=sampling)
    key = "interval_frames" if sampling == "fixed" else "max_gap_frames"
    assert project.said(window=window) == (
        f"warning targets: 3 of 3 have no neighbour, since the next frame is {apart} away by its number; "
        f"set window.{key} to {apart}"
    )
    assert f"2 of 3 have no earlier frame, since the next frame is {apart}" in project.said("val")
    enough = replace(window, **{key: apart})
    assert project.said(window=enough) == project.said("val", max_gap_frames=apart) == ""


def test_numbers_that_are_times_are_told(project):
    for kind in ("frames", "labels"):
        renumber(project, kind, lambda number: 1305031102000000 + number * 33333)
    assert "the numbers in the names seem to be times: name the frames 0, 1, 2" in project.said()


def test_the_first_frame_and_a_single_image_need_no_neighbour(project):
    assert project.said(window=replace(WINDOW, direction="forward")) == ""
    for clip in ("a", "val"):
        for path in sorted((project.root / "frames" / clip).iterdir())[1:]:
            path.unlink()
        for path in sorted((project.root / "labels" / clip).iterdir())[1:]:
            path.unlink()
    assert project.said() == project.said("val") == ""


def test_labels_that_seem_to_count_from_1_are_told(project):
    renumber(project, "labels", lambda number: min(number + 1, 3 + number // 4))
    (project.root / "labels" / "a" / "00004.png").unlink()
    assert "labels lie 2 frames apart, but begin with the second frame, 1 (clip a" in project.said()
