import json

import pytest
from jsonschema import Draft202012Validator

from helpers.places import ROOT
from weclick.common import config
from weclick.common.config import SECTIONS, ConfigError, complete_config, load_config, select
from weclick.common.config_checks import check_masks
from weclick.common.schemas import load_schema, schema_path
from weclick.datasets.folder import read_classes


def test_every_key_has_a_default_that_is_valid():
    complete = complete_config({})
    assert complete["student"]["steps"] > 0
    assert complete_config(complete) == complete


def test_every_schema_is_valid_and_every_key_described():
    for path in schema_path("config").parent.glob("*.schema.json"):
        Draft202012Validator.check_schema(json.loads(path.read_text(encoding="utf-8")))

    def undescribed(part, path=""):
        for key, value in part.get("properties", {}).items():
            if not value.get("description"):
                yield f"{path}{key}"
            yield from undescribed(value, f"{path}{key}.")

    assert list(undescribed(load_schema("config"))) == []


SHIPPED = sorted(path for path in (ROOT / "config").glob("*.yaml") if not path.stem.endswith("_classes"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_configurations_are_valid(path):
    """Those in config/experiments/ go on top of one of these: another test plans them."""
    loaded = load_config(path)
    check_masks(loaded)
    assert loaded["data"]["root"]
    if (classes := loaded["data"]["classes"] or "").startswith("config/"):
        assert len(read_classes(ROOT / classes).names) > 1


def test_given_values_win_and_siblings_keep_their_defaults():
    complete = complete_config({"student": {"steps": 3}})
    assert complete["student"]["steps"] == 3
    assert complete["student"]["momentum"] == 0.9
    assert complete["teacher"] == complete_config({})["teacher"]


def test_text_and_overrides():
    complete = load_config(json.dumps({"seed": 3}), ["student.crop=[64, 96]", "flow.estimator=raft"])
    assert complete["seed"] == 3
    assert complete["student"]["crop"] == [64, 96]
    assert complete["flow"]["estimator"] == "raft"


def test_texts_of_other_types_become_what_the_schema_wants():
    """Snakemake's --config leaves the values inside {...} as texts."""
    given = {
        "ablation": {"seeds": ["0", "3"]},
        "clicks": {"min_pixels": "40", "min_pixels_at": "null"},
        "student": {"flip": "False", "scale": ["1", "2.5"]},
        "data": {"toy": {"clips": {"train": "3"}}, "root": "1"},
    }
    complete = complete_config(given)
    assert complete["ablation"]["seeds"] == [0, 3]
    assert complete["clicks"] == {
        "min_pixels": 40,
        "min_pixels_at": None,
        "point": "centroid",
        "mix": "human",
    }
    assert complete["student"]["flip"] is False
    assert complete["student"]["scale"] == [1.0, 2.5]
    assert complete["data"]["toy"]["clips"] == {"train": 3}
    assert complete["data"]["root"] == "1"


def test_numbers_without_a_point_are_numbers():
    """YAML 1.1 reads 1e-3 as a text."""
    complete = load_config("{student: {learning_rate: 1e-3}}", ["gated_crf.sigma_rgb=2e-1"])
    assert complete["student"]["learning_rate"] == 0.001
    assert complete["gated_crf"]["sigma_rgb"] == 0.2
    assert complete_config({"results": "1e-3"})["results"] == "1e-3"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"student": {"step": 3}}, r"unknown key 'step' \(did you mean 'steps'\?\) in student"),
        ({"flow": {"stride_px": "four"}}, r"flow\.stride_px: 'four' is not of type 'integer'"),
        ({"window": {"frames": 0}}, r"window\.frames: 0 is less than the minimum of 1"),
        ({"studnet": {}}, r"did you mean 'student'"),
        ({"mfd": {"consistency": "exp"}}, r"mfd\.consistency: 'exp' is not one of"),
    ],
)
def test_errors_name_key_value_and_expectation(given, told):
    with pytest.raises(ConfigError, match=told):
        complete_config(given)


def test_all_errors_are_told_at_once():
    with pytest.raises(ConfigError, match=r"flow\.stride_px.*student\.steps"):
        complete_config({"flow": {"stride_px": 0}, "student": {"steps": 0}})


@pytest.fixture
def told(capsys):
    """What stderr says from here on, as if no hint had been given yet."""
    config._hint.cache_clear()
    return lambda: capsys.readouterr().err.splitlines()


class TestOldNames:
    HINT = "weclick: flow.stride is now flow.stride_px; rename it, the old name is still read"

    def test_they_are_read_with_one_hint(self, told):
        given = {"flow": {"stride": 8, "masks": []}}
        assert complete_config(given) == complete_config({"flow": {"stride_px": 8, "masks": []}})
        assert given == {"flow": {"stride": 8, "masks": []}}
        assert complete_config(given)["flow"]["stride_px"] == 8
        assert told() == [self.HINT]

    def test_names_of_now_need_no_hint(self, told):
        complete_config(complete_config({}))
        load_config("{flow: {stride_px: 8}}", ["flow.stride_px=2"])
        assert told() == []

    @pytest.mark.parametrize("name", ["stride", "stride_px"])
    @pytest.mark.parametrize("override", ["flow.stride=2", "flow.stride_px=2", "flow={stride: 2}"])
    def test_an_override_wins_by_either_name(self, name, override):
        assert load_config(f"{{flow: {{{name}: 8}}}}", [override])["flow"]["stride_px"] == 2

    def test_values_are_checked_under_the_name_of_now(self):
        with pytest.raises(ConfigError, match=r"flow\.stride_px: 0 is less than the minimum of 1"):
            complete_config({"flow": {"stride": 0}})
        with pytest.raises(ConfigError, match=r"unknown key 'stride' in data\.toy"):
            complete_config({"data": {"toy": {"stride": 4}}})

    @pytest.mark.parametrize("given", [{"stride": 8, "stride_px": 4}, {"stride_px": 4, "stride": 8}])
    def test_two_names_with_two_values_are_an_error(self, given):
        told = r"mine: flow\.stride is 8, but flow\.stride_px, its name now, is 4; leave flow\.stride out"
        with pytest.raises(ConfigError, match=told):
            complete_config({"flow": given}, source="mine")

    def test_two_names_with_one_value_are_none(self):
        """Snakemake's --config gives 8 as a text, beside the number of a file."""
        assert complete_config({"flow": {"stride": "8", "stride_px": 8}})["flow"]["stride_px"] == 8

    def test_what_is_no_section_is_told_as_ever(self):
        with pytest.raises(ConfigError, match=r"flow: \[1\] is not of type 'object'"):
            complete_config({"flow": [1]})

    def test_every_row_leads_to_a_key_of_the_schema(self):
        for old, now in config.RENAMED.items():
            section, _, key = now.rpartition(".")
            assert old.rpartition(".")[0] == section
            assert key in complete_config({})[section]


def test_an_override_changes_one_of_two_sections_that_a_file_writes_once():
    """A YAML alias makes them one dict."""
    text = "{teacher: &network {steps: 7, crop: [64, 96]}, student: *network}"
    complete = load_config(text, ["student.steps=5", "teacher.crop=[32, 32]"])
    assert (complete["teacher"]["steps"], complete["student"]["steps"]) == (7, 5)
    assert (complete["teacher"]["crop"], complete["student"]["crop"]) == ([32, 32], [64, 96])


def test_the_student_cannot_ask_for_a_mask_that_flow_does_not_make():
    config = complete_config({"mfd": {"occlusion": "both"}})
    with pytest.raises(ConfigError, match=r"flow\.masks: \[photometric, forward_backward\]"):
        check_masks(config)
    config["mfd"]["weight"] = 0.0
    check_masks(config)
    check_masks(complete_config({"mfd": {"occlusion": "none"}, "flow": {"masks": []}}))


def test_unreadable_sources(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read"):
        load_config(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(ConfigError, match="holds a list"):
        load_config(tmp_path / "list.yaml")
    with pytest.raises(ConfigError, match=r"section\.key=value"):
        load_config("{}", ["student"])


def test_a_stage_sees_its_sections_alone():
    complete = complete_config({})
    assert set(select(complete, "flow")) == {"cache", "serves", "flow", "window", "evaluate"}
    assert select(complete, "flow")["evaluate"] == {"max_gap_frames": 4}
    select(complete, "student")["student"]["steps"] = 1
    assert complete["student"]["steps"] != 1
    assert {name for names in SECTIONS.values() for name in names} >= {"teacher", "student", "kd", "mfd"}


def test_whole_numbers_may_be_written_as_floats():
    student = complete_config({"student": {"steps": 5e2, "crop": [48.0, 64], "learning_rate": 1}})["student"]
    assert (student["steps"], student["crop"]) == (500, [48, 64])
    assert all(type(value) is int for value in (student["steps"], *student["crop"]))
    with pytest.raises(ConfigError, match=r"student\.steps: 1\.5 is not of type 'integer'"):
        complete_config({"student": {"steps": 1.5}})


def test_a_key_with_a_dot_is_told_as_it_was_written():
    with pytest.raises(ConfigError, match=r"unknown key 'flow\.stride' in top level"):
        load_config('{"flow.stride": 4}')
