"""A folder of searched videos: clips lie two levels deep, in the folders of their classes."""

from pathlib import Path

import av
import numpy as np
import pytest

from helpers.layouts import boxes, classes_in, manifest_of, told_by_doctor, write_frame, write_mask
from weclick.clicks.formats.marks import Place
from weclick.clicks.placing import Spots
from weclick.common.errors import InputError
from weclick.datasets import open_dataset
from weclick.datasets.folder_clips import list_clips

CLASSES = """\
classes:
  - {name: background, color: [0, 0, 0]}
  - {name: cat, color: [64, 0, 0]}
  - {name: dog, color: [64, 0, 128]}
"""


def write_video(path: Path, count: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=24)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        for i in range(count):
            image = np.full((32, 48, 3), 20 * i, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture
def root(tmp_path):
    """Clips of one name in two classes, one of them with a label, and a video."""
    for number, (path, count) in enumerate({"cat/0001": 3, "dog/0001": 4, "dog/walk in rain": 2}.items()):
        for i in range(count):
            write_frame(tmp_path / f"frames/{path}/{i:05d}.jpg", 10 * number + i)
    write_video(tmp_path / "videos/dog/0002.mp4", 3)
    write_mask(tmp_path / "labels/dog/0001/00002.png", boxes(2))
    write_mask(tmp_path / "labels/cat/0001/00000.png", boxes(1))
    (tmp_path / "classes.yaml").write_text(CLASSES)
    return tmp_path


def test_clips_lie_in_folders_of_classes(root):
    found = {clip.id: len(clip.frames) for clip in list_clips(root)}
    assert found == {"cat/0001": 3, "dog/0001": 4, "dog/walk in rain": 2, "dog/0002": 3}
    assert {clip.partition("/")[0] for clip in found} == {"cat", "dog"}


def test_labels_lie_beside_them(root):
    manifest = manifest_of("folder", root, "train", val_clips=["cat/*"])
    assert classes_in(manifest) == {("dog/0001", "00002"): {0, 2}}
    assert [frame.name for clip in manifest.clips for frame in clip.frames] == ["00001", "00002", "00003"]
    held_out = manifest_of("folder", root, "val", val_clips=["cat/0001"])
    assert [(clip.id, clip.scored) for clip in held_out.clips] == [("cat/0001", (0,))]


def test_clips_side_by_side_are_read_as_before(root):
    """A folder in videos/ beside videos stays unread, as it was when clips could not lie deeper."""
    write_video(root / "videos/park.mp4", 2)
    with pytest.raises(InputError, match="frames/cat: a clip without frames"):
        list_clips(root)
    for kind in ("frames", "labels"):
        (root / kind).rename(root / f"old {kind}")
    assert [clip.id for clip in list_clips(root)] == ["park"]


@pytest.mark.parametrize(
    ("path", "told"),
    [
        (
            "labels/dog/0009/00000.png",
            r"labels/dog/0009: holds labels without frames; the clips are cat/0001",
        ),
        ("labels/bird/0001/00000.png", "labels/bird/0001: holds labels without frames"),
        ("labels/dog/00000.png", r"labels/dog/00000\.png: belongs to no clip"),
        ("labels/dog/0001/00009.png", r"labels/dog/0001/00009\.png: belongs to no frame; clip 'dog/0001'"),
    ],
)
def test_labels_without_a_clip_are_named(root, path, told):
    write_mask(root / path, boxes(1))
    with pytest.raises(InputError, match=told):
        list_clips(root)


def test_a_folder_of_a_class_without_images_is_named(root):
    (root / "frames/dog/0003").mkdir()
    with pytest.raises(InputError, match="frames/dog/0003: a clip without frames"):
        list_clips(root)


def test_one_name_in_frames_and_videos_is_named(root):
    write_video(root / "videos/dog/0001.mp4", 2)
    with pytest.raises(InputError, match="clip 'dog/0001' is there more than once in frames/ and videos/"):
        list_clips(root)


def test_a_name_that_no_clip_has_is_named(root):
    with pytest.raises(InputError, match=r"data\.val_clips: 'bird/\*' matches none of the clips cat/0001, "):
        open_dataset({"name": "folder", "root": root, "val_clips": ["bird/*"]}).clips("val")


def test_doctor_names_labels_that_do_not_fit(root):
    write_mask(root / "labels/dog/0001/00002.png", boxes(9))
    write_mask(root / "labels/cat/0001/00000.png", boxes(1, size=(16, 24)))
    errors = [
        found for level, _, found in told_by_doctor("folder", root, val_clips=["cat/*"]) if level == "error"
    ]
    assert len(errors) == 2
    assert "labels/dog/0001/00002.png: holds values [9], expected class ids 0..2" in errors[0]
    assert "labels/cat/0001/00000.png: is 16x24 px" in errors[1]


def test_other_tools_find_the_clips(root):
    """By a path with the folder of the class, and by a video's file in it."""
    spots = Spots(list_clips(root), root)
    for image, clip in (("x/dog/0001/00002.jpg", "dog/0001"), ("cat/0001/00002.png", "cat/0001")):
        assert spots.find(Place(image=image)).key == (clip, "00002")
    spot = spots.find(Place(clips=("dog/0002.mp4",), number=1))
    assert spot.key == ("dog/0002", "00001")
