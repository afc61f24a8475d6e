import random
import time
from pathlib import Path

import pytest

from weclick.clicks.checks import (
    FEW_CLICKS,
    NEAR_PX,
    Click,
    Units,
    double_words,
    few_words,
    near_doubles,
    pixel,
)


@pytest.mark.parametrize(
    ("value", "expected"), [(0, 0), (0.99, 0), (1, 1), (63.99, 63), (64, 63), (64.01, None), (-0.01, None)]
)
def test_a_point_lies_in_its_pixel_or_outside(value, expected):
    assert pixel(value, 64) == expected
    assert pixel(float("nan"), 64) is None


def units(points, size):
    found = Units()
    for y, x in points:
        found.add(y, x, size)
    return found.fault()


def test_units():
    hd = (1080, 1920)
    assert "fractions" in units([(0.2, 0.3), (1, 0.9)], hd)
    assert units([(0.5, 0.5), (0.5, 0.5)], hd) == ""  # the centre of the first pixel
    assert units([(0, 1), (1, 1)], hd) == ""
    assert "per cent" in units([(10.2 * i, 3.3) for i in range(9)], hd)
    assert units([(10.2 * i, 3.3) for i in range(9)], (120, 160)) == ""
    assert units([(10 * i, 3) for i in range(9)], hd) == ""
    assert units([(10.2, 3.3)] * 5, hd) == ""
    assert units([(10.2 * i, 3.3) for i in range(9)] + [(101, 3)], hd) == ""
    assert units([], hd) == ""


def test_near_doubles_are_those_of_one_class_and_frame():
    first = Click("a", "1", 10, 10, "car")
    others = [
        first._replace(y=16),
        first._replace(x=17),
        first._replace(class_name="tree"),
        first._replace(frame="2"),
    ]
    assert near_doubles([first, *others]) == [(first, others[0])]


def test_near_doubles_are_found_as_by_comparing_all():
    draw = random.Random(0)
    clicks = [
        Click("a", "1", draw.randrange(200), draw.randrange(200), draw.choice("ab")) for _ in range(300)
    ]
    kept, found = [], []
    for click in clicks:
        near = [
            c for c in kept if c[4] == click[4] and (c.y - click.y) ** 2 + (c.x - click.x) ** 2 <= NEAR_PX**2
        ]
        (found if near else kept).append(click)
    assert [later for _, later in near_doubles(clicks)] == found


def test_a_crowd_of_clicks_takes_no_square_of_time():
    crowd = [Click("a", "1", i % 300, i // 300, "car") for i in range(30_000)]
    begin = time.process_time()
    assert len(near_doubles(crowd)) > 25_000
    assert time.process_time() - begin < 5


def test_a_wider_circle_finds_more_pairs():
    first = Click("a", "1", 10, 10, "car")
    other = first._replace(y=30)
    assert near_doubles([first, other]) == []
    assert near_doubles([first, other], 24) == [(first, other)]


def test_doubles_are_told_with_the_first_place():
    first = Click("a", "1", 10, 10, "car")
    told = double_words([(first, first._replace(y=12)), (first, first._replace(x=13))])
    assert told == (
        "2 clicks lie within 6 px of another of the same class, and may be double; the first in clip 'a', "
        "frame '1': 'car' at (y 10, x 10) and (y 12, x 10)"
    )
    assert double_words([]) == ""


def test_few_clicks_are_told_from_none_and_from_enough():
    assert (
        few_words({"car": 20, "tree": 19, "sky": 0, "sea": 0})
        == "under 20 clicks: tree 19; no click: sky, sea"
    )
    assert few_words({"car": 20}) == ""


def test_the_page_counts_as_the_checks_do():
    """Its script and its server cannot import the checks at no cost; they hold the same numbers."""
    from weclick.runs.click import board

    panel = (Path(board.__file__).parent / "page" / "panel.js").read_text(encoding="utf-8")
    assert f"const FEW = {FEW_CLICKS};" in panel
    assert board.NEAR_PX == NEAR_PX
