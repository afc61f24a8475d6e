"""A configuration that is wrong ends in one text: what was found, where, what was expected."""

from __future__ import annotations

import pytest

from weclick.common.config import ConfigError, complete_config, load_config
from weclick.common.errors import InputError


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("student: {stepz: 3}", r"unknown key 'stepz' \(did you mean 'steps'\?\) in student; known: "),
        ("studnt: {}", r"unknown key 'studnt' \(did you mean 'student'\?\) in top level"),
        ("1: 2", r"unknown key '1' in top level"),
        ("student: {steps: many}", r"student\.steps: 'many' is not of type 'integer'"),
        ("student: [1]", r"student: \[1\] is not of type 'object'"),
        ("student:", r"student: holds nothing \(null\), which is not of type 'object'; give a value"),
        ("student: {learning_rate: .nan}", r"student\.learning_rate: nan is not a finite number"),
        ("student: {crop: [64, .inf]}", r"student\.crop\.1: inf is not of type 'integer'"),
        ("seed: 2026-13-45", r"seed: '2026-13-45' is not of type 'integer'"),
        ("data: {root: [}", r"cannot be read as YAML \(line 1, column 1\d: [^\n]+$"),
        ("student:\n\tsteps: 3", r"cannot be read as YAML \(line 2, column 1: [^\n]+ spaces, not tabs"),
        ("data: {root: ${HOME}/x}", r"cannot be read as YAML \(line 1, [^\n]+ put quotes around"),
        ("student", r"holds one value, expected sections such as 'student:'"),
        ("student: {steps: 3, steps: 4}", r"stands twice in one section, on line 1; keep one"),
        ("data: &a {toy: *a}", r"a section holds itself"),
        ("- student", r"holds a list, expected sections such as 'student:'"),
        ("version: 0", r"version is 0, but this weclick reads version 1; compare .*set version: 1"),
        ("version: 2", r"version is 2, but this weclick reads version 1; .*install the weclick"),
        ("version: old", r"version is 'old'"),
    ],
)
def test_the_text_names_file_place_and_expectation(tmp_path, text, told):
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"(?s)wrong\.yaml: .*" + told):
        load_config(path)


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "wrong.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ConfigError, match=r"wrong\.yaml: cannot be read as YAML"):
        load_config(tmp_path / "wrong.yaml")
    with pytest.raises(ConfigError, match="cannot be read as YAML"):
        load_config(tmp_path)


def test_all_faults_are_listed_at_once():
    wrong = {"flow": {"stride_px": 0}, "student": {"steps": 0, "stepz": 1}, "mfd": {"weight": float("inf")}}
    with pytest.raises(ConfigError) as caught:
        complete_config(wrong)
    for told in ("flow.stride_px: 0", "student.steps: 0", "'stepz'", "mfd.weight: inf"):
        assert told in str(caught.value)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("student", r"not of the form section\.key=value"),
        ("seed.x=1", r"override 'seed\.x=1': seed holds the value 3, it is no section"),
        ("seed=[", r"override 'seed=\[': cannot be read as YAML"),
        ("student.crop=64", r"student\.crop: 64 is not of type 'array'"),
    ],
)
def test_overrides(override, told):
    with pytest.raises(ConfigError, match=told):
        load_config("{seed: 3}", [override])


def test_the_current_version_is_the_default():
    assert complete_config({})["version"] == complete_config({"version": 1})["version"] == 1
    assert issubclass(ConfigError, InputError)
