"""One flow cache for four methods: each pair is estimated once, whoever needs it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from helpers.counted import count_work
from helpers.flow_clips import manifest_of, write_clip
from weclick.common.config import complete_config
from weclick.datasets.base import trim
from weclick.flow.from_files import import_flow, write_wanted
from weclick.flow.stage import compute_flow, compute_needs
from weclick.flow.to_files import export_flow
from weclick.manifest import Clip, Manifest
from weclick.manifest.needs import Needs
from weclick.store import Store, keys_in, list_entries, verify_entry

ALL = ["weclick", "f2f", "two_stream", "maskconsist"]
SMALL = {
    "flow": {"masks": ["photometric"], "batch_pairs": 4},
    "window": {"frames": 2, "max_gap_frames": 2},
    "pair": {"delta_frames": 2},
    "stack": {"first": -1, "length": 2},
    "evaluate": {"max_gap_frames": 2},
}


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> tuple[Manifest, tuple[Clip, ...]]:
    """The data set: a manifest that lists whole clips, a training clip and a scored one."""
    root = tmp_path_factory.mktemp("data")
    train = replace(write_clip(root, "a", seed=0, frames=6), targets=(2,))
    scored = replace(write_clip(root, "b", seed=1, frames=5), targets=(), scored=(3,))
    return manifest_of(root), (train, scored)


@pytest.fixture
def store(tmp_path) -> Store:
    return Store([tmp_path / "store"])


@pytest.fixture
def counts(monkeypatch) -> dict[str, int]:
    return count_work(monkeypatch)


def needs(**config) -> Needs:
    return Needs.of(complete_config({**SMALL, **config}))


def listed(clips, of: Needs) -> Manifest:
    """The manifest as a run lists it that serves these needs."""
    whole, found = clips
    return replace(whole, clips=tuple(trim(clip, of.reach_frames, whole=of.whole) for clip in found))


def run(clips, store: Store, **config) -> dict[str, dict[str, str]]:
    complete, of = complete_config({**SMALL, **config}), needs(**config)
    return compute_needs(listed(clips, of), of.functions, options=complete["flow"], store=store)


def contents(store: Store, key: str) -> dict[str, bytes]:
    entry = store.get("flow", key)
    return {name: (entry.path / name).read_bytes() for name in entry.meta["files"]}


def pairs_of(clips, of: Needs) -> set[tuple[str, int, int]]:
    """All pairs, by the numbers of their frames."""
    return {
        (clip.id, *(clip.frames[position].number for position in pair))
        for clip in listed(clips, of).clips
        for pair in of.all_pairs(clip)
    }


def test_all_four_methods_estimate_the_union_of_their_pairs_and_no_more(clips, store, counts):
    made = run(clips, store, serves=ALL)
    assert made["a"].keys() == {"window", "chain", "step", "pair", "stack"}
    assert made["b"].keys() == {"window", "stack"}
    assert counts["flows"] == len(pairs_of(clips, needs(serves=ALL))) == 5 + 5 + 8 + 3
    assert all(verify_entry(path) == [] for path in list_entries(store.local.path, "flow"))
    counts["flows"] = 0
    for method in ALL:
        assert run(clips, store, serves=ALL, method=method) == made
        alone = run(clips, store, method=method)
        assert alone["b"]["window"] == made["b"]["window"]
    assert counts["flows"] == 0


def test_a_pair_that_is_taken_over_is_the_one_that_is_estimated(clips, store, tmp_path):
    together = run(clips, store, serves=ALL)
    for need, function in needs(serves=ALL).functions.items():
        manifest = listed(clips, needs(serves=ALL))
        apart = Store([tmp_path / need])
        keys = compute_flow(manifest, function, options=complete_config(SMALL)["flow"], store=apart)
        for clip, key in keys.items():
            assert key == together[clip][need]
            assert contents(apart, key) == contents(store, key), "bit for bit"


@pytest.mark.parametrize("order", [ALL, [*reversed(ALL)]])
def test_another_method_estimates_only_what_no_entry_has(clips, store, counts, order):
    known: set[tuple[str, int, int]] = set()
    for method in order:
        counts["flows"] = 0
        run(clips, store, method=method)
        asked = pairs_of(clips, needs(method=method))
        assert counts["flows"] == len(asked - known), method
        known |= asked
    counts["flows"] = 0
    for method in order:
        run(clips, store, method=method)
    assert counts["flows"] == 0, "and back again"


def test_windows_have_the_keys_that_they_always_had(clips, store):
    of = needs()
    before = compute_flow(listed(clips, of), of.pairs, options=complete_config(SMALL)["flow"], store=store)
    served = run(clips, store, serves=ALL)
    assert {clip: keys["window"] for clip, keys in served.items()} == before
    assert run(clips, store) == {clip: {"window": key} for clip, key in before.items()}


def test_siblings_are_found_by_their_keys_where_nothing_is_listed(clips, store, counts, monkeypatch):
    """As in a bucket, whose entries nobody lists."""
    both = {"serves": ["f2f", "maskconsist"], "proxy_labels": {"gap_frames": 2}}
    made = run(clips, store, **both)
    monkeypatch.setattr("weclick.store.older.summaries", lambda root, kind: [])
    for path in list_entries(store.local.path, "flow"):
        if path.name in (made["a"]["step"], made["a"]["pair"]):
            path.rename(path.with_name("0" * 64))
    counts["flows"] = 0
    assert run(clips, store, **both) == made
    assert counts["flows"] == 5 + 4, "all steps, and the pairs ahead; those back are in the chain"
    assert set(keys_in(made)) <= {path.name for path in list_entries(store.local.path, "flow")}


def test_flows_of_all_needs_go_into_files_once_and_come_back(clips, store, tmp_path):
    of, options = needs(serves=ALL), complete_config({**SMALL, "flow": {"masks": []}})["flow"]
    manifest = listed(clips, of)
    made = compute_needs(manifest, of.functions, options=options, store=store)
    count = len(pairs_of(clips, of))
    assert export_flow(made, tmp_path / "files", store=store, full=True) == count
    assert len([*(tmp_path / "files").rglob("*.flo")]) == count
    assert write_wanted(manifest, of.all_pairs, [], tmp_path / "wanted.csv") == count
    for need, function in of.functions.items():
        keys = import_flow(manifest, function, tmp_path / "files", options=options, store=store)
        assert keys.keys() == {clip for clip in made if need in made[clip]}
