"""Filling the store: only what is missing is made, items are taken when asked for, an error ends it."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from weclick.store import Store, entry_key
from weclick.store.fill import fill
from weclick.store.leases import rounds
from weclick.store.leases.leases import Leases


def key(number: int) -> str:
    return entry_key("flow", {"n": number})


def make_entry(store: Store, number: int) -> None:
    with store.create("flow", {"n": number}) as entry:
        entry.write_file("number", b"%d" % number)


class Stage:
    """Makes entries of numbers, and remembers which, in which thread, and in which call."""

    def __init__(self, root):
        self.store, self.made, self.threads, self.calls = Store([root]), [], set(), 0

    def make(self, items, bar):
        self.calls += 1
        for number in items:
            make_entry(self.store, number)
            self.made.append(number)
            self.threads.add(threading.get_ident())
            bar.advance(number)

    def fill(self, numbers, make=None, **others):
        words = {"what": "numbers", "unit": "ones"}
        fill(self.store, "flow", numbers, make or self.make, key=key, size=lambda n: n, **{**words, **others})


@pytest.fixture
def stage(tmp_path):
    return Stage(tmp_path)


def test_only_what_is_missing_is_made_in_this_thread(stage):
    make_entry(stage.store, 2)
    stage.fill([1, 2, 3])
    assert stage.made == [1, 3]
    assert stage.threads == {threading.get_ident()}
    assert stage.store.find("flow", key(3)).path.joinpath("number").read_bytes() == b"3"


def test_where_nothing_is_missing_nothing_is_called(stage):
    stage.fill([1, 2])
    stage.fill([1, 2])
    stage.fill([])
    assert stage.calls == 1


def test_items_of_one_key_are_made_once(stage):
    stage.fill([4, 4])
    assert stage.made == [4]


def test_threads_share_the_items(stage):
    both = threading.Barrier(2, timeout=10)

    def make(items, bar):
        for number in items:
            both.wait()  # each of the two threads has to have an item
            make_entry(stage.store, number)
            stage.made.append(number)

    stage.fill(range(6), make, threads=2)
    assert sorted(stage.made) == list(range(6))


def test_an_item_is_taken_when_it_is_asked_for(stage, tmp_path):
    leases = tmp_path / "leases"

    def make(items, bar):
        first = next(items)
        assert [path.name for path in leases.rglob("*") if path.is_file()] == [key(first)]
        second = next(items)  # before the first one is finished, as a batch over two clips does
        assert {path.name for path in leases.rglob("*") if path.is_file()} == {key(first), key(second)}
        for number in (first, second):
            make_entry(stage.store, number)
        assert list(items) == []

    stage.fill([1, 2], make)


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_ends_it_and_gives_every_lease_back(stage, tmp_path, threads):
    def make(items, bar):
        for number in items:
            if number == 2:
                raise ZeroDivisionError
            make_entry(stage.store, number)
            time.sleep(0.02)

    with pytest.raises(ZeroDivisionError):
        stage.fill(range(60), make, threads=threads)
    assert stage.store.find("flow", key(1))
    assert not stage.store.find("flow", key(59)), "the others take nothing more"
    assert not [path for path in (tmp_path / "leases").rglob("*") if path.is_file()]


def test_entries_that_will_not_do_are_refused_also_where_another_run_makes_them_meanwhile(
    stage, tmp_path, monkeypatch
):
    def refuse(number, entry):
        raise ValueError(f"{number} in {entry.path.name}")

    make_entry(stage.store, 5)
    with pytest.raises(ValueError, match=f"5 in {key(5)}"):
        stage.fill([5], check=refuse)
    monkeypatch.setattr(rounds, "POLL_S", 0.01)
    Leases(tmp_path).take("flow", key(6))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(stage.fill, [6], check=refuse)
        time.sleep(0.1)
        make_entry(stage.store, 6)
        with pytest.raises(ValueError, match=f"6 in {key(6)}"):
            waiting.result(10)
    assert stage.calls == 0
