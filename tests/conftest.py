"""One tiny street. The real stages prepare it once a session, and tests that train share it."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.environment import clean_environment
from helpers.street import Street
from weclick import cli
from weclick.clicks import generate_clicks
from weclick.common.config import complete_config
from weclick.datasets import build_manifest, open_dataset
from weclick.datasets.frames import pack_frames
from weclick.datasets.toy.draw import generate
from weclick.flow.stage import compute_flow
from weclick.manifest.window import Window, consistency_pairs
from weclick.store import Store

clean_environment()
os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # as the verbs set it, for processes that tests start
if "PYTEST_XDIST_WORKER" in os.environ:  # other processes test beside this one, so it takes one core
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)

LONG = (
    "test_workflow.py",
    "test_workflow_experiment.py",
    "test_workflow_shared.py",
    "test_workflow_content.py",
    "test_gpus.py",
    "test_gpu_script.py",
    "test_bad_input_video.py",
    "test_leases.py",
    "test_export.py",
    "test_export_formats.py",
    "test_flow_bench.py",
    "test_flownet2.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest files first, so that none is left over for a single process at the end."""
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout's top folder."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture
def verb(monkeypatch, capsys):
    """Runs `weclick` as the shell does; gives the exit status, and what it said (`out`, `err`)."""

    def call(*words: object) -> tuple[Any, Any]:
        monkeypatch.setattr(sys, "argv", ["weclick", *map(str, words)])
        status: Any = 0
        try:
            cli.main()
        except SystemExit as ended:
            status = ended.code or 0
        return status, capsys.readouterr()

    return call


@pytest.fixture(scope="session")
def tiny_config() -> dict[str, Any]:
    """A configuration whose trainings take seconds."""
    network = {
        "backbone": "mobilenetv2_compact",
        "pretrained": None,
        "channels": 16,
        "steps": 3,
        "batch_size": 2,
        "crop": [48, 64],
        "optimizer": "adamw",
        "learning_rate": 1e-3,
        "validate_every": 0,
        "log_every": 1,
        "checkpoint_every": 2,
    }
    return {
        "data": {
            "root": "data/toy",
            "target_every": 2,
            "toy": {"height": 64, "width": 96, "frames": 4, "clips": {"train": 2, "val": 1}},
        },
        "clicks": {"min_pixels": 4, "min_pixels_at": None},
        "window": {"frames": 3, "max_gap_frames": 2, "direction": "both"},
        "teacher": network,
        "student": network,
    }


@pytest.fixture(scope="session")
def street(tmp_path_factory, tiny_config) -> Street:
    root = tmp_path_factory.mktemp("street")
    config = complete_config(tiny_config)
    config["data"]["root"] = str(root / "data")
    generate(root / "data", **config["data"]["toy"])
    store, window = Store([root / "store"]), Window(**config["window"])
    dataset = open_dataset(config["data"])
    train, val = (
        build_manifest(dataset, split, 0, 1, reach_frames=2, remember=None) for split in ("train", "val")
    )
    return Street(
        config=config,
        store=store,
        train=train,
        val=val,
        clicks=generate_clicks(train, options=config["clicks"], seed=0),
        frames=pack_frames(train, chunk_px=32, store=store),
        flow=compute_flow(train, window.pairs, options=config["flow"], store=store),
        val_flow=compute_flow(
            val, lambda clip: consistency_pairs(clip, 2), options=config["flow"], store=store
        ),
    )
