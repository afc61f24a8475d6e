"""Pictures and words of the page: flow is drawn as the field does, clicks lie where they are."""

import colorsys

import numpy as np
import pytest

from helpers.report_run import SIZE, H, W
from weclick.clicks import POINT
from weclick.common import words
from weclick.runs.report.figures import STUDENT, confusion_chart, curve_chart
from weclick.runs.report.flow_color import UNKNOWN, color_wheel, flow_to_rgb, legend_scale, wheel_legend
from weclick.runs.report.pictures import WIDTH_PX, draw_clicks, overlay

RED, GREEN = (255, 0, 0), (0, 255, 0)


def test_zero_flow_is_white():
    assert (flow_to_rgb(np.zeros((2, 3, 4)), max_px=5) == 255).all()


def test_directions_have_the_hues_of_middlebury():
    right, down, left, up = (
        colorsys.rgb_to_hsv(*(flow_to_rgb(np.array([[[dx]], [[dy]]]), max_px=1)[0, 0] / 255))[0] * 360
        for dx, dy in ((1, 0), (0, 1), (-1, 0), (0, -1))
    )
    assert right == pytest.approx(0, abs=12)
    assert down == pytest.approx(60, abs=12)
    assert left == pytest.approx(190, abs=12)
    assert up == pytest.approx(265, abs=15)


def test_length_is_saturation():
    flow = np.zeros((2, 1, 4))
    flow[0] = [[0, 1, 2, 4]]
    red, green, _ = flow_to_rgb(flow, max_px=2)[0].T.astype(int)
    assert red.tolist() == [255, 255, 255, 191]  # beyond max_px it darkens
    assert green.tolist() == [255, 128, 0, 0]


def test_unknown_flow_is_grey():
    flow = np.array([np.nan, 1, np.inf, 0]).reshape(2, 1, 2)
    assert (flow_to_rgb(flow, max_px=1)[0, 0] == round(255 * UNKNOWN)).all()


def test_flow_of_the_wrong_shape_is_refused():
    with pytest.raises(ValueError, match=r"shape \(3, 4\) .*expected shape \(2, H, W\)"):
        flow_to_rgb(np.zeros((3, 4)), max_px=1)


def test_wheel_and_its_scale():
    assert color_wheel().shape == (55, 3)
    legend = wheel_legend(64)
    assert legend[0, 0, 3] == 0
    assert legend[32, 32, 3] == 255
    assert legend_scale([np.full((2, 4, 4), 3.0), np.full((2, 1, 1), np.nan)]) == 5
    assert legend_scale([np.zeros((2, 2, 2))]) == pytest.approx(0.1)
    assert legend_scale([np.array([[[10.0]], [[0.0]]])]) == 10


def test_clicks_are_drawn_where_they_are_even_at_the_border():
    points = np.array([(0, 0, 0, 0), (H - 1, W - 1, 1, 0)], POINT)
    drawn = draw_clicks(np.zeros((*SIZE, 3), np.uint8), points, (RED, GREEN))
    scale = WIDTH_PX / W
    centre = int(0.5 * scale)
    assert drawn.shape == (round(H * scale), WIDTH_PX, 3)
    assert tuple(drawn[centre, centre]) == (255, 255, 255)
    assert tuple(drawn[centre, centre + 5]) == RED
    assert tuple(drawn[-centre, -centre - 5]) == GREEN
    assert not drawn[100, 200].any()


def test_overlay_leaves_ignored_pixels_grey():
    ids = np.full(SIZE, 255, np.uint8)
    ids[:, : W // 2] = 0
    drawn = overlay(np.full((*SIZE, 3), 100, np.uint8), ids, (RED,))
    assert tuple(drawn[0, -1]) == (100, 100, 100)
    assert drawn[0, 0, 0] > 180 > 60 > drawn[0, 0, 1]
    with pytest.raises(ValueError, match="from another run"):
        overlay(np.zeros((4, 4, 3), np.uint8), ids, (RED,))


def test_charts_stand_gaps_and_empty_rows():
    gap = {"student": ([1, 2, 3], [0.1, float("nan"), 0.3])}
    assert STUDENT in curve_chart(gap, name="gap", alt='a "b"')
    assert "no class" in confusion_chart(np.array([[1, 0, 1], [0, 0, 0]]), "ab", name="c", alt="c")
    assert "no class" not in confusion_chart(np.array([[1, 0, 0], [0, 0, 0]]), "ab", name="c", alt="c")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (words.percent(None), "–"),
        (words.percent(float("nan")), "–"),
        (words.points(-0.0123), "\N{MINUS SIGN}1.2"),
        (words.short_count(999_700), "1.00 M"),
        (words.short_count(230_000), "230 k"),
        (words.rate(8.412), "8.41"),
        (words.duration(3725), "1 h 02 min"),
        (words.duration(59.97), "1 min 00 s"),
        (words.spread({"mean": 0.5, "spread": None}), "50.0"),
        (words.plural(1, "click"), "1 click"),
        (words.count_bytes(None), "–"),
        (words.count_bytes(0), "0 B"),
        (words.count_bytes(1023), "1023 B"),
        (words.count_bytes(999_600), "976.2 KiB"),
        (words.count_bytes(2_345_678_901), "2.2 GiB"),
        (words.count_bytes(2**51), "2048.0 TiB"),
        (words.mebibytes(2**30), "1,024.0"),
    ],
)
def test_numbers_read_well(said, expected):
    assert said == expected
