"""CVAT's XML: which of its points are clicks, of which class, and on which frame."""

import zipfile

import pytest

from helpers.click_root import rows
from weclick.common.errors import InputError

META = (
    "<meta><task><id>7</id><name>a task</name><size>12</size><mode>interpolation</mode>"
    "<original_size><width>64</width><height>48</height></original_size></task><source>drive.mp4</source></meta>"
)


def document(body: str, meta: str = META) -> str:
    head = '<?xml version="1.0" encoding="utf-8"?>'
    return f"{head}\n<annotations><version>1.1</version>{meta}\n{body}\n</annotations>"


def image(name: str, shape: str = "<points label='car' points='1,2'/>", number: int = 0) -> str:
    return f"<image id='{number}' name='{name}' width='64' height='48'>{shape}</image>"


def points(place: str = "10.50,20.50", **attributes) -> str:
    told = {"frame": 3, "keyframe": 1, "outside": 0, "occluded": 0} | attributes
    return (
        f"<points {' '.join(f'{k}={str(v)!r}' for k, v in told.items() if v is not None)} points='{place}'/>"
    )


def test_only_key_frames_inside_are_clicks_and_hidden_ones_count(importer):
    body = points() + points(frame=5, occluded=1) + points(frame=4, keyframe=0) + points(frame=6, outside=1)
    found = importer.take("a.xml", document(f"<track label='car'>{body}<box frame='3'/></track>"))
    assert rows(found) == [("drive", "00003", 20, 10, "car"), ("drive", "00005", 20, 10, "car")]
    assert found.left == {"interpolated": 1, "outside": 1, "not_points": 1}
    assert not found.errors


def test_a_point_of_a_skeleton_has_the_class_of_the_skeleton(importer):
    elements = (
        "<points label='nose' keyframe='1' outside='0' points='1.00,2.00'/>"
        "<points label='tail' keyframe='0' outside='0' points='3.00,4.00'/>"
        "<points label='ear' keyframe='1' outside='1' points='5.00,6.00'/>"
        "<points label='paw' outside='0' points='7.00,8.00'/>"
    )
    body = f"<track label='car'><skeleton frame='3' keyframe='1'>{elements}</skeleton></track>"
    found = importer.take("a.xml", document(body))
    assert rows(found) == [("drive", "00003", 2, 1, "car"), ("drive", "00003", 8, 7, "car")]
    assert found.left == {"interpolated": 1, "outside": 1}


def test_datumaros_tracks_in_tracks_have_the_class_of_the_outer_one(importer):
    inner = f"<track id='1' label='nose'>{points()}{points(frame=4, keyframe=0)}</track>"
    skeleton = "<skeleton frame='3' keyframe='1'/>"
    found = importer.take("a.xml", document(f"<track id='0' label='tree'>{skeleton}{inner}</track>"))
    assert rows(found) == [("drive", "00003", 20, 10, "tree")]
    assert found.left == {"interpolated": 1}


def test_a_skeleton_on_an_image_has_its_own_class(importer):
    nose, ear = (f"<points label='nose' outside='{i}' points='1,2'/>" for i in (0, 1))
    shape = f"<skeleton label='car'>{nose}{ear}</skeleton>"
    found = importer.take(
        "a.xml", document(f"<image id='0' name='00003.png' width='64' height='48'>{shape}</image>", "")
    )
    assert rows(found) == [("Fußweg 1", "00003", 2, 1, "car")]
    assert found.left == {"outside": 1}


def test_frames_of_a_video_among_images_go_by_their_number_and_a_hint_names_the_better_format(importer):
    meta = META.replace("<mode>interpolation</mode>", "")
    found = importer.take("a.xml", document(image("frame_000010") + image("frame_000011"), meta))
    assert rows(found) == [("drive", "00010", 2, 1, "car"), ("drive", "00011", 2, 1, "car")]
    assert "`CVAT for video 1.1`" in found.warnings["no_key_frames"][0]
    told = importer.take("b.xml", document(image("frame_000012")))
    assert told.errors == {"unknown_frame": 1}
    assert "clip 'drive' has no frame 12; it has 12 frames, '00000' to '00011'" in told.told[0]


def test_the_same_image_name_in_two_clips_needs_the_folder_or_a_word(importer):
    assert rows(importer.take("a.xml", document(image("park/00001.jpg"), ""))) == [
        ("park", "00001", 2, 1, "car")
    ]
    found = importer.take("b.xml", document(image("00001.png"), ""))
    assert found.errors == {"ambiguous_frame": 1}
    assert "may be a frame of the clips Fußweg 1, park" in found.told[0]
    assert rows(importer.take("b.xml", document(image("00001.png"), ""), clip="park")) == [
        ("park", "00001", 2, 1, "car")
    ]


def test_an_export_that_names_no_video_needs_the_clip(importer):
    meta = META.replace("<source>drive.mp4</source>", "")
    content = document(f"<track label='car'>{points()}</track>", meta)
    found = importer.take("a.xml", content)
    assert found.errors == {"unknown_clip": 1}
    assert (
        "there is no clip 'a task' (there are Fußweg 1, drive, park, walk); name it by --clip or --name-map"
        in found.told[0]
    )
    assert rows(importer.take("a.xml", content, clip="drive")) == [("drive", "00003", 20, 10, "car")]
    assert rows(importer.take("a.xml", content, names={"a task": ("drive", "")})) == rows(
        importer.take("a.xml", content.replace("a task", "drive"))
    )


def test_the_only_clip_needs_no_name(importer):
    importer.clips = [clip for clip in importer.clips if clip.id == "drive"]
    content = document(f"<track label='car'>{points()}</track>", "<meta><job><id>3</id></job></meta>")
    assert rows(importer.take("a.xml", content)) == [("drive", "00003", 20, 10, "car")]
    other = importer.take(
        "a.xml", document(f"<track label='car'>{points()}</track>").replace("drive", "lake")
    )
    assert other.errors == {"unknown_clip": 1}
    assert rows(importer.take("a.xml", document(image("frame_000010"), ""))) == [
        ("drive", "00010", 2, 1, "car")
    ]


def test_a_project_tells_the_video_of_each_track(importer):
    task = "<task><id>{}</id><name>n</name><source>{}</source></task>"
    tasks = task.format(4, "drive.mp4") + task.format(5, "other.mp4")
    body = (
        f"<track label='car' task_id='4'>{points()}</track><track label='car' task_id='5'>{points()}</track>"
    )
    found = importer.take("a.xml", document(body, f"<meta><project><tasks>{tasks}</tasks></project></meta>"))
    assert rows(found) == [("drive", "00003", 20, 10, "car")]
    assert found.errors == {"unknown_clip": 1}


def test_frames_of_a_clip_of_images_are_not_guessed_by_number(importer):
    content = document(f"<track label='car'>{points(frame=1)}</track>")
    found = importer.take("a.xml", content, clip="park")
    assert found.errors == {"unknown_frame": 1}
    assert "consists of images whose names do not count 0, 1, 2" in found.told[0]


def test_another_size_than_the_frames_is_an_error(importer):
    content = document(f"<track label='car'>{points()}</track>", META.replace("48", "96"))
    found = importer.take("a.xml", content)
    assert found.errors == {"size_differs": 1}
    assert (
        "frame 3, label 'car': the file tells 96x64 px (HxW), but the upright frame has 48x64"
        in found.told[0]
    )


@pytest.mark.parametrize(
    ("place", "reason"), [("nan,1", "out_of_frame"), ("1", "out_of_frame"), ("1e999,2", "out_of_frame")]
)
def test_what_is_no_number_lies_outside(importer, place, reason):
    found = importer.take("a.xml", document(f"<track label='car'>{points(place)}</track>"))
    assert (found.errors, rows(found)) == ({reason: 1}, [])


def test_a_shape_without_a_frame_is_malformed(importer):
    found = importer.take(
        "a.xml", document(f"<track label='car'>{points(frame=None)}{points(frame='x')}</track>")
    )
    assert found.errors == {"malformed": 2}


def test_an_archive_holds_the_same(importer):
    path = importer.file("export.zip", b"")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images/frame_000003.png", b"no picture")
        archive.writestr("__MACOSX/._annotations.xml", b"no XML")
        archive.writestr("annotations.xml", document(f"<track label='car'>{points()}</track>"))
    assert rows(importer.take_paths([path])) == [("drive", "00003", 20, 10, "car")]


def test_other_xml_and_a_backup_are_refused_by_name(importer):
    with pytest.raises(InputError, match=r"a\.xml: is in no format that is read; expected cvat, "):
        importer.take("a.xml", "<annotation><filename>voc.jpg</filename></annotation>")
    with pytest.raises(
        InputError, match="looks like CVAT's backup or REST answer, whose frames count from the"
    ):
        importer.take("a.json", '[{"version": 0, "tags": [], "shapes": [], "tracks": []}]')
