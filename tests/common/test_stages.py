"""One stage, one word: every stage of the table has its rule, verb, sections and schema."""

import json
import re

import pytest

from weclick import cli
from weclick.common.sections import FlowSection
from weclick.common.stages import (
    FLOW_KEYS,
    INDEXED,
    KINDS,
    MODELS,
    ROLES,
    SCORED,
    STAGES,
    STEPS,
    Stage,
    losses_off,
    taken_by,
    takes,
)

OTHER_FILE = {"toy": "manifest"}
"""Stages whose rule lies in the file of another one."""

ONE_SCHEMA = {"evaluate", "report", "ablation"}
"""Stages whose files are described in results.schema.json."""


TAGGED = {"tags", "classifier", "cams"}
"""Stages of the methods that learn from tags."""

OF_INSTANCES = {"confident_labels", "relation", "instances", "detector"}
"""Stages of the method that ends in a detector."""


@pytest.fixture(params=STAGES, ids=lambda stage: stage.name)
def stage(request) -> Stage:
    return request.param


def test_it_has_a_rule(repository, stage):
    file = repository / "pipeline" / "rules" / f"{OTHER_FILE.get(stage.name, stage.name)}.smk"
    rules = r"^(?:rule|use rule \w+ as) (\w+)"
    assert stage.rule in re.findall(rules, file.read_text(encoding="utf-8"), re.MULTILINE)


def test_its_rule_calls_its_verb(repository, stage):
    file = repository / "pipeline" / "rules" / f"{OTHER_FILE.get(stage.name, stage.name)}.smk"
    call = f"weclick --log {{log:q}} {stage.name.replace('_', '-')} --"
    assert call in file.read_text(encoding="utf-8")


def test_it_has_a_verb(stage):
    verbs = {command.name or command.callback.__name__ for command in cli.app.registered_commands}
    assert stage.name.replace("_", "-") in verbs


def test_what_it_reads_is_in_the_configuration(repository, stage):
    schema = json.loads((repository / "data_schema" / "config.schema.json").read_text(encoding="utf-8"))
    for path in stage.reads:
        part = schema
        for name in path.split("."):
            part = part["properties"][name]


def test_its_files_have_a_schema(repository, stage):
    if stage.name != "toy":  # which draws a data set as others publish theirs
        name = "results" if stage.name in ONE_SCHEMA else stage.kind or stage.name
        assert (repository / "data_schema" / f"{name}.schema.json").is_file()


def test_no_rule_of_a_step_is_forgotten(repository):
    """A rule that is given a stage's part of the configuration is a stage's."""
    files = (repository / "pipeline" / "rules").glob("*.smk")
    text = "\n".join(file.read_text(encoding="utf-8") for file in sorted(files))
    assert set(re.findall(r'config=stage_config\("(\w+)"\)', text)) == {s.name for s in STAGES if s.reads}


def test_names_folders_and_kinds_do_not_clash():
    assert len({stage.name for stage in STAGES}) == len(STAGES)
    assert len({step.folder for step in STEPS}) == len(STEPS)
    labels = ("proxy_labels", "confident_labels", "instances", "soft_labels")
    assert ("frames", "masks", "flow", "cams", *labels, "models") == KINDS
    assert tuple(stage.name for stage in STEPS if stage.kind == MODELS) == ROLES
    assert ("classifier", "relation", *SCORED, "detector") == ROLES
    assert SCORED == ("teacher", "student")
    assert all(stage.kind == stage.name for stage in INDEXED), "an index is read by the name of its stage"


def test_masks_are_no_step_of_a_run_that_learns_from_clicks():
    unannotated = {"proxy_labels"} | TAGGED | OF_INSTANCES
    assert left_out({"supervision": "clicks"}) == {"masks"} | unannotated
    assert left_out({"supervision": "proxies"}) == {"masks"} | TAGGED | OF_INSTANCES
    assert taken_by({}) == taken_by({"supervision": None}) == taken_by({"supervision": "clicks"})
    assert left_out({"supervision": "masks"}) == left_out({"supervision": "both"}) == unannotated
    assert {stage.name for stage in taken_by({}, INDEXED)} == {"frames", "flow", "soft_labels"}


def test_a_method_takes_its_own_stages():
    taught = {"masks", "teacher", "soft_labels"}
    assert left_out({"method": "f2f"}) == taught | OF_INSTANCES
    assert left_out({"method": "two_stream"}) == {"proxy_labels"} | taught | OF_INSTANCES
    assert left_out({"method": "maskconsist"}) == {"proxy_labels", "student"} | taught
    again = {"method": "maskconsist", "instances": {"source": "network"}}
    related = TAGGED | {"confident_labels", "relation"}
    assert left_out(again) == {"proxy_labels", "student"} | taught | related
    outlined = {"method": "maskconsist", "instances": {"source": "masks"}}
    assert left_out(outlined) == left_out(again)
    by_folder = {"method": "f2f", "proxy_labels": {"source": "folder"}}
    assert left_out(by_folder) == taught | TAGGED | OF_INSTANCES
    assert takes({"method": "weclick"}, "toy")
    assert takes({"method": "weclick"}, "teacher")
    assert not takes({"method": "f2f"}, "teacher")


def test_the_stage_flow_reads_all_of_its_section_but_how_networks_look_at_it():
    assert {*FLOW_KEYS, "motion"} == FlowSection.__required_keys__


def test_losses_whose_food_no_stage_makes_are_off():
    online = {"online": {"teacher": None}}
    assert losses_off({"method": "weclick", "student": online}) == {"heatmap_loss"}
    assert losses_off({"method": "f2f", "student": online}) == {"kd", "mfd"}
    assert losses_off({"method": "two_stream", "student": online}) == {"kd", "mfd"}
    assert losses_off({"method": "f2f", "student": {"online": {"teacher": "a.safetensors"}}}) == frozenset()


def left_out(config):
    return {stage.name for stage in STEPS if stage not in taken_by(config)}
