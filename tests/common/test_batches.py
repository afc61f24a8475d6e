"""Work ahead of a loop, and in batches."""

import threading
from contextlib import closing

import pytest

from weclick.common.batches import ahead, in_batches


def failing(items, fault):
    yield from items
    raise fault


def test_items_come_in_order_and_another_thread_makes_at_most_so_many_ahead():
    made, threads = [], set()

    def items():
        for n in range(20):
            made.append(n)
            threads.add(threading.get_ident())
            yield n

    seen = []
    for n in ahead(items(), 3):
        seen.append(n)
        assert len(made) <= n + 1 + 3
    assert seen == list(range(20))
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_what_came_before_an_error_comes_first():
    drawn = ahead(failing([1, 2, 3], OSError("gone")), 2)
    assert [next(drawn), next(drawn), next(drawn)] == [1, 2, 3]
    with pytest.raises(OSError, match="gone"):
        next(drawn)


def test_a_loop_that_ends_early_ends_thread_and_source():
    closed, count = [], threading.active_count()

    def items():
        try:
            yield from range(10**9)
        finally:
            closed.append(True)

    with closing(ahead(items(), 2)) as drawn:
        assert next(drawn) == 0
        assert threading.active_count() == count + 1
    assert closed == [True]
    assert threading.active_count() == count


def test_batches_hold_neighbours_of_one_size():
    found = in_batches(["a", "b", "cc", "d", "e", "f"], 2, len)
    assert list(found) == [["a", "b"], ["cc"], ["d", "e"], ["f"]]


def test_a_batch_that_is_not_full_comes_before_the_error():
    found = in_batches(failing([1, 2, 3], OSError("gone")), 2, lambda _: 0)
    assert [next(found), next(found)] == [[1, 2], [3]]
    with pytest.raises(OSError, match="gone"):
        next(found)
