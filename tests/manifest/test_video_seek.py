"""Any frame of a video, in any order, is the frame that decoding in order gives."""

import av
import numpy as np
import pytest

from weclick.common.errors import InputError
from weclick.manifest.video import decode_video
from weclick.manifest.video_seek import Dropped, VideoFrames

ORDER = (40, 3, 4, 5, 79, 0, 41, 39, 60, 12, 13, 11, 78)


def write(path, *, frames=80, bframes=2, gop=30, turn=0, codec="libx264", open_gop=False, shift=0):
    rng = np.random.default_rng(0)
    ground = rng.integers(0, 255, (48, 64, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 48, "yuv420p", gop
        if codec == "libx264":
            told = f"keyint={gop}:min-keyint={gop}:scenecut=0:bframes={bframes}:open-gop={int(open_gop)}"
            stream.options = {"x264-params": told}
        for i in range(frames):
            image = np.roll(ground, 3 * i, 1).copy()
            image[:8, :8] = 3 * i
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            mux(container, stream.encode(frame), shift)
        mux(container, stream.encode(None), shift)
    return path


def mux(container, packets, shift):
    """Write packets as if the file was cut: what comes before time 0 is not shown."""
    for packet in packets:
        packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
        container.mux(packet)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("plain.mp4", {}),
        ("one_key.mp4", {"gop": 250}),
        ("open_gop.mp4", {"open_gop": True, "bframes": 3}),
        ("cut.mp4", {"gop": 40, "shift": 8}),
        ("no_b.mkv", {"bframes": 0}),
        ("old.avi", {"codec": "mpeg4"}),
        ("stream.h264", {"bframes": 2}),
        ("transport.ts", {}),
    ],
)
def test_frames_in_any_order_are_those_in_order(tmp_path, name, how):
    path = write(tmp_path / name, **how)
    expected = list(decode_video(path))
    video = VideoFrames(path)
    assert video.count == len(expected)
    for index in (at for at in ORDER if at < video.count):
        found = video.read(index)[index]
        np.testing.assert_array_equal(found[..., ::-1], expected[index], err_msg=f"frame {index}")


def test_frames_on_the_way_are_kept_and_seeking_saves_decoding(tmp_path):
    path = write(tmp_path / "a.mp4")
    expected = list(decode_video(path))
    asked = []
    video = VideoFrames(path)
    kept = video.read(44, keep=lambda at: at >= 42, stop=lambda: asked.append(1))
    assert sorted(kept) == [42, 43, 44]
    assert len(asked) == 15  # from the key frame 30 on
    np.testing.assert_array_equal(kept[42][..., ::-1], expected[42])
    asked.clear()
    video.read(45, stop=lambda: asked.append(1))
    assert len(asked) == 1


def test_what_nobody_waits_for_is_dropped_and_the_next_read_is_right(tmp_path):
    path = write(tmp_path / "a.mp4")
    video = VideoFrames(path)
    with pytest.raises(Dropped):
        video.read(29, stop=lambda: True)
    expected = list(decode_video(path))
    np.testing.assert_array_equal(video.read(50)[50][..., ::-1], expected[50])
    video.close()
    np.testing.assert_array_equal(video.read(7)[7][..., ::-1], expected[7])


def test_a_frame_that_is_not_there_is_an_error(tmp_path):
    video = VideoFrames(write(tmp_path / "a.mp4", frames=5))
    for index in (-1, 5):
        with pytest.raises(InputError, match="no frame"):
            video.read(index)


def test_turned_videos_of_phones_are_upright(repository):
    folder = repository.parent / "shared/cases"
    paths = sorted([*folder.rglob("phone.mp4"), *folder.rglob("park.mp4")])
    if not paths:
        pytest.skip("../shared holds no videos")
    for path in paths:
        expected = list(decode_video(path))
        video = VideoFrames(path)
        for index in (len(expected) - 1, 0, len(expected) // 2):
            np.testing.assert_array_equal(video.read(index)[index][..., ::-1], expected[index])
