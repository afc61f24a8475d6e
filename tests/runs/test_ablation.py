import json

import pytest

from weclick.common.config import complete_config
from weclick.runs.ablation import VARIANTS, steps_for_seconds, summarise, variant_config


def test_variants_differ_in_their_losses_alone():
    config = complete_config({})
    weights = {
        name: (variant_config(config, name)["kd"]["weight"], variant_config(config, name)["mfd"]["weight"])
        for name in VARIANTS
    }
    assert weights == {"weakly": (0, 0), "weakly_same_time": (0, 0), "kd": (1, 0), "kd_mfd": (1, 1)}
    assert variant_config(config, "kd_mfd") == config
    assert config == complete_config({}), "the given configuration must stay as it was"
    with pytest.raises(ValueError, match="unknown variant 'mfd', expected one of weakly"):
        variant_config(config, "mfd")


def test_a_time_budget_becomes_steps():
    assert steps_for_seconds({"steps": 150, "train_seconds": 30.0}, 90.0) == 450
    assert steps_for_seconds({"steps": 150, "train_seconds": 30.0}, 0.01) == 1


def test_mean_and_spread_over_seeds(tmp_path):
    for name in ("teacher", *VARIANTS):
        for seed, miou in ((0, 0.5), (3, 0.7)):
            folder = tmp_path / name / str(seed)
            (folder / "evaluation").mkdir(parents=True)
            metrics = {
                "miou": miou,
                "mean_accuracy": 0.8,
                "pixel_accuracy": 0.9,
                "temporal_consistency": None,
            }
            (folder / "evaluation" / "metrics.json").write_text(json.dumps(metrics))
            (folder / "model.json").write_text(json.dumps({"steps": 10, "train_seconds": 2.0 + seed}))
    summary = summarise(tmp_path, [0, 3])
    assert list(summary["variants"]) == ["teacher", *VARIANTS]
    kd = summary["variants"]["kd"]
    assert kd["miou"] == {
        "mean": pytest.approx(0.6),
        "spread": pytest.approx(0.2 / 2**0.5),
        "values": [0.5, 0.7],
    }
    assert kd["temporal_consistency"]["mean"] is None
    assert kd["train_seconds"]["mean"] == pytest.approx(3.5)
    assert summarise(tmp_path, [0])["variants"]["kd"]["miou"]["spread"] is None
