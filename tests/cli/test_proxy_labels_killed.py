"""`weclick proxy-labels` with the source f2f, killed at six moments, ends with the labels of a whole run."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from helpers.cache_entries import files_of
from weclick.clicks.tags import make_tags, write_tags
from weclick.common.config import complete_config
from weclick.datasets import build_manifest, open_dataset
from weclick.datasets.toy.draw import generate
from weclick.flow.stage import compute_needs
from weclick.manifest import write_manifest
from weclick.models import build_classifier
from weclick.proxy_labels.cam_classifier import OfClassifier
from weclick.proxy_labels.cams import compute_cams
from weclick.runs.wanted import Wanted
from weclick.store import Store, list_entries, verify_entry, write_index
from weclick.store.entries import META
from weclick.store.model_file import model_bytes

pytestmark = pytest.mark.slow

CLIPS = 4
TOY = {"height": 64, "width": 96, "frames": 5, "clips": {"train": CLIPS, "val": 1}}
PROXIES = {"frames": 3, "filter": False, "runs_per_clip": None, "threshold": 0.4}

STOPPING = """
import importlib, itertools, sys
from weclick import cli

moment, module, owner, name, when, number, *words = sys.argv[1:]
owner = importlib.import_module(module) if not owner else getattr(importlib.import_module(module), owner)
real, calls = getattr(owner, name), itertools.count(1)

def stopping(*given, **named):
    now = next(calls) == int(number)
    if now and when == "before":
        stop()
    made = real(*given, **named)
    if now:
        stop()
    return made

def stop():
    print(moment, flush=True)
    sys.stdin.read()

setattr(owner, name, stopping)
sys.argv = ["weclick", *words]
cli.main()
"""
"""Runs a verb, and waits before or after the n-th call of a function."""

LABELS, ENTRY, ROOT = "weclick.proxy_labels.f2f", "weclick.store.entries", "weclick.store.roots.local_root"
MOMENTS = [
    ("before the first label", (LABELS, "F2F", "make", "before", 1), 0),
    ("in the second entry, half-written", (ENTRY, "EntryWriter", "create_array", "after", 2), 1),
    ("before the rename of a whole entry", (ROOT, "LocalRoot", "commit", "before", 1), 1),
    ("right after the rename of an entry", (ROOT, "LocalRoot", "commit", "after", 1), 2),
    ("before the index", ("weclick.runs.metered", "", "write_index", "before", 1), CLIPS),
    ("before the quality", ("weclick.evaluate.proxy_quality", "", "write_quality", "before", 1), CLIPS),
]
"""What is going on, the function that it is told by, and how many entries stay."""


@dataclass(frozen=True)
class Stage:
    """The inputs of the stage in a folder."""

    folder: Path

    def words(self, root: Path) -> list[str]:
        """The verb, whose results and entries go into a folder."""
        given = {name: self.folder / name for name in ("manifest.json", "tags.h5", "cams.json", "flow.json")}
        options = {f"--{path.stem}": path for path in given.values()}
        options |= {"--output": index_in(root), "--config": self.folder / "config.yaml", "--device": "cpu"}
        roots = f"cache.roots={json.dumps([str(self.folder / 'store'), str(root / 'store')])}"
        return ["proxy-labels", *(str(word) for pair in options.items() for word in pair), "--set", roots]

    def run(self, root: Path) -> None:
        """A run that nobody disturbs."""
        done = subprocess.run([WECLICK, *self.words(root)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def kill(self, root: Path, moment: str, place: tuple[object, ...]) -> None:
        """A run that is killed at a moment."""
        words = [sys.executable, "-c", STOPPING, moment, *map(str, place), *self.words(root)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with subprocess.Popen(words, **pipes) as run:
            assert moment in run.stdout.readline()
            run.send_signal(signal.SIGKILL)
        assert run.returncode == -signal.SIGKILL


WECLICK = str(Path(sys.executable).parent / "weclick")


@pytest.fixture(scope="module")
def stage(tmp_path_factory) -> Stage:
    """Manifest, tags, maps of an untrained classifier, and flow of a toy street, by the real stages."""
    folder = tmp_path_factory.mktemp("inputs")
    given = {
        "method": "f2f",
        "data": {"root": str(folder / "toy"), "target_every": 2, "toy": TOY},
        "cams": {"scales": [1.0], "flip": False},
        "proxy_labels": PROXIES,
    }
    (folder / "config.yaml").write_text(json.dumps(given))
    config, store = complete_config(given), Store([folder / "store"])
    generate(folder / "toy", **config["data"]["toy"])
    manifest = build_manifest(open_dataset(config["data"]), "train", 0, 1, reach_frames=5)
    tags, weights = make_tags(manifest, config["tags"]), folder / "model.safetensors"
    torch.manual_seed(0)
    model = build_classifier("mobilenetv2_compact", len(manifest.classes.names), output_stride=8)
    weights.write_bytes(model_bytes(model, manifest.classes))
    maps = compute_cams(manifest, OfClassifier.of(weights), tags, options=config["cams"], store=store)
    flow = compute_needs(manifest, Wanted(config).needs.functions, options=config["flow"], store=store)
    write_manifest(manifest, folder / "manifest.json")
    write_tags(tags, folder / "tags.h5")
    write_index(folder / "cams.json", "cams", maps)
    write_index(folder / "flow.json", "flow", flow)
    return Stage(folder)


def index_in(root: Path) -> Path:
    return root / "results/proxy_labels/train/0.json"


def entries_in(root: Path) -> list[Path]:
    return list(list_entries(root / "store", "proxy_labels"))


def content_of(entry: Path) -> dict[str, object]:
    """All files of an entry; of entry.json what does not tell when it was made."""
    meta = json.loads((entry / META).read_bytes())
    told = {name: value for name, value in meta.items() if name not in ("created_unix_s", "digest")}
    return {**files_of(entry), META: told}


def test_killed_runs_end_with_the_keys_and_bytes_of_a_whole_one(stage, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    stage.run(whole)
    assert len(entries_in(whole)) == CLIPS
    kept: dict[str, int] = {}
    for moment, place, count in MOMENTS:
        stage.kill(killed, moment, place)
        found = {entry.name: entry.stat().st_ino for entry in entries_in(killed)}
        assert len(found) == count, moment
        assert found.items() >= kept.items(), f"{moment}: what was whole was made again"
        assert [fault for entry in entries_in(killed) for fault in verify_entry(entry)] == []
        kept = found
    assert not index_in(killed).with_suffix(".quality.jsonl").exists()
    stage.run(killed)
    for entry, expected in zip(entries_in(killed), entries_in(whole), strict=True):
        assert (entry.name, content_of(entry)) == (expected.name, content_of(expected))
        assert entry.stat().st_ino == kept[entry.name]
    for suffix in (".json", ".quality.jsonl"):
        made = [index_in(root).with_suffix(suffix).read_bytes() for root in (killed, whole)]
        assert made[0] == made[1] != b""
    assert list((killed / "store").rglob("*.tmp")) == []
    leases = [path for path in (killed / "store/leases").rglob("*") if path.is_file()]
    assert [path for path in leases if path.stat().st_size] == []
