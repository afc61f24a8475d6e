"""The rules, as Snakemake reads them: each has a log, and a verb is spelled once."""

from string import Formatter

import pytest

from helpers.places import ROOT
from helpers.workflow import Rule, load_rules

QUOTED = {"params.data", "params.manifests"}
"""Texts of many words, whose words are quoted already."""


@pytest.fixture
def load(monkeypatch):
    """Reads the rules that run a shell command."""
    monkeypatch.setenv("WECLICK_COMMAND", "pytest")  # which the workflow would set for good

    def with_a_shell(root=ROOT, **config) -> dict[str, Rule]:
        return {name: rule for name, rule in load_rules(root, **config).items() if rule.shellcmd}

    return with_a_shell


def verb_of(rule: Rule) -> str:
    """The verb in `weclick --log FILE <verb> ...`."""
    program, option, _, verb, *_ = rule.shellcmd.split()
    assert (program, option) == ("weclick", "--log")
    return verb


def test_every_rule_has_a_log_of_its_own(load):
    rules = load(results="my results")
    assert rules.keys() >= {"toy", "flow_shard", "teacher", "lock", "ablation_student", "ablation"}
    for name, rule in rules.items():
        (log,) = map(str, rule.log)
        assert log.startswith((f"my results/logs/{name}.log", f"my results/logs/{name}/"))
        assert log.endswith(".log")
        assert "--log {log:q} " in rule.shellcmd


def test_a_verb_has_one_shell_line_whose_fields_are_quoted(load):
    lines: dict[str, set[str]] = {}
    for rule in load().values():
        lines.setdefault(verb_of(rule), set()).add(rule.shellcmd)
    for verb, (line, *others) in lines.items():
        assert not others, f"{verb} is spelled twice"
        fields = {name: spec for _, name, spec, _ in Formatter().parse(line) if name}
        assert {name for name, spec in fields.items() if spec != "q"} <= QUOTED, verb
