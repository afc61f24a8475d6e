"""The experiment that is always there: what each part of a method adds, the tables of its paper in small."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weclick.common import stages
from weclick.common.config import ConfigError
from weclick.common.errors import InputError
from weclick.common.files import write_text
from weclick.common.sections import Config, ExperimentSection, Method
from weclick.common.strict_json import strict_json
from weclick.runs.layout import SUMMARY

ABLATION = "ablation"
"""Name of the experiment."""

WECLICK: dict[str, dict[str, Any]] = {
    "teacher": {"description": "the large net on clicks", "scores": "teacher"},
    "weakly": {
        "description": "clicks and Gated CRF alone",
        "change": {"kd": {"weight": 0.0}, "mfd": {"weight": 0.0}},
    },
    "weakly_same_time": {
        "description": "clicks and Gated CRF alone, for the wall time of kd_mfd",
        "as": "weakly",
        "for_time_of": "kd_mfd",
    },
    "kd": {"description": "plus the teacher's soft labels", "change": {"mfd": {"weight": 0.0}}},
    "kd_mfd": {"description": "plus memory-flow distillation: the whole of Eq. 5"},
}
"""Table 4 of WeClick, and the same time without a teacher."""

_ONE_STREAM = {"architecture": "two_stream", "fusion": "none"}

TWO_STREAM: dict[str, dict[str, Any]] = {
    "tags": {
        "description": "tags alone",
        "change": {
            "student": _ONE_STREAM,
            "heatmap_loss": {"weight": 0.0},
            "constrain_loss": {"weight": 0.0},
        },
    },
    "foreground": {
        "description": "plus the heatmaps of objects",
        "change": {
            "student": _ONE_STREAM,
            "heatmap_loss": {"background": "none"},
            "constrain_loss": {"weight": 0.0},
        },
    },
    "heat": {
        "description": "plus those of the background",
        "change": {"student": _ONE_STREAM, "constrain_loss": {"weight": 0.0}},
    },
    "heat_crf": {"description": "plus the divergence from a dense CRF", "change": {"student": _ONE_STREAM}},
    "two_stream_no_crf": {
        "description": "two streams without the dense CRF",
        "change": {"student": {"architecture": "two_stream"}, "constrain_loss": {"weight": 0.0}},
    },
    "two_stream": {
        "description": "two streams, the whole method",
        "change": {"student": {"architecture": "two_stream"}},
    },
}
"""Tables 2 and 3 of Saleh et al. (2017). Where class 0 is no background, heatmaps are of all classes."""

ARMS: dict[Method, tuple[dict[str, dict[str, Any]], list[list[str]]]] = {
    "weclick": (
        WECLICK,
        [["kd", "weakly"], ["kd_mfd", "kd"], ["kd_mfd", "weakly"], ["kd_mfd", "weakly_same_time"]],
    ),
    "two_stream": (
        TWO_STREAM,
        [
            ["heat", "tags"],
            ["heat", "foreground"],
            ["heat_crf", "heat"],
            ["two_stream", "heat_crf"],
            ["two_stream", "two_stream_no_crf"],
        ],
    ),
}
"""Method -> the arms, as a configuration would name them, and what is compared. Others have no ablation."""

SCORES = ("miou", "mean_accuracy", "pixel_accuracy", "temporal_consistency", "train_seconds", "steps")


def ablation_section(config: Config) -> ExperimentSection:
    """The ablation as an experiment.

    Raises:
        ConfigError: the method has none.
    """
    if config["method"] not in ARMS:
        raise ConfigError(
            f"there is no ablation of method {config['method']}, but of {' and '.join(ARMS)}; name arms of "
            "your own in an experiment, see docs/experiments.md"
        )
    arms, compared = ARMS[config["method"]]
    return {
        "name": ABLATION,
        "question": "What does each part of the method add?",
        "protocol": "",
        "seeds": config["ablation"]["seeds"],
        "arms": arms,
        "compare": compared,
        "choose": {},
        "wanted_effect": config["experiment"]["wanted_effect"],
        "over": None,
        "data": {},
    }


def old_layout(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The summary of this experiment as others have read it before there were experiments.

    Returns:
        seeds, note, and variants: arm -> description, and score -> {"mean", "spread", "values"}. The spread
        is the sample standard deviation, None for one seed.

    Raises:
        InputError: the summary is that of another experiment.
    """
    if summary["name"] != ABLATION or len(summary["results"]) != 1:
        raise InputError(
            f"the summary is that of {summary['name']}, expected that of the experiment {ABLATION}; name "
            f"results/experiment/{ABLATION}/{SUMMARY}"
        )
    (results,) = summary["results"].values()
    variants = {
        name: {
            "description": summary["arms"][name]["description"],
            **{score: {key: arm[score][key] for key in ("mean", "spread", "values")} for score in SCORES},
        }
        for name, arm in results["arms"].items()
    }
    return {
        "seeds": summary["seeds"],
        "variants": variants,
        "note": "Mean and sample standard deviation over seeds. Differences within the spread are noise.",
    }


def write_old_layout(summary: Mapping[str, Any], folder: Path) -> None:
    """Write `old_layout` into a folder, and each variant's part into the variant's folder."""
    old = old_layout(summary)
    for name, scores in old["variants"].items():
        write_text(folder / name / stages.SCORES, strict_json(scores, indent=1) + "\n")
    write_text(folder / SUMMARY, strict_json(old, indent=1) + "\n")
