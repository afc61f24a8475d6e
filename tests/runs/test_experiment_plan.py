"""Arms x seeds x data sets become jobs, and equal lineages become one."""

import json
from copy import deepcopy
from pathlib import Path

import pytest

from helpers.places import ROOT
from helpers.workflow import load_rules
from weclick.common.config import SECTIONS, ConfigError, complete_config, load_configs
from weclick.common.stages import NEEDED_BY, STEPS
from weclick.runs.ablation import WECLICK as ARMS
from weclick.runs.experiment.gather import teacher_cards
from weclick.runs.experiment.lineage import Jobs
from weclick.runs.experiment.plan import make_plan
from weclick.train.terms import TERMS

OFF = {"kd": {"weight": 0}, "mfd": {"weight": 0}}


def planned(**section):
    section = {"name": "x", "seeds": [0, 1], **section}
    return make_plan(complete_config({"experiment": section}))


def stages_of(plan) -> dict[str, int]:
    """Stage -> how many of its jobs an experiment has."""
    names = [job.stage for job in plan.jobs.values()]
    return {name: names.count(name) for name in dict.fromkeys(names)}


def test_equal_lineages_are_one_job():
    plan = planned(arms={"clicks": {"change": OFF}, "kd": {"change": {"mfd": {"weight": 0}}}, "all": {}})
    assert stages_of(plan) == {
        **{"toy": 1, "manifest": 1, "clicks": 1, "frames": 1, "flow": 1},
        **{"teacher": 2, "soft_labels": 2},  # one for each seed
        **{"student": 6, "evaluate": 6},
    }


def test_the_seed_of_a_trial_is_that_of_its_trainings():
    plan = planned(arms={"clicks": {"change": OFF}}, seeds=[3, 4])
    (clicks,) = (job for job in plan.jobs.values() if job.stage == "clicks")
    assert clicks.config["seed"] == 0, "that of the configuration"
    assert [trial.network.config["seed"] for trial in plan.trials] == [3, 4]


def test_soft_labels_of_several_teachers():
    """Teachers of other seeds learn from the same clicks, and trials share them."""
    plan = planned(arms={"mean": {"change": {"soft_labels": {"teachers": [0, 1, 2]}}}}, seeds=[0, 4])
    assert stages_of(plan)["teacher"] == 3
    (labels,) = {job for job in plan.jobs.values() if job.stage == "soft_labels"}
    assert [job.config["seed"] for job in labels.fed_by["teacher"]] == [0, 1, 2]
    assert {trial.network.config["seed"] for trial in plan.trials} == {0, 4}


def test_the_cards_of_teachers_that_the_run_itself_trains():
    """They lie with the run, where the arms share its soft labels; else with the experiment."""
    changes = {"same": {"change": {"mfd": {"weight": 2}}}, "other": {"change": {"data": {"target_every": 7}}}}
    section = {"name": "x", "seeds": [0, 4], "arms": changes}
    plan = make_plan(complete_config({"experiment": section, "soft_labels": {"teachers": [0, 1]}}))
    labels = {trial.arm: trial.network.fed_by["soft_labels"][0] for trial in plan.trials}
    results = Path("results")
    own = [results / "teacher/model.json", results / "teachers/1/model.json"]
    assert teacher_cards(plan, labels["same"]) == own
    made = [plan.home(job).folder / "teacher/model.json" for job in labels["other"].fed_by["teacher"]]
    assert teacher_cards(plan, labels["other"]) == made
    assert len({*made, *own}) == 4


def test_an_arm_without_distillation_needs_no_teacher():
    assert "teacher" not in stages_of(planned(arms={"clicks": {"change": OFF}}))
    assert "flow" in stages_of(planned(arms={"clicks": {"change": OFF}})), "temporal consistency reads it"


def test_arms_of_several_methods_share_what_serves_both():
    """F2F trains no teacher, and its student reads neither soft labels nor their flow."""
    config = {"serves": ["weclick", "f2f"], "experiment": {"name": "x", "arms": {"clicks": {}, "tags": {}}}}
    config["experiment"]["arms"]["tags"] = {"change": {"method": "f2f"}}
    plan = make_plan(complete_config(config))
    assert [stages_of(plan)[name] for name in ("manifest", "frames", "flow", "teacher", "student")] == [
        *(1, 1, 1),
        *(len(plan.trials) // 2, len(plan.trials)),
    ]
    tags = next(trial.network for trial in plan.trials if trial.arm == "tags")
    assert tags.config["supervision"] == "proxies"
    assert tags.fed_by.keys() == {"manifest", "clicks", "frames", "proxy_labels"}
    with pytest.raises(ConfigError, match="scores the teacher, but method f2f makes none; set scores: stu"):
        planned(arms={"tags": {"change": {"method": "f2f"}, "scores": "teacher"}})
    with pytest.raises(ConfigError, match="scores the student, but method maskconsist makes none"):
        planned(arms={"tags": {"change": {"method": "maskconsist"}, "scores": "student"}})
    with pytest.raises(ConfigError, match=r"serves is \[weclick, maskconsist\]; set serves: "):
        make_plan(complete_config({**config, "serves": ["weclick", "maskconsist"]}))


@pytest.mark.parametrize(
    ("change", "shared"),
    [
        ({"student": {"channels": 32}}, {"manifest", "clicks", "frames", "flow", "teacher", "soft_labels"}),
        ({"soft_labels": {"codec": "log8"}}, {"manifest", "clicks", "frames", "flow", "teacher"}),
        ({"teacher": {"steps": 7}}, {"manifest", "clicks", "frames", "flow"}),
        ({"flow": {"stride_px": 8}}, {"manifest", "clicks", "frames", "teacher", "soft_labels"}),
        ({"gated_crf": {"weight": 0.5}}, {"manifest", "clicks", "frames", "flow"}),
        ({"clicks": {"min_pixels": 9}}, {"manifest", "frames", "flow"}),
        ({"supervision": "both"}, {"manifest", "clicks", "frames", "flow"}),
        ({"data": {"target_every": 3}}, set()),
    ],
    ids=lambda value: next(iter(value), "") if isinstance(value, dict) else "",
)
def test_a_change_makes_its_stage_and_what_follows_anew(change, shared):
    config = complete_config({})
    other = complete_config(change)
    stages = {job.stage for job in Jobs(config).of("student").all().values()} - {"toy"}
    assert {s for s in stages if Jobs(config).of(s).digest == Jobs(other).of(s).digest} == shared


def test_where_files_lie_is_no_part_of_a_lineage():
    one, other = (
        complete_config({}),
        complete_config({"cache": {"roots": ["/team"]}, "results": "r", "device": "cpu"}),
    )
    assert Jobs(one).of("student").digest == Jobs(other).of("student").digest
    assert Jobs(one).of("student").digest != Jobs(one, 1).of("student").digest


def test_a_key_that_came_later_counts_only_where_it_changes_something():
    config = complete_config({"method": "maskconsist"})
    far = complete_config({"method": "maskconsist", "tags": {"reach_frames": 3}})
    before = deepcopy(config)
    del before["tags"]["reach_frames"]
    for stage in ("manifest", "tags", "instances", "detector"):
        assert Jobs(config).of(stage).digest == Jobs(before).of(stage).digest
        assert (Jobs(far).of(stage).digest == Jobs(before).of(stage).digest) == (stage == "manifest")


def test_a_number_has_one_spelling():
    """`weight: 20` and `weight: 20.0` are one job, and a network's key holds one of them."""
    plans = [planned(arms={"a": {"change": {"mfd": {"weight": weight}}}}) for weight in (20, 20.0)]
    assert plans[0].jobs.keys() == plans[1].jobs.keys()
    assert {type(plan.trials[0].network.config["mfd"]["weight"]) for plan in plans} == {float}
    assert type(plans[0].trials[0].network.config["student"]["steps"]) is int
    written = (complete_config({"kd": {"weight": weight}}) for weight in (3, 3.0))
    assert len({Jobs(config).of("student").digest for config in written}) == 1


def test_a_new_arm_is_new_jobs_of_its_own():
    arms = {"clicks": {"change": OFF}}
    few = planned(arms=arms).jobs.keys()
    more = planned(arms={**arms, "kd": {"change": {"mfd": {"weight": 0}}}}).jobs
    assert few < more.keys()
    assert {more[digest].stage for digest in more.keys() - few} == {
        *("teacher", "soft_labels", "student", "evaluate")
    }


def test_what_the_run_makes_too_lies_in_its_results():
    plan = planned(arms={"all": {}})
    homes = {(job.stage, job.config["seed"]): plan.home(job).folder for job in plan.jobs.values()}
    assert str(homes["flow", 0]) == str(homes["student", 0]) == "results"
    made = plan.trials[1].network
    assert (made.stage, made.config["seed"]) == ("student", 1)
    assert str(plan.home(made).folder) == f"results/experiment/made/{made.digest}"
    assert str(homes["evaluate", 0]).startswith("results/experiment/made/"), (
        "the run scores its teacher there"
    )


def test_an_arm_of_equal_wall_time_waits_for_two_trainings():
    plan = planned(
        arms={"kd": {}, "clicks": {"change": OFF}, "same_time": {"as": "clicks", "for_time_of": "kd"}}
    )
    networks = {(trial.arm, trial.seed): trial.network for trial in plan.trials}
    timed = networks["same_time", 1]
    assert timed.time_of == (networks["clicks", 1], networks["kd", 1])
    assert timed.config == networks["clicks", 1].config
    assert timed.digest != networks["clicks", 1].digest
    assert set(timed.all()) > {job.digest for job in timed.time_of}


def test_a_teacher_is_scored_without_a_student():
    plan = planned(arms={"teacher": {"scores": "teacher"}})
    assert {trial.network.stage for trial in plan.trials} == {"teacher"}
    assert plan.trials[0].evaluation.fed_by["teacher"] == (plan.trials[0].network,)
    assert "student" not in stages_of(plan)


def test_data_sets_multiply_the_trials():
    street = {"data": {"root": "other", "toy": {"seed": 1}}}
    plan = planned(arms={"all": {}}, data={"here": {}, "there": street})
    assert [(trial.data, trial.seed) for trial in plan.trials] == [
        *(("here", 0), ("here", 1), ("there", 0), ("there", 1))
    ]
    assert stages_of(plan)["toy"] == 2


def test_a_data_folder_gives_the_data_set_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for root, name in (
        ("some/street", "street"),
        (".", tmp_path.name),
        ("a/..", tmp_path.name),
        ("/", "folder"),
    ):
        data = {"name": "folder", "root": root}
        config = complete_config({"data": data, "experiment": {"name": "x", "arms": {"a": {}}}})
        assert make_plan(config).data == (name,), root


def test_the_ablation_of_two_streams_has_the_rows_of_its_paper():
    plan = make_plan(complete_config({"method": "two_stream"}), "ablation")
    assert list(plan.arms) == ["tags", "foreground", "heat", "heat_crf", "two_stream_no_crf", "two_stream"]
    students = {trial.arm: trial.network for trial in plan.trials}
    assert {arm: job.config["student"]["fusion"] for arm, job in students.items()} == {
        **dict.fromkeys(("tags", "foreground", "heat", "heat_crf"), "none"),
        **dict.fromkeys(("two_stream_no_crf", "two_stream"), "early"),
    }
    assert {"cams", "flow"} & students["tags"].fed_by.keys() == set()
    assert {"cams", "flow"} & students["heat"].fed_by.keys() == {"cams"}
    assert {"cams", "flow", "tags"} <= students["two_stream"].fed_by.keys()


def test_the_ablation_is_an_experiment():
    config = complete_config({"ablation": {"seeds": [3, 4]}})
    plan = make_plan(config, "ablation")
    assert list(plan.arms) == list(ARMS)
    assert {trial.seed for trial in plan.trials} == {3, 4}
    weights = {
        trial.arm: (trial.network.config["kd"]["weight"], trial.network.config["mfd"]["weight"])
        for trial in plan.trials
    }
    assert weights == {
        **{"teacher": (1, 1), "weakly": (0, 0), "weakly_same_time": (0, 0), "kd": (1, 0), "kd_mfd": (1, 1)}
    }
    given = deepcopy(config)
    assert make_plan(config, "ablation").jobs.keys() == plan.jobs.keys()
    assert config == given, "the given configuration must stay as it was"


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({}, r"experiment\.arms is empty"),
        (
            {"arms": {"a": {"change": {"kdd": {}}}}},
            r"experiment\.arms\.a: unknown key 'kdd' \(did you mean 'kd'",
        ),
        (
            {"arms": {"a": {"change": {"kd": {"weigth": 1}}}}},
            r"experiment\.arms\.a: unknown key 'weigth'.* in kd",
        ),
        (
            {"arms": {"a": {"change": {"kd": {"weight": "x"}}}}},
            r"experiment\.arms\.a: kd\.weight: 'x' is not of",
        ),
        ({"arms": {"a": {"change": {"kd": 1}}}}, r"experiment\.arms\.a: kd: 1 is not of type 'object'"),
        *(
            ({"arms": {"a": {"change": {name: value}}}}, rf"a\.change: {name} is the same for all arms")
            for name, value in (
                *(("cache", {"roots": ["x"]}), ("results", "x"), ("device", "cpu"), ("seed", 1)),
                *(("experiment", {}), ("ablation", {}), ("report", {}), ("watch", {})),
                *(("devices", 2), ("version", 1)),
            )
        ),
        (
            {"arms": {"a": {"chnge": {}}}},
            r"unknown key 'chnge' \(did you mean 'change'\?\) in experiment\.arms\.a",
        ),
        ({"arms": {"A b": {}}}, r"experiment\.arms: 'A b' is refused; write a short name"),
        ({"arms": {"a": {"as": "b"}}}, r"experiment\.arms\.a: has as alone"),
        (
            {"arms": {"a": {"as": "b", "for_time_of": "a"}}},
            r"experiment\.arms\.a\.as: there is no arm 'b'; known: a",
        ),
        (
            {"arms": {"b": {}, "a": {"as": "b", "for_time_of": "b", "scores": "teacher"}}},
            r"experiment\.arms\.a: has `as: b` and settings of its own",
        ),
        (
            {"arms": {"b": {}, "a": {"as": "b", "for_time_of": "b"}, "c": {"as": "a", "for_time_of": "b"}}},
            r"experiment\.arms\.c\.as: a has itself the time of another arm",
        ),
        (
            {"arms": {"b": {"scores": "teacher"}, "a": {"as": "b", "for_time_of": "b"}}},
            r"experiment\.arms\.a\.as: b scores its teacher",
        ),
        (
            {"arms": {"a": {}}, "compare": [["a", "b"]]},
            r"experiment\.compare\.0: there is no arm 'b'; known: a",
        ),
        (
            {"arms": {"a": {}}, "choose": {"best": {"among": ["b"]}}},
            r"experiment\.choose\.best\.among: there is no",
        ),
        (
            {"arms": {"a": {}}, "choose": {"a": {"among": ["a"]}}},
            r"experiment\.choose\.a: an arm has that name",
        ),
        ({"arms": {"a": {}}, "compare": [["a"]]}, r"experiment\.compare\.0: "),
        ({"arms": {"a": {}}, "name": "made"}, r"experiment\.name: 'made' is refused"),
        ({"arms": {"a": {}}, "name": "ablation"}, r"experiment\.name: 'ablation' is refused"),
        ({"arms": {"a": {}}, "name": "../x"}, r"experiment\.name: '\.\./x' is refused"),
        (
            {"arms": {"a": {}}, "data": {"d": {"results": "x"}}},
            r"experiment\.data\.d: results is the same for all",
        ),
        (
            {"arms": {"a": {}}, "data": {"d": {"data": {"toy": {"seed": 1}}}}},
            "two toy streets that differ would be drawn into data/toy",
        ),
        (
            {"arms": {"a": {}}, "data": {"d": {}, "e": {"data": {"root": "data/../data/toy"}}}},
            r"data\.root is 'data/toy' and 'data/\.\./data/toy', which are one folder; spell it in one way",
        ),
        (
            {"arms": {"a": {"change": {"student": {"backbone": "resnet50"}}}}, "over": "student.backbone"},
            r"experiment\.over: 'student\.backbone' is no number but resnet50; name a section",
        ),
        (
            {"arms": {"a": {"change": {"student": {"flip": True}}}}, "over": "student.flip"},
            r"experiment\.over: 'student\.flip' is no number but true",
        ),
        (
            {"arms": {"a": {"change": {"mfd": {"occlusion": "forward_backward"}}}}},
            r"experiment\.arms\.a: mfd\.occlusion",
        ),
        (
            {"arms": {"a": {"change": {"student": {"online": {"teacher": "t.safetensors"}}}}}},
            r"arms\.a: student\.online\.teacher is the same for all arms",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_arm(section, told):
    with pytest.raises(ConfigError, match=told):
        planned(**section)


def test_an_experiment_that_is_not_configured_is_told():
    with pytest.raises(ConfigError, match=r"no experiment is configured; name one in experiment\.name"):
        make_plan(complete_config({}))
    config = complete_config({"experiment": {"name": "mine", "arms": {"a": {}}}})
    with pytest.raises(ConfigError, match=r"there is no experiment 'yours'; the configuration names mine"):
        make_plan(config, "yours")


def test_values_of_an_arm_are_typed_by_the_schema(tmp_path):
    """`32` is a name of a precision, `~` and $HOME stand in a path, as in the configuration itself."""
    file = tmp_path / "x.yaml"
    file.write_text(
        "experiment:\n  name: x\n  arms:\n    a:\n      change:\n"
        "        student: {precision: 32, steps: 1e2, flip: no, pretrained: ~/w.safetensors}\n"
    )
    (trial, *_) = make_plan(load_configs([file], {})).trials
    student = trial.network.config["student"]
    assert (student["precision"], student["steps"], student["flip"]) == ("32", 100, False)
    assert student["pretrained"].endswith("/w.safetensors")
    assert "~" not in student["pretrained"]


FILES = sorted((ROOT / "config" / "experiments").glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_shipped_experiments_can_be_planned(file):
    """The first line of the file is its command, which names the configuration that it changes."""
    first = file.read_text(encoding="utf-8").splitlines()[0]
    words = first.partition("--configfile ")[2].split()
    assert first.startswith("# snakemake --cores ")
    assert words[-1] == f"config/experiments/{file.name}"
    config = load_configs([ROOT / name for name in words], {})
    plan = make_plan(config)
    assert plan.name == file.stem
    assert plan.section["question"]
    assert plan.section["protocol"]
    assert plan.section["compare"]
    assert all(arm.description for arm in plan.arms.values())
    assert json.dumps(plan.section), "it goes to the verb as JSON"


def test_there_are_shipped_experiments():
    assert {file.stem for file in FILES} >= {"demo", "davis", "mfd"}


def test_the_table_of_feeders_is_that_of_the_rules(monkeypatch):
    monkeypatch.setenv("WECLICK_COMMAND", "pytest")
    fuse = {"neighbours": 2, "occlusion": "photometric"}
    by_clicks = {"source": "sam2", "sam2": {"model": "hub:a/b"}}
    runs = (
        {"supervision": "both", "soft_labels": {"fuse": fuse}},
        {"supervision": "proxies", "proxy_labels": by_clicks},
        {"method": "two_stream", "student": {"architecture": "two_stream"}},
        {"method": "maskconsist", "flow_boundary": {"weight": 1}},
        {"method": "maskconsist", "instances": {"source": "clicks"}},
    )
    loaded = [load_rules(ROOT, **config) for config in runs]
    folders = {step.folder: step.name for step in STEPS}
    for step in STEPS:
        inputs = [str(path).split("/") for rules in loaded for path in rules[step.rule].input]
        fed = {folders.get(parts[1], parts[1]) for parts in inputs if parts[0] == "results"}
        fed |= {"toy" for parts in inputs if parts[-1] == "toy.json"}
        assert fed == set(step.fed_by), step.name


def test_losses_need_what_the_table_says():
    for stage, sections in NEEDED_BY.items():
        asking = {term.section for term in TERMS if stage in term.needs}
        assert set(sections) == asking & {*SECTIONS["student"]}
