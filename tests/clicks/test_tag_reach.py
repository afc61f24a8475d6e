"""Tags of frames beside tagged ones: which frame gives them, how far, and what stays as it is."""

import random
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from weclick.clicks.tag_reach import reaching_rows
from weclick.clicks.tags import make_tags, read_tags, write_tags
from weclick.common.config import ConfigError, complete_config
from weclick.common.errors import InputError
from weclick.manifest import Classes, Clip, Frame, Manifest
from weclick.manifest.tag_table import tags_digest

NAMES = ("background", "dog", "cat")
DOG, CAT, BOTH = (frozenset(ids) for ids in ([1], [2], [1, 2]))


def options(**given):
    return complete_config({"tags": given})["tags"]


def clip(name, numbers):
    frames = tuple(Frame(f"{number:03d}", number, f"frames/{name}/{number:03d}.png") for number in numbers)
    return Clip(name, frames, targets=(0,), height_px=8, width_px=10)


def manifest(root, *clips):
    return Manifest("folder", str(root), "train", 0, 1, Classes(NAMES, ((0, 0, 0),) * 3), clips)


def reached(rows, reach_frames, *, numbers=range(9)):
    """Number of a frame of the clip `park` -> its tags, of rows of that clip by number."""
    given = {("park", f"{number:03d}"): ids for number, ids in rows.items()}
    found = reaching_rows(manifest("nowhere", clip("park", numbers)), given, reach_frames)
    return {int(frame): ids for (_, frame), ids in sorted(found.items())}


@pytest.mark.parametrize(
    ("reach_frames", "found"),
    [
        (0, {2: DOG, 6: CAT}),
        (1, {1: DOG, 2: DOG, 3: DOG, 5: CAT, 6: CAT, 7: CAT}),
        (2, {**dict.fromkeys(range(5), DOG), **dict.fromkeys(range(5, 9), CAT)}),  # 4 is as near to both
        (99, {**dict.fromkeys(range(5), DOG), **dict.fromkeys(range(5, 9), CAT)}),
    ],
)
def test_a_frame_takes_the_tags_of_the_nearest_one_and_of_two_the_earlier(reach_frames, found):
    assert reached({2: DOG, 6: CAT}, reach_frames) == found


def test_frames_of_the_video_are_counted_and_not_those_that_are_there():
    numbers = [0, 5, 10, 11, 15]
    assert reached({10: DOG}, 4, numbers=numbers) == {10: DOG, 11: DOG}
    assert reached({10: DOG}, 5, numbers=numbers) == {5: DOG, 10: DOG, 11: DOG, 15: DOG}


def test_what_was_looked_at_keeps_what_it_has():
    assert reached({1: BOTH, 2: DOG, 3: frozenset(), 5: frozenset()}, 2) == {
        **{0: BOTH, 1: BOTH, 2: DOG, 3: frozenset(), 4: DOG},
        5: frozenset(),
    }


def test_clips_that_are_tagged_as_a_whole_or_not_at_all_stay_as_they_are():
    clips = [clip(name, range(4)) for name in ("park", "walk", "zoo")]
    rows = {("park", ""): DOG, ("park", "001"): CAT, ("zoo", "003"): CAT}
    found = reaching_rows(manifest("nowhere", *clips), rows, 1)
    assert found == {**rows, ("zoo", "002"): CAT}


@pytest.mark.parametrize("seed", range(30))
def test_it_is_what_a_look_at_all_frames_gives(seed):
    rng = random.Random(seed)
    numbers = sorted(rng.sample(range(40), 20))
    rows = {number: rng.choice([DOG, CAT, BOTH, frozenset()]) for number in rng.sample(numbers, 6)}
    reach_frames = rng.randrange(1, 9)
    expected = dict(rows)
    for number in set(numbers) - rows.keys():
        near = [(abs(other - number), other) for other, ids in rows.items() if ids]
        if near and min(near)[0] <= reach_frames:
            expected[number] = rows[min(near)[1]]
    assert reached(rows, reach_frames, numbers=numbers) == expected


@pytest.fixture
def labelled(tmp_path):
    """Frames 0 to 6, of which 2 shows a dog and 5 nothing that is known, each in a label, a table and XML."""
    ids = np.zeros((8, 10), np.uint8)
    ids[0, :6] = 1
    for name, values in (("002", ids), ("005", np.full_like(ids, 255))):
        Image.fromarray(values).save(tmp_path / f"{name}.png")
    (tmp_path / "Annotations").mkdir()
    for name, thing in (("002", "<object><name>dog</name></object>"), ("005", "")):
        (tmp_path / f"Annotations/{name}.xml").write_text(f"<annotation>{thing}</annotation>")
    (tmp_path / "tags.csv").write_text("clip,frame,class\ndog/park,002,dog\n")
    whole = clip("dog/park", range(7))
    labels = {"002": "002.png", "005": "005.png"}
    frames = [replace(frame, label=labels.get(frame.name)) for frame in whole.frames]
    return manifest(tmp_path, replace(whole, frames=tuple(frames)))


@pytest.mark.parametrize(
    ("source", "tagged"),
    [("labels", [0, 1, 2, 3, 4]), ("voc", [0, 1, 2, 3, 4]), ("file", [0, 1, 2, 3, 4, 5])],
)
def test_every_source_that_names_frames_reaches(labelled, tmp_path, source, tagged):
    near = make_tags(labelled, options(source=source))
    (told,) = near.rows
    far = make_tags(labelled, options(source=source, reach_frames=3))
    assert far.rows == {("dog/park", f"{number:03d}"): near.rows[told] for number in tagged}
    assert far.sources == dict.fromkeys(far.rows, source)
    assert tags_digest(far) != tags_digest(near)
    write_tags(far, tmp_path / "train.h5")
    assert read_tags(tmp_path / "train.h5") == far


def test_a_folder_names_whole_clips(labelled):
    near, far = (make_tags(labelled, options(source="folders", reach_frames=reach)) for reach in (0, 3))
    assert near == far


@pytest.mark.parametrize(
    ("source", "digest"),
    [
        ("labels", "9d77ff803e56eb86a7cc8c680ccdf02e3149f4012cc7cc56625e166e66b0a525"),
        ("voc", "2c49c0b20e9ff6c947814631c0a59224c3961be9d30a6325d7a097469c0b89ee"),
        ("file", "2c49c0b20e9ff6c947814631c0a59224c3961be9d30a6325d7a097469c0b89ee"),
        ("folders", "eca36964d44f8f37d4c4eb14c445802d84ecf78466ff5b0918f0234c930b5247"),
    ],
)
def test_without_a_reach_tables_are_those_of_before(labelled, tmp_path, source, digest):
    """The digests are of tables that weclick made before it knew the key."""
    table = make_tags(labelled, options(source=source))
    assert tags_digest(table) == digest
    for name, given in (("default", {}), ("zero", {"reach_frames": 0})):
        write_tags(make_tags(labelled, options(source=source, **given)), tmp_path / f"{name}.h5")
    assert (tmp_path / "default.h5").read_bytes() == (tmp_path / "zero.h5").read_bytes()


def test_a_clip_without_a_tag_is_told_all_the_same(labelled):
    bare = replace(labelled, clips=(*labelled.clips, clip("dog/bare", range(3))))
    with pytest.raises(InputError, match=r"1 of 2 clips have no tag \('dog/bare'\); label some of") as told:
        make_tags(bare, options(reach_frames=3))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (-1, r"tags\.reach_frames: .*-1"),
        (1.5, r"tags\.reach_frames: .*1\.5"),
        ("far", r"tags\.reach_frames: .*far"),
    ],
)
def test_what_is_no_number_of_frames_is_told_in_one_line(value, told):
    with pytest.raises(ConfigError, match=told) as error:
        options(reach_frames=value)
    assert "\n" not in str(error.value)
