"""Paths of a configuration: all keys treat ~ and $VAR alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from weclick.common.config import ConfigError, complete_config, load_config, load_configs
from weclick.common.schemas import load_schema
from weclick.common.typed import paths_of, with_whole_paths

KEYS = (
    "results",
    "data.root",
    "data.classes",
    "data.clicks",
    "teacher.pretrained",
    "student.pretrained",
    "student.online.teacher",
    "cache.read_through.path",
    "flow.options.weights",
    "student.online.options.weights",
)


def value_of(config, key):
    for part in key.split("."):
        config = config[int(part) if isinstance(config, list) else part]
    return config


@pytest.fixture(autouse=True)
def home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/eve")
    monkeypatch.setenv("DISK", "/mnt/disk")
    monkeypatch.delenv("NOWHERE", raising=False)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    ("given", "whole"),
    [
        ("~/x", "/home/eve/x"),
        ("$DISK/x", "/mnt/disk/x"),
        ("${DISK}/x", "/mnt/disk/x"),
        ("x~/a$", "x~/a$"),
        ("'~/x'", "/home/eve/x"),
    ],
)
def test_every_path_is_made_whole(key, given, whole, tmp_path):
    assert value_of(load_config("{}", [f"{key}={given}"]), key) == whole
    *sections, last = key.split(".")
    text = "".join(f"{'  ' * i}{name}:\n" for i, name in enumerate(sections))
    (tmp_path / "c.yaml").write_text(f"{text}{'  ' * len(sections)}{last}: {given}\n")
    assert value_of(load_config(tmp_path / "c.yaml"), key) == whole
    assert value_of(load_configs([tmp_path / "c.yaml"], {}), key) == whole


def test_roots_too():
    roots = load_config("{cache: {roots: [$DISK/a, ~/b, 's3://team/weclick']}}")["cache"]["roots"]
    assert roots == ["/mnt/disk/a", "/home/eve/b", "s3://team/weclick"]


@pytest.mark.parametrize("key", KEYS)
def test_a_variable_that_is_not_set_is_an_error(key):
    with pytest.raises(ConfigError, match=rf"{key} is .*'NOWHERE' is not set; set it, or write the path out"):
        load_config("{}", [f"{key}=$NOWHERE/x"])
    with pytest.raises(ConfigError, match="no such user is known here"):
        load_config("{}", [f"{key}=~nobody_of_that_name/x"])


def test_every_key_that_names_a_file_is_a_path():
    """A key whose text begins like that of a path, in the schema's own words."""

    def texts(part, name=""):
        kinds = part.get("type", ())
        if "string" in kinds and part.get("description", "").startswith(
            ("Folder", "The folder", "folder: the c")
        ):
            yield name, part
        for key, value in part.get("properties", {}).items():
            yield from texts(value, f"{name}.{key}".lstrip("."))

    found = dict(texts(load_schema("config")))
    assert len(found) >= 4
    assert {name for name, part in found.items() if part.get("format") != "path"} == set()


def test_what_is_no_path_keeps_its_signs():
    text = "{data: {val_clips: [~x, $DISK]}, flow: {options: {preset: $DISK}}}"
    config = load_config(text)
    assert config["data"]["val_clips"] == ["~x", "$DISK"]
    assert config["flow"]["options"] == {"preset": "$DISK"}


def test_values_that_are_no_file_are_not_changed():
    """A lock or the card of a report must not depend on where it is read."""
    assert complete_config({"data": {"root": "~/x"}})["data"]["root"] == "~/x"
    config = complete_config({})
    assert with_whole_paths(config, load_schema("config")) == config


def test_the_paths_of_a_configuration():
    named = dict(
        paths_of(complete_config({"flow": {"options": {"weights": "w.pth"}}}), load_schema("config"))
    )
    assert named["flow.options.weights"] == "w.pth"
    assert named["cache.roots.0"] == "store"
    assert not Path(named["results"]).is_absolute()


@pytest.mark.parametrize(
    "results", ["out{x}", "out{split}", "-x", "a\nb", "", "s3://team/x", "${BRACES}", "a\x7f"]
)
def test_results_that_snakemake_or_a_shell_would_read_otherwise(results, monkeypatch):
    monkeypatch.setenv("BRACES", "{x}")
    given = f'{{"results": {results!r}}}'.replace("'", '"')
    with pytest.raises(ConfigError, match=r"results: .* is refused; name a folder on a disk, without braces"):
        load_config(given)


@pytest.mark.parametrize(
    "results", ["my results", "grün", "../out", "/abs/out", "out[1]", "a'b", "a;b", "a&b"]
)
def test_results_of_honest_people(results):
    assert complete_config({"results": results})["results"] == results


SPLITS = ("train", "val", "train_extra", "trainval", "v1.0-mini", "set 1", "Übung", "2024", "a+b", "x")


@pytest.mark.parametrize("split", SPLITS)
def test_names_of_splits(split):
    assert complete_config({"data": {"train": split}})["data"]["train"] == split


@pytest.mark.parametrize(
    "split",
    ["a`b`", "$(a)", "a;b", "a|b", "a/b", "..", ".", "-x", "{x}", "a\n", "a\nb", "a ", " a", "", "a'b", 'a"b',
     "a&b", "a>b", "a*", "a\\b", "~", "#a", "x" * 101, "a\u2028b", "\udcffa"],
)  # fmt: skip
@pytest.mark.parametrize("place", ["train", "val", "clips"])
def test_names_that_are_no_split(split, place):
    data = {"toy": {"clips": {split: 1}}} if place == "clips" else {place: split}
    with pytest.raises(ConfigError, match=r"data\.(train|val|toy\.clips): "):
        complete_config({"data": data})


@pytest.mark.parametrize(
    "given",
    [
        {"devices": 10**6},
        {"seed": 2**64},
        {"data": {"shards": 10**9}},
        {"data": {"toy": {"height": 10**6}}},
        {"data": {"toy": {"clips": {"train": 10**9}}}},
    ],
)
def test_numbers_that_nobody_means(given):
    with pytest.raises(ConfigError, match="is greater than the maximum of"):
        complete_config(given)
