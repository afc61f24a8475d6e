"""What `weclick doctor` says of a student of two streams: its flow, its maps, its crops."""

import shutil

import pytest

from helpers.tagged_root import TaggedRoot
from weclick.common.config import complete_config
from weclick.common.findings import Finding
from weclick.runs.doctor.data import check_data


@pytest.fixture
def root(tmp_path) -> TaggedRoot:
    """Frames of 8x10 px, the classes background and dog, a tag for each clip."""
    made = TaggedRoot(tmp_path)
    made.clip("park")
    made.write("tags.csv", "clip,frame,class\npark,,dog\n")
    return made


def told(root: TaggedRoot, what: str, **changes) -> list[Finding]:
    data = root.config("file")["data"]
    sections = {
        "student": {"architecture": "two_stream", "crop": [8, 10], "scale": [1, 1]},
        "cams": {"source": "tags"},
        **changes,
    }
    tags = {"source": "file", "file": None}
    config = complete_config({"method": "two_stream", "data": data, "tags": tags, **sections})
    return [found for found in check_data(config) if found.what == what]


def second_apart(root: TaggedRoot) -> None:
    """A clip of which every second frame is there."""
    root.write("tags.csv", "clip,frame,class\npark,,dog\nroad,,dog\n")
    for t in (0, 2, 4, 6):
        root.image(f"frames/road/{t:03d}", t)


def test_frames_in_a_row_have_flow(root):
    found = told(root, "stacks")
    assert {finding.level for finding in found} == {"ok"}
    assert found[0].found == "all 4 targets have flow in their stack"


def test_targets_whose_next_frame_is_missing_see_no_motion(root):
    second_apart(root)
    (found,) = [each for each in told(root, "stacks") if "targets" in each.found]
    assert found.level == "warning"
    assert found.found.startswith("4 of 8 targets have no flow in their stack, since no frame from -4 to +6")
    assert "e.g. around 000 of clip road: the motion stream sees nothing there" in found.found
    assert "student.fusion: none" in found.todo


def test_a_run_without_any_motion_is_an_error_and_one_without_a_motion_stream_is_none(root):
    second_apart(root)
    shutil.rmtree(root.path / "frames" / "park")
    root.write("tags.csv", "clip,frame,class\nroad,,dog\n")
    assert [each.level for each in told(root, "stacks") if "targets" in each.found] == ["error"]
    still = {"architecture": "two_stream", "fusion": "none", "crop": [8, 10], "scale": [1, 1]}
    assert told(root, "stacks", student=still) == []


@pytest.mark.parametrize("cams", [{"source": "imagenet"}, {"source": "tags", "sources": {"dog": "none"}}])
def test_classes_without_a_map_are_named(root, cams):
    (found,) = told(root, "maps", cams=cams)
    assert (found.level, found.found) == (
        "warning",
        "no map is made of dog, so only tags tell of it, and nothing where it is",
    )
    assert told(root, "maps", cams=cams, heatmap_loss={"weight": 0}) == []


def test_maps_of_every_class_are_nothing_to_tell(root):
    assert told(root, "maps") == []
    assert told(root, "maps", cams={"source": "imagenet", "mapping": {"dog": [151]}}) == []


def test_crops_that_show_less_than_half_of_a_frame_are_told(root):
    small = {"architecture": "two_stream", "crop": [6, 6], "scale": [1, 1]}
    (found,) = told(root, "student.crop", student=small)
    assert found.level == "warning"
    assert "crops of 6x6 px (HxW) at the middle scale 1 show 45 % of a frame of clip park" in found.found
    assert told(root, "student.crop", student={**small, "scale": [0.5, 1]}) == []
