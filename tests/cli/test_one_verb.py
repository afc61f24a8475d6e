"""A command line builds the options of its own verb, and no others."""

import pytest
from typer.main import get_command

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


@pytest.mark.parametrize("words", [[], ["--help"], ["fraems"], ["--log", "frames"]])
def test_without_a_known_verb_all_are_there(words):
    assert app_for(words) is app
