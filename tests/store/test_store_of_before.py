"""A store that version 0.1.0 filled is used whole: today's code asks for the very same entries.

`tests/data/store_0_1` holds a demo in small: its configuration, its images, and the store that version 0.1.0
made of them, with a teacher and three students (the last weights, the best ones, one trained online).

Where this test fails, an edit gave other keys to what people have. If it changed no weight, a row in
TRAINS_LIKE (weclick/train/network_code.py) mends that. If it did, say so in CHANGELOG.md and make the store
anew.
"""

from dataclasses import dataclass
from typing import Any

import pytest

from helpers.places import TESTS
from weclick.clicks import ClickTable, generate_clicks
from weclick.common.config import load_config
from weclick.datasets import build_manifest, open_dataset
from weclick.manifest import Manifest
from weclick.proxy_labels.teachers import Teachers
from weclick.runs.wanted import Wanted
from weclick.store import Store, entry_key, list_entries, verify_entry
from weclick.store.meta import KINDS
from weclick.train.data.stream import Caches
from weclick.train.network_code import network_code
from weclick.train.recipe import OF_TIMM, TRAINING
from weclick.train.roles import ROLE_NEEDS

BEFORE = TESTS / "data" / "store_0_1"


@dataclass(frozen=True)
class Before:
    """The example as today's code reads it, and a store that finds its entries."""

    config: dict[str, Any]
    train: Manifest
    val: Manifest
    clicks: ClickTable
    store: Store

    def keys(self, kind: str, split: Manifest) -> dict[str, str]:
        labels = None
        if kind == "soft_labels":
            teacher = self.store.get("models", self.network("teacher"))
            labels = Teachers({teacher.attributes["weights_sha256"]: teacher.path / "model.safetensors"})
        return Wanted(self.config, labels).keys(kind, split.clips)

    def network(self, role: str, *changes: str) -> str:
        """The key of a network, with some changes of the configuration."""
        wanted = Wanted(load_config(BEFORE / "config.yaml", changes))
        keys = {kind: self.keys(kind, self.train) for kind in wanted.caches_of(role)}
        caches = Caches(self.store, keys["frames"], keys.get("flow", {}), keys.get("soft_labels", {}))
        recipe = wanted.recipe(role, train=self.train, val=self.val, clicks=self.clicks, caches=caches)
        return entry_key("models", recipe.inputs())


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    config = load_config(BEFORE / "config.yaml")
    dataset = open_dataset({**config["data"], "root": str(BEFORE / "data")})
    train, val = (
        build_manifest(dataset, split, 0, 1, reach_frames=4, remember=None) for split in ("train", "val")
    )
    clicks = generate_clicks(train, options=config["clicks"], seed=config["seed"])
    return Before(config, train, val, clicks, Store([BEFORE / "store", tmp_path_factory.mktemp("store")]))


def test_the_example_is_whole():
    entries = [path for kind in KINDS for path in list_entries(BEFORE / "store", kind)]
    assert len(entries) == 2 + 3 + 2 + 4
    assert all(verify_entry(path) == [] for path in entries)


@pytest.mark.parametrize("kind", ["frames", "flow", "soft_labels"])
def test_every_clip_is_found(before, kind):
    for split in (before.train, before.val) if kind == "flow" else (before.train,):
        keys = before.keys(kind, split)
        assert keys.keys() == {clip.id for clip in split.clips}
        assert all(before.store.find(kind, key) for key in keys.values())


def test_flow_of_before_is_found_whichever_methods_are_served(before):
    config = load_config(BEFORE / "config.yaml", ["serves=[weclick, f2f, two_stream, maskconsist]"])
    dataset = open_dataset({**config["data"], "root": str(BEFORE / "data")})
    needs = Wanted(config).needs
    assert (needs.reach_frames, needs.whole) == (6, True)
    for split, known in (("train", before.train), ("val", before.val)):
        manifest = build_manifest(dataset, split, 0, 1, reach_frames=needs.reach_frames, whole=needs.whole)
        assert Wanted(config).keys("flow", manifest.clips) == before.keys("flow", known)
    chains = Wanted(config).keys("flow", before.train.clips, need="chain")
    assert chains
    assert not any(before.store.find("flow", key) for key in chains.values())


def test_every_network_is_found(before):
    (teacher,) = (BEFORE / "store" / "models").glob(f"*/*/{before.network('teacher')}")
    online = f"student.online.teacher={teacher / 'model.safetensors'}"
    keys = {
        before.network("teacher"),
        before.network("student"),
        before.network("student", "student.keep=best"),
        before.network("student", online),
    }
    assert keys == {path.name for path in list_entries(BEFORE / "store", "models")}


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ((), "e6226d9f4cab5a2e6775ae5d5a9972aeab84b7762d3c3b4ebe35c1f764d061bb"),
        (ROLE_NEEDS["student"].scoring, "62b60e22dacba11b1889513ffa2071d04732579cf4526ad0cc42fb2f4b249b78"),
    ],
    ids=["the last weights", "the best ones"],
)
def test_networks_on_backbones_of_timm_are_found(more, code):
    """Their code is in the keys of networks that people have, though the stored example has none."""
    assert network_code(*TRAINING, *more, *OF_TIMM) == code
