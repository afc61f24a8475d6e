"""What `weclick doctor` says of people's clicks beyond errors: doubles, few clicks, a list."""

import json

import pytest
from typer.testing import CliRunner

from helpers.clicked_street import make_street
from weclick import cli
from weclick.manifest.click_log import append_events, read_click_log


@pytest.fixture
def config(tmp_path):
    network = {"pretrained": None}
    return {
        "data": make_street(tmp_path / "mine"),
        "cache": {"roots": [str(tmp_path / "store")]},
        "teacher": network,
        "student": network,
    }


def doctor(config, *words):
    done = CliRunner().invoke(cli.app, ["doctor", "--config", json.dumps(config), *words])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_near_doubles_and_few_clicks_are_warnings(config, tmp_path):
    path = tmp_path / "mine" / "clicks.jsonl"
    first = read_click_log(path)[0]
    before = doctor(config)
    assert "within 6 px" not in before
    assert "under 20 clicks" not in before
    again = {"id": "00000000-0000-0000-0000-00000000ffff", "y": first.y, "x": (first.x + 3) % 60}
    told = {"clip": first.clip, "frame": first.frame, "class": first.class_name, "source": "human"}
    append_events(path, [again | told | {"time": first.time, "who": "ben", "tool": "test"}])
    (tmp_path / "mine" / "classes.yaml").write_text(
        (tmp_path / "mine" / "classes.yaml").read_text() + "  - {name: boat, color: [1, 2, 3]}\n"
    )
    after = doctor(config)
    assert (
        "1 click lies within 6 px of another of the same class, and may be double; in clip 'clip 0'" in after
    )
    assert "no click: boat" in after
    assert "under 20" not in after


def test_the_review_is_a_list_and_no_warning(config):
    plain, told = doctor(config), doctor(config, "--review")
    assert not any(line.startswith("review") for line in plain.splitlines())
    lines = [line for line in told.splitlines() if line.startswith("review")]
    assert "of 108 clicks to look at again, not all of them wrong" in lines[0]
    assert "had been made wrong on purpose (chance: 5 %)" in lines[1]
    assert 1 <= len(lines) - 2 <= 108 // 20
    assert all(" by " in line and ("looks like" in line or " px from" in line) for line in lines[2:])
    assert [line for line in told.splitlines() if line.startswith("warning")] == [
        line for line in plain.splitlines() if line.startswith("warning")
    ]


def test_the_review_as_json(config):
    told = json.loads(doctor(config, "--review", "--json"))
    assert told["fit"]
    assert all(
        {"clip", "frame", "y", "x", "class_name", "who", "seen"} <= each.keys() for each in told["review"]
    )
    assert "review" not in json.loads(doctor(config, "--json"))


def test_without_people_there_is_none_to_review(config, tmp_path, repository):
    toy = {
        "data": {"root": str(tmp_path / "none")},
        "teacher": config["teacher"],
        "student": config["student"],
    }
    assert "people made no click here" in doctor(toy | {"cache": config["cache"]}, "--review")
