"""JSON that every reader takes."""

import ast
import json
import math

from weclick.common.strict_json import strict_json


def refuse(name):
    raise AssertionError(f"{name} is no JSON")


def test_numbers_that_json_lacks_become_null():
    value = {"a": math.nan, "b": [math.inf, (-math.inf, 1.5)], "c": {"d": None, "e": "NaN", "f": True}}
    text = strict_json(value, indent=1)
    assert json.loads(text, parse_constant=refuse) == {
        "a": None,
        "b": [None, [None, 1.5]],
        "c": {"d": None, "e": "NaN", "f": True},
    }


def test_finite_values_are_spelt_as_json_does():
    value = {"b": 1, "a": [0.1, "ü", None, True]}
    for how in ({}, {"indent": 1}, {"sort_keys": True}):
        assert strict_json(value, **how) == json.dumps(value, **how)


def test_no_stage_writes_figures_past_it(repository):
    """Whoever writes measured figures imports strict_json: plain json.dumps would let NaN through."""
    for name in (
        "weclick/evaluate/stage.py",
        "weclick/train/log.py",
        "weclick/train/stage.py",
        "weclick/runs/ablation.py",
        "weclick/runs/experiment/files.py",
        "weclick/runs/cost.py",
        "weclick/runs/lock.py",
        "weclick/runs/report/page.py",
        "weclick/cli/bench.py",
        "weclick/cli/flow_bench.py",
        "weclick/cli/doctor.py",
        "weclick/cli/ledger.py",
    ):
        tree = ast.parse((repository / name).read_text(encoding="utf-8"))
        used = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Name | ast.Attribute)}
        assert "json.dumps" not in used, name
        assert "strict_json" in used, name
