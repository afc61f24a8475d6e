import pytest

from weclick.manifest import Clip, Frame
from weclick.manifest.names import ClipNames, nearest, same_name

GREEN, GREEN_OF_A_MAC = "gr\u00fcn", "gru\u0308n"


@pytest.fixture
def names() -> ClipNames:
    images = Clip(GREEN_OF_A_MAC, tuple(Frame(f"a_{i:03d}", i, f"a_{i:03d}.jpg") for i in (0, 5)))
    video = tuple(Frame(f"{i:05d}", i, "videos/park.mp4", video_frame=i) for i in range(3))
    return ClipNames([images, Clip("park", video)])


@pytest.mark.parametrize(
    ("clip", "frame", "position"),
    [
        (GREEN, "a_005", 1),
        (GREEN_OF_A_MAC, "a_005.jpg", 1),
        (GREEN, "a_005.PNG", 1),
        (GREEN, "5", 1),
        (GREEN, "5.0", 1),
        ("park", "00002", 2),
        ("park.mp4", "00002.png", 2),
        ("park", "002", 2),
        ("park", "2.5", None),
        ("park", "3", None),
        ("park.avi", "0", None),
        ("bark", "0", None),
    ],
)
def test_people_name_frames_in_several_ways(names, clip, frame, position):
    found = names.find(clip, frame)
    assert (found and found[1]) == position


def test_an_exact_name_wins_over_another_form(names):
    assert same_name(GREEN, [GREEN_OF_A_MAC, GREEN]) == GREEN
    assert same_name(GREEN, [GREEN_OF_A_MAC]) == GREEN_OF_A_MAC
    assert same_name("run[1]", ["run1"]) is None
    assert names.clip(GREEN).id == GREEN_OF_A_MAC
    assert names.clip("bark") is None


def test_what_is_much_alike_is_suggested():
    assert nearest("Person", ["road", "person"]) == "; did you mean 'person'?"
    assert nearest("tram", ["road", "person"]) == ""
