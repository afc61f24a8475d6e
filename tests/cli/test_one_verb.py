"""A command line builds the options of its own verb, and no others."""

import re
from itertools import pairwise

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from weclick.cli import app_for
from weclick.cli.app import app


@pytest.mark.parametrize(
    ("words", "verb"),
    [
        (["frames", "--config", "c.yaml"], "frames"),
        (["--log", "teacher", "soft-labels"], "soft-labels"),
        (["--log=teacher", "clicks"], "clicks"),
        (["cache", "ls", "--help"], "cache"),
    ],
)
def test_the_verb_that_is_asked_for_stands_alone(words, verb):
    alone = get_command(app_for(words))
    assert list(alone.commands) == [verb]
    whole = get_command(app)
    assert [each.opts for each in alone.params] == [each.opts for each in whole.params]
    assert [each.opts for each in alone.commands[verb].params] == [
        each.opts for each in whole.commands[verb].params
    ]
    assert alone.help == whole.help


@pytest.mark.parametrize("words", [["clicks-export"], ["cache", "audit"]])
@pytest.mark.parametrize("columns", [60, 90])
def test_help_breaks_its_lines_where_the_terminal_ends(monkeypatch, words, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    told = CliRunner().invoke(app_for(words), [*words, "--help"]).output
    prose = told.partition("Usage:")[2].partition("╭")[0].partition("\n     weclick ")[0]
    lines = [line.rstrip() for line in prose.splitlines()]
    pairs = [(one, other) for one, other in pairwise(lines) if one and other]
    assert len(pairs) >= 3
    for one, other in pairs:
        assert columns - 2 <= len(one) + 1 + len(other.split()[0]), (one, other)
    assert re.search("^     weclick ", told, re.MULTILINE), "examples keep their lines"


@pytest.mark.parametrize("words", [[], ["--help"], ["fraems"], ["--log", "frames"]])
def test_without_a_known_verb_all_are_there(words):
    assert app_for(words) is app
