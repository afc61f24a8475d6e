"""The summary of an invented experiment: two data sets, four arms, three seeds."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from weclick.common.config import complete_config
from weclick.common.sections import ExperimentSection
from weclick.runs.experiment.origin import shared_config
from weclick.runs.experiment.summary import results

ARMS: dict[str, dict[str, Any]] = {
    "teacher": {"description": "the large net on clicks", "change": {}, "scores": "teacher"},
    "clicks": {
        "description": "clicks <alone>",
        "change": {"kd": {"weight": 0}, "mfd": {"weight": 0}},
        "scores": "student",
    },
    "kd": {"description": "soft labels", "change": {"mfd": {"weight": 0}}, "scores": "student"},
    "clicks_same_time": {
        **{"description": "clicks for the time of kd", "change": {}, "scores": "student"},
        **{"as": "clicks", "for_time_of": "kd"},
    },
}
MIOU = {
    "teacher": (0.60, 0.58, 0.57),
    "clicks": (0.55, 0.56, 0.51),
    "kd": (0.65, 0.64, 0.66),
    "clicks_same_time": (0.57, None, 0.53),
}


def section(**changes: Any) -> ExperimentSection:
    given = {
        "name": "invented",
        "question": "Do soft labels pay?",
        "protocol": "Chosen on target frames.",
        "seeds": [0, 1, 2],
        "arms": {"a": {}},
        "compare": [["kd", "clicks"], ["best", "clicks", "clicks_same_time"]],
        "choose": {"best": {"among": ["clicks", "kd"]}},
        **changes,
    }
    return complete_config({"experiment": given})["experiment"]


def figures(shift: float = 0.0) -> dict[tuple[str, int], dict[str, float | None]]:
    """Figures of all trials; temporal consistency and the target frames follow the mIoU."""
    return {
        (arm, seed): {
            "miou": value,
            "mean_accuracy": 0.7,
            "pixel_accuracy": 0.9,
            "temporal_consistency": None if value is None else value + 0.2,
            "on_targets": None if value is None else value + 0.1,
            "on_clicks": None if value is None else value + 0.2,
            "targets": 28,
            "clicks": 56,
            "annotation_seconds": 120.0,
            "train_seconds": 20.0 + seed,
            "steps": 150 + 10 * seed * (arm == "clicks_same_time"),
            "teacher_seconds": 100.0 * (arm == "kd"),
            "cache_bytes": 3 * 2**20,
        }
        for arm, values in MIOU.items()
        for seed, value in enumerate(None if value is None else value + shift for value in values)
    }


def make_summary(name: str = "invented", *, shift: float = 0.0, scored: str = "ab" * 32) -> dict[str, Any]:
    asked = section()
    split = {"clips": 5, "frames": 275, "sizes_px": [[160, 285]]}
    facts = {
        "dataset": "folder",
        "classes": ["road", "car"],
        "train": {"name": "train", "targets": 28, "scored": 0, **split},
        "val": {"name": "val", "targets": 0, "scored": 247, **split},
        "clicks": 56,
        "clicks_by": "masks",
        "annotation_seconds": 120.0,
        "annotation": {"click_first_s": 2.4, "click_next_s": 0.9, "frame_s": 0.0, "mask_object_s": 79.2},
        "trainings": {"count": 12, "seconds": 7500.0},
        "scored_sha256": scored,
        "devices": ["cpu"],
    }
    return {
        "schema_version": 1,
        "name": name,
        **{key: asked[key] for key in ("question", "protocol", "seeds", "wanted_effect", "over")},
        "arms": deepcopy(ARMS),
        "data": {"davis": {}, "streets": {"data": {"root": "streets"}}},
        "results": {
            data: {
                "facts": {**facts, "scored_sha256": digest},
                **results(asked, list(ARMS), figures(shift + more)),
            }
            for data, more, digest in (("davis", 0.0, scored), ("streets", -0.2, "ee" * 32))
        },
        "origin": {
            "date": "2026-01-31",
            "command": "snakemake experiment",
            "machine": {"processor": "a <fast> one", "cores": 2},
            "versions": {"python": "3.11", "torch": "2.11"},
            "revision": "0123456789ab",
            "training_code": "cd" * 32,
        },
        "config": shared_config(complete_config({})),
    }
