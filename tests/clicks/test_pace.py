"""The pace is that of clicking: breaks and imports do not count."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from helpers.persons_click import click
from weclick.clicks.pace import pace_of
from weclick.manifest.people import Origin


def at(*seconds, source="human"):
    begin = datetime(2026, 11, 28, 10, tzinfo=UTC)
    return [
        replace(
            click("anna", 0, 1, 1, 0),
            time=(begin + timedelta(seconds=second)).isoformat(),
            origin=Origin(source, "anna"),
        )
        for second in seconds
    ]


def test_breaks_are_left_out():
    pace = pace_of(at(0, 2, 4, 10, 1000, 1002))
    assert pace.at_minutes == pytest.approx([0, 2 / 60, 4 / 60, 10 / 60, 10 / 60, 12 / 60])
    assert pace.per_minute == pytest.approx(20)
    assert pace.median_s == 2


def test_of_too_few_clicks_of_imports_and_of_strange_times_no_pace_is_told():
    assert pace_of(at(0, 2, 4)) is None
    assert pace_of([]) is None
    assert pace_of(at(0, 0, 0, 0, 0)) is None
    assert pace_of(at(0, 2, 4, 10, 12, source="import")) is None
    assert pace_of([replace(each, time="yesterday") for each in at(0, 2, 4, 10)]) is None
