"""What `weclick doctor` says of a run of MaskConsist: pairs, tags, objects, and what AP is scored by."""

import numpy as np
import pytest
from PIL import Image

from helpers.tagged_root import TaggedRoot
from weclick.common.config import complete_config
from weclick.common.findings import Finding
from weclick.runs.doctor.data import check_data

WITH_OBJECTS = (
    "classes:\n  - {name: background, color: [0, 0, 0]}\n  - {name: dog, color: [9, 9, 9]}\n"
    "  - {name: cat, color: [99, 9, 9]}\ninstance_classes: [dog, cat]\n"
)


@pytest.fixture
def root(tmp_path) -> TaggedRoot:
    """Two clips of six frames of 8x10 px, one of each class, with labels and files of two objects a frame."""
    made = TaggedRoot(tmp_path)
    made.write("classes.yaml", WITH_OBJECTS)
    for name, class_id in (("park", 1), ("yard", 2)):
        made.clip(name, 6)
        for t in range(6):
            annotate(made, f"{name}/{t:03d}", class_id, objects=2)
    made.write("tags.csv", "clip,frame,class\npark,,dog\nyard,,cat\n")
    return made


def annotate(root: TaggedRoot, name: str, class_id: int, *, objects: int) -> None:
    """A label, half of it of the class, and a file that numbers some objects of these pixels."""
    label = np.zeros((8, 10), np.uint8)
    label[:, :5] = class_id
    ids = label.astype(np.uint16)
    ids[:, :5] = class_id * 1000 + np.arange(5) * objects // 5
    for kind, array in (("labels", label), ("instances", ids)):
        path = root.path / kind / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(path)


def told(root: TaggedRoot, what: str, **changes) -> list[Finding]:
    data = root.config("file", target_every=2)["data"]
    sections = {"tags": {"source": "file", "file": None}, "pair": {"delta_frames": 2}, **changes}
    config = complete_config({"method": "maskconsist", "data": data, **sections})
    return [found for found in check_data(config) if found.what == what]


def test_nothing_is_wrong_with_pairs_tags_and_truth(root):
    (pairs,) = told(root, "pairs")
    assert (pairs.level, pairs.found) == ("ok", "all 2 clips have frames 2 frames apart (pair.delta_frames)")
    assert [found.level for found in told(root, "tags")] == ["ok"]
    (scored,) = told(root, "instances")
    assert scored.level == "ok"
    assert "scored frames of val have a file that tells objects apart" in scored.found
    assert told(root, "motion") == []


def test_no_two_frames_at_the_distance_of_a_step(root):
    (found,) = told(root, "pairs", pair={"delta_frames": 30})
    assert found.level == "error"
    assert "2 of 2 clips have no two frames 30 frames apart (pair.delta_frames), e.g. park" in found.found
    assert "maskconsist.weight: 0" in found.todo
    assert told(root, "pairs", pair={"delta_frames": 30}, maskconsist={"weight": 0}) == []


@pytest.mark.parametrize(
    ("side", "exp_times", "most"), [(160, 8, 4), (480, 8, None), (160, 4, None), (128, 8, 4)]
)
def test_a_walk_that_crosses_small_frames_is_a_warning(tmp_path, side, exp_times, most):
    made = TaggedRoot(tmp_path)
    made.write("classes.yaml", WITH_OBJECTS)
    (tmp_path / "frames/park").mkdir(parents=True)
    for t in range(6):
        Image.new("RGB", (2 * side, side)).save(tmp_path / f"frames/park/{t:03d}.png")
    made.write("tags.csv", "clip,frame,class\npark,,dog\n")
    found = told(made, "walk", instances={"exp_times": exp_times})
    assert [each.level for each in found] == ["warning"] * (most is not None)
    if found:
        assert found[0].todo.startswith(f"set instances.exp_times: {most},")
        assert f"the smallest frames have {side // 4} on their short side" in found[0].found
        assert told(made, "walk", instances={"exp_times": most}) == []
        assert told(made, "walk", instances={"source": "network", "exp_times": exp_times}) == []


def test_a_single_clip_without_such_frames_is_a_warning(root):
    for t in (20, 40):
        root.image(f"frames/alley/{t:03d}", t)
        annotate(root, f"alley/{t:03d}", 1, objects=2)
    root.write("tags.csv", "clip,frame,class\npark,,dog\nyard,,cat\nalley,,dog\n")
    (found,) = told(root, "pairs")
    assert found.level == "warning"
    assert found.found.startswith("1 of 3 clips have no two frames 2 frames apart")
    (still,) = told(root, "motion")
    assert "in 1 of 3 clips no frame follows another, e.g. alley" in still.found
    assert told(root, "motion", fcam={"motion": "none"}) == []


def test_tags_of_one_class_teach_a_classifier_nothing(root):
    root.write("tags.csv", "clip,frame,class\npark,,dog\nyard,,dog\n")
    found = [each for each in told(root, "tags") if "all tags are of dog" in each.found]
    assert [each.level for each in found] == ["warning"]
    assert "instances.source: clicks" in found[0].todo
    imagenet = {"source": "imagenet", "mapping": {"dog": [151], "cat": [281]}}
    assert not [each for each in told(root, "tags", cams=imagenet) if "all tags" in each.found]


def test_frames_of_one_object_each_need_no_instances(root):
    for name, class_id in (("park", 1), ("yard", 2)):
        for t in range(6):
            annotate(root, f"{name}/{t:03d}", class_id, objects=1)
    alone = [each for each in told(root, "instances") if "more than one object" in each.found]
    assert [each.level for each in alone] == ["warning"]
    assert "f2f or two_stream" in alone[0].todo


def test_without_classes_of_objects_nothing_can_be_scored(root):
    root.write("classes.yaml", WITH_OBJECTS.replace("instance_classes: [dog, cat]\n", ""))
    (found,) = told(root, "instances")
    assert found.level == "error"
    assert "no class of folder is one of instance_classes, so no AP can be scored" in found.found


def test_without_files_of_objects_nothing_can_be_scored(root):
    for path in (root.path / "instances").rglob("*.png"):
        path.unlink()
    (found,) = told(root, "instances")
    assert found.level == "error"
    assert found.found.endswith(
        "of val has both a label and a file that tells objects apart, so AP cannot be scored"
    )
    assert "take the labels of this split away: then the run ends with the detector, without scores" in (
        found.todo
    )


def test_held_out_clicks_score_no_objects(tmp_path):
    made = TaggedRoot(tmp_path)
    made.clip("park", 6)
    made.write("tags.csv", "clip,frame,class\npark,,dog\n")
    rows = "".join(f"park,{t:03d},1,1,dog\n" for t in range(6))
    made.write("clicks.csv", "clip,frame,y,x,class\n" + rows)
    data = made.config("file", clicks=str(tmp_path / "clicks.csv"))["data"]
    clicked = {"instances": {"source": "clicks"}, "data": data}
    (found,) = told(made, "instances", **clicked)
    assert found.level == "error"
    assert "or hold no click out (data.held_out_every: 0): then the run ends with the detector" in found.todo
    assert told(made, "instances", **{**clicked, "data": {**data, "held_out_every": 0}}) == []


def test_instances_of_clicks_need_clicks(tmp_path):
    made = TaggedRoot(tmp_path)
    made.clip("park", 4)
    made.write("tags.csv", "clip,frame,class\npark,,dog\n")
    data = {"data": made.config("file")["data"]}
    (found,) = told(made, "clicks", instances={"source": "clicks"}, **data)
    assert found.level == "error"
    assert found.found.endswith("instances.source is clicks, of which each makes one instance")
    assert found.todo.endswith("or set instances.source: relation")


def test_other_methods_are_not_asked(root):
    data, tags = root.config("file")["data"], {"source": "file"}
    config = complete_config({"method": "f2f", "data": data, "tags": tags})
    assert not [found for found in check_data(config) if found.what in ("pairs", "motion", "instances")]
