"""Shipped configurations name their schema for editors, and loading does not mind."""

import re

import pytest
import yaml
from jsonschema import Draft202012Validator

from helpers.places import ROOT
from weclick.common.config import load_config
from weclick.common.schemas import load_schema, schema_path

FILES = sorted(path for path in (ROOT / "config").rglob("*.yaml") if not path.stem.endswith("_classes"))
LINE = re.compile(r"^# yaml-language-server: \$schema=(\S+)\n", re.M)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT / "config")))
def test_the_line_leads_to_the_schema_which_accepts_the_file(path):
    text = path.read_text(encoding="utf-8")
    (schema,) = LINE.findall(text)
    assert (path.parent / schema).resolve() == schema_path("config").resolve()
    head = text.partition(LINE.search(text)[0])[0]
    assert all(line.startswith("#") for line in head.splitlines()), "the line stands in the head of the file"
    assert head, "the first line says what the file is for"
    Draft202012Validator(load_schema("config")).validate(yaml.safe_load(text))  # as an editor does


def test_loading_ignores_the_line(tmp_path):
    text = (ROOT / "config/demo.yaml").read_text(encoding="utf-8")
    without = tmp_path / "without.yaml"
    without.write_text(LINE.sub("", text), encoding="utf-8")
    assert "yaml-language-server" not in without.read_text(encoding="utf-8")
    assert load_config(ROOT / "config/demo.yaml") == load_config(without)
