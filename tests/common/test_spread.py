import pytest

from weclick.common.spread import spread_over, spread_to_ends


@pytest.mark.parametrize(
    ("count", "at_most", "middles", "to_ends"),
    [
        (10, 3, [1, 5, 8], [0, 4, 9]),  # 4.5 is rounded to the even number
        (10, 4, [1, 3, 6, 8], [0, 3, 6, 9]),
        (10, 1, [5], [0]),
        (7, 4, [0, 2, 4, 6], [0, 2, 4, 6]),
        (12, 8, [0, 2, 3, 5, 6, 8, 9, 11], [0, 2, 3, 5, 6, 8, 9, 11]),
        (3, 5, [0, 1, 2], [0, 1, 2]),
        (3, 3, [0, 1, 2], [0, 1, 2]),
        (3, 0, [], []),
        (0, 3, [], []),
    ],
)
def test_what_is_chosen(count, at_most, middles, to_ends):
    """`keep: best` follows from what `spread_to_ends` chooses, and no key tells: it has to stay so."""
    items = [f"item {i}" for i in range(count)]
    assert spread_over(items, at_most) == [items[i] for i in middles]
    assert spread_to_ends(items, at_most) == [items[i] for i in to_ends]


@pytest.mark.parametrize("choose", [spread_over, spread_to_ends])
def test_nothing_is_chosen_twice_and_the_order_stays(choose):
    for count in range(1, 40):
        for at_most in range(1, 45):
            chosen = choose(range(count), at_most)
            assert len(chosen) == min(count, at_most)
            assert chosen == sorted(set(chosen))
