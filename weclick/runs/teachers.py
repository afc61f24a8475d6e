"""Which teachers a configuration needs, and where their files lie."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weclick.common.stages import takes
from weclick.runs.layout import Layout


def teachers_of(config: Mapping[str, Any]) -> list[int | str]:
    """The teachers whose mean makes the soft labels: seeds to train with, and paths of networks.

    Args:
        config: a configuration. What a lock of an earlier version lacks has its default.

    Returns:
        None of them if an ONNX file or a folder makes the soft labels, or the method learns from none.
    """
    if not takes(config, "soft_labels"):
        return []
    section = config.get("soft_labels", {})
    if section.get("source", "teacher") != "teacher":
        return []
    return list(section.get("teachers") or [config.get("seed", 0)])


def trains_teacher(config: Mapping[str, Any]) -> bool:
    """Whether the run trains the teacher of its own seed, which is scored and shown."""
    return config.get("seed", 0) in teachers_of(config)


def trained_seeds(config: Mapping[str, Any]) -> list[int]:
    """The seeds that the run trains teachers with."""
    return [each for each in teachers_of(config) if isinstance(each, int)]


def teacher_files(config: Mapping[str, Any], layout: Layout) -> list[Path]:
    """The file of every teacher, whether or not it is there.

    Args:
        config: complete.
        layout: of the run, which holds those that it trains.
    """
    return [
        layout.teacher(None if each == config["seed"] else each) if isinstance(each, int) else Path(each)
        for each in teachers_of(config)
    ]


def labels_words(config: Mapping[str, Any]) -> str:
    """What makes the soft labels, for the end of a sentence.

    Args:
        config: complete.
    """
    section, teachers = config["soft_labels"], teachers_of(config)
    told = [f"seed {each}" if isinstance(each, int) else each for each in teachers]
    if section["source"] == "onnx":
        words = f"the network {section['onnx']['path']}"
    elif section["source"] == "folder":
        words = f"the {section['folder']['kind'].replace('_', ' ')} in {section['folder']['path']}"
    elif teachers == [config["seed"]]:
        words = "the run's own teacher"
    elif len(told) == 1:
        words = f"the teacher {told[0]}"
    else:
        words = f"the mean of {len(told)} teachers: {', '.join(told)}"
    if at_most := section["fuse"]["neighbours"]:
        words += f"; those of targets are averaged with at most {at_most} neighbours along the flow"
    return words
