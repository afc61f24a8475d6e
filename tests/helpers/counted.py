"""How much work the stages do that fill the store."""

from __future__ import annotations

import pytest

from weclick.datasets import frames as frames_stage
from weclick.flow import build_estimator, stage
from weclick.proxy_labels.teachers_mean import TeachersMean


def count_work(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How many frames were decoded to be packed, flows estimated, and frames labelled by the teacher."""
    counted = {"frames": 0, "flows": 0, "labels": 0}

    def counting_read(manifest, clip):
        for image in read(manifest, clip):
            counted["frames"] += 1
            yield image

    def build(name, **given):
        estimator = build_estimator(name, **given)
        both = estimator.estimate

        def estimate(target, neighbour):
            counted["flows"] += len(target)
            return both(target, neighbour)

        estimator.estimate = estimate
        return estimator

    def counting_label(self, image):
        counted["labels"] += 1
        return predict(self, image)

    read, predict = frames_stage.read_clip, TeachersMean._predict
    monkeypatch.setattr(frames_stage, "read_clip", counting_read)
    monkeypatch.setattr(stage, "build_estimator", build)
    monkeypatch.setattr(TeachersMean, "_predict", counting_label)
    return counted
