"""Experiments whose arms find objects: their jobs, their figures, and the pages that show these."""

import json
import re
import shutil
from html import unescape

import pytest

from helpers.experiment_summary import make_summary, section
from helpers.instance_run import SCORES, make_instance_run
from weclick.common.config import ConfigError, complete_config
from weclick.common.schemas import schema_fault
from weclick.runs.api.records import experiments
from weclick.runs.experiment.compare import write_experiments
from weclick.runs.experiment.files import summarise
from weclick.runs.experiment.gather import Gathered
from weclick.runs.experiment.kinds import FINDS
from weclick.runs.experiment.page import write_page
from weclick.runs.experiment.plan import make_plan
from weclick.runs.experiment.summary import results
from weclick.runs.layout import Layout

IRN = {"fcam": {"motion": "none"}, "flow_boundary": {"weight": 0}}
LABELS = {"scores": "instances"}
PLAIN = {"change": {"maskconsist": {"weight": 0}}}
CLICKS = {"instances": {"source": "clicks"}}


def planned(arms, **section):
    given = {"name": "x", "seeds": [0, 1], "arms": arms, **section}
    return make_plan(
        complete_config({"method": "maskconsist", "flow_boundary": {"weight": 1}, "experiment": given})
    )


def stages_of(plan) -> dict[str, int]:
    """Stage -> how many of its jobs an experiment has."""
    names = [job.stage for job in plan.jobs.values()]
    return {name: names.count(name) for name in dict.fromkeys(names)}


def test_labels_are_scored_without_a_detector():
    plan = planned({"flowirn": LABELS, "irn": {**LABELS, "change": IRN}})
    assert stages_of(plan) == {
        **dict.fromkeys(("toy", "manifest", "tags", "frames", "flow"), 1),
        **dict.fromkeys(("classifier", "cams"), 2),  # one for each seed
        **dict.fromkeys(("confident_labels", "relation", "instances"), 4),
    }
    assert all(trial.of_labels and trial.evaluation is trial.network for trial in plan.trials)
    fed = {trial.arm: trial.network.fed_by["relation"][0].fed_by.keys() for trial in plan.trials}
    assert fed["flowirn"] - fed["irn"] == {"flow"}


def test_a_detector_is_scored_by_default_and_shares_its_labels():
    plan = planned({"maskconsist": {}, "plain": PLAIN, "labels": LABELS})
    found = stages_of(plan)
    assert [found[name] for name in ("relation", "instances", "detector", "evaluate")] == [2, 2, 4, 4]
    networks = {(trial.arm, trial.seed): trial.network for trial in plan.trials}
    assert networks["maskconsist", 1].stage == "detector"
    (labels,) = networks["plain", 1].fed_by["instances"]
    assert labels.digest == networks["labels", 1].digest
    assert {"flow"} == networks["maskconsist", 1].fed_by.keys() - networks["plain", 1].fed_by.keys()


def test_labels_of_clicks_and_of_tags_share_their_relations():
    found = stages_of(planned({"tags": {}, "clicks": {"change": CLICKS}}))
    assert [found[name] for name in ("clicks", "relation", "instances", "detector")] == [1, 2, 4, 4]


def test_what_the_run_makes_too_lies_in_its_results():
    plan = planned({"maskconsist": {}, "labels": LABELS})
    homes = {(trial.arm, trial.seed): str(plan.home(trial.network).folder) for trial in plan.trials}
    assert homes["maskconsist", 0] == homes["labels", 0] == "results"
    assert homes["maskconsist", 1].startswith("results/experiment/made/")


def test_an_arm_of_another_method_scores_that_ones_network():
    given = {"name": "x", "arms": {"objects": {"change": {"method": "maskconsist"}}}}
    plan = make_plan(complete_config({"serves": ["weclick", "maskconsist"], "experiment": given}))
    assert {trial.network.stage for trial in plan.trials} == {"detector"}


@pytest.mark.parametrize(
    ("section", "told"),
    [
        (
            {"arms": {"a": {"scores": "student"}}},
            r"arms\.a: scores the student, but method maskconsist makes none; set scores: detector",
        ),
        (
            {"arms": {"a": {**LABELS, "change": {"method": "weclick"}}}},
            r"arms\.a: scores the instances, but method weclick makes none; set scores: student",
        ),
        (
            {"arms": {"a": {}, "b": {"change": {"method": "weclick"}}}},
            r"experiment\.arms: a scores its detector, and b its student, and no score holds for both; make",
        ),
        (
            {"arms": {"a": LABELS, "b": {}}, "compare": [["b", "a"]]},
            r"compare\.0: b scores its detector, and a its instances, which are scored on other frames; name",
        ),
        (
            {
                "arms": {"a": LABELS, "b": {}},
                "choose": {"best": {"among": ["a"]}},
                "compare": [["b", "best"]],
            },
            r"compare\.0: b scores its detector, and a its instances, which are scored on other frames",
        ),
        (
            {"arms": {"a": LABELS, "b": {}}, "choose": {"best": {"among": ["a", "b"]}}},
            r"choose\.best\.among: a scores its instances, and b its detector, which are scored on other",
        ),
        (
            {"arms": {"a": {}, "b": {"as": "a", "for_time_of": "a"}}},
            r"arms\.b\.as: a scores its detector, but only a student can be given a wall time",
        ),
        (
            {"arms": {"a": {"change": {"instances": {"source": "network"}}}}},
            r"arms\.a: instances\.source is 'network', but instances\.network\.path is null",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_arm(section, told):
    with pytest.raises(ConfigError, match=told):
        planned(**section)


def test_a_method_without_an_ablation_is_told():
    with pytest.raises(ConfigError, match="no ablation of method maskconsist, but of weclick and two_stream"):
        make_plan(complete_config({"method": "maskconsist"}), "ablation")


@pytest.fixture(scope="module")
def summed_up(tmp_path_factory):
    """A plan whose trials are those of a made-up run, and its summary."""
    run = make_instance_run(tmp_path_factory.mktemp("run"))
    arms = {"labels": LABELS, "maskconsist": {}}
    given = {"name": "x", "seeds": [run.config["seed"]], "arms": arms}
    config = complete_config({**run.config, "results": str(run.folder), "experiment": given})
    plan = make_plan(config)
    scores = plan.home(plan.trials[1].evaluation).scores
    scores.parent.mkdir(parents=True)
    shutil.copy(Layout(run.folder).scores, scores)
    return plan, summarise(plan, Gathered(plan, run.store), "cpu")


def test_the_figures_of_a_run_are_gathered(summed_up):
    _, summary = summed_up
    assert schema_fault(summary, "experiment") == ""
    (found,) = summary["results"].values()
    labels, detector = ({name: of["mean"] for name, of in arm.items()} for arm in found["arms"].values())
    assert (detector["ap50"], detector["ap"]) == (SCORES["AP50"], SCORES["AP"])
    assert detector["semantic_miou"] == SCORES["semantic_miou"]
    assert detector["temporal_consistency"] == SCORES["temporal_consistency"]
    assert detector["labels_given"] == 2
    assert detector["labels_used"] == pytest.approx(2 + 1.5 * 32.5 / 40), "of steps 25 to 40"
    for name in ("label_ap50", "label_recall50"):
        assert labels[name] == detector[name]
    assert labels["ap50"] == labels["label_ap50"]
    assert 0 < labels["label_recall50"] < 1
    assert labels["ap"] is labels["labels_used"] is None
    assert (labels["train_seconds"], labels["label_seconds"]) == (83.2, 83.2), "relation, classifier"
    assert (detector["train_seconds"], detector["label_seconds"]) == (83.2, 2 * 83.2)
    assert (labels["clicks"], labels["annotation_seconds"]) == (0, None), "it learns from tags"
    assert labels["targets"] > 0
    assert min(labels["cache_bytes"], detector["cache_bytes"]) > 0
    facts = found["facts"]
    assert facts["trainings"] == {"count": 3, "seconds": pytest.approx(3 * 83.2)}
    assert (facts["clicks"], facts["clicks_by"], facts["annotation_seconds"]) == (0, "", None)
    assert facts["devices"] == ["cpu"]
    assert found["notes"] == []


def test_another_truth_is_another_score(summed_up):
    """The labels of classes are the same; the file that tells objects apart is not."""
    plan, summary = summed_up
    (trial,) = (trial for trial in plan.trials if not trial.of_labels)
    (manifest,) = trial.evaluation.fed_by["manifest"]
    (path,) = plan.home(manifest).shards("manifest", "val", 1)
    before = path.read_text(encoding="utf-8")
    raw = json.loads(before)
    for frame in raw["clips"][0]["frames"]:
        frame["instances_digest"] = "cd" * 32
    path.write_text(json.dumps(raw), encoding="utf-8")
    (data,) = plan.data
    after = Gathered(plan, None).facts(data)
    path.write_text(before, encoding="utf-8")
    assert after["scored_sha256"] != summary["results"][data]["facts"]["scored_sha256"]


AP50 = {
    "irn": (0.20, 0.22, 0.21),
    "flowirn": (0.25, 0.26, 0.24),
    "plain": (0.30, 0.29, 0.31),
    "maskconsist": (0.33, 0.35, None),
}
ARMS = {
    "irn": {"description": "maps as they are", "change": IRN, "scores": "instances"},
    "flowirn": {"description": "amplified maps", "change": {}, "scores": "instances"},
    "plain": {"description": "given labels", **PLAIN, "scores": "detector"},
    "maskconsist": {"description": "completed labels", "change": {}, "scores": "detector"},
}
ASKED = section(
    compare=[["flowirn", "irn"], ["maskconsist", "plain"], ["best", "irn"]],
    choose={"best": {"among": ["irn", "flowirn"]}},
)


def figures() -> dict:
    """Of all trials; pseudo-labels of both detectors are those of flowirn."""
    found = {}
    for arm, values in AP50.items():
        for seed, value in enumerate(values):
            labels = AP50[arm if arm == "irn" else "flowirn"][seed]
            of_detector = ARMS[arm]["scores"] == "detector"
            found[arm, seed] = {
                "ap50": value,
                "ap": value / 2 if of_detector and value else None,
                "semantic_miou": 0.4 if of_detector else None,
                "temporal_consistency": 0.8 if of_detector else None,
                "label_ap50": labels,
                "label_recall50": labels + 0.3,
                "labels_given": 2.0 if arm == "maskconsist" else None,
                "labels_used": 2.5 if arm == "maskconsist" else None,
                **{"targets": 28, "clicks": 0, "annotation_seconds": None, "train_seconds": 20.0},
                **{"steps": 150, "label_seconds": 45.0, "cache_bytes": 2**20},
            }
    return found


def invented(name="invented", known=None) -> dict:
    """A summary of arms that find objects, which looks like one of students but for its results."""
    summary = make_summary(name)
    del summary["results"]["streets"], summary["data"]["streets"]
    summary["arms"] = ARMS
    summary["results"]["davis"] |= results(ASKED, list(ARMS), known or figures(), FINDS)
    summary["config"] = complete_config({"method": "maskconsist"})
    return summary


def text_of(path) -> str:
    page = path.read_text(encoding="utf-8")
    bare = re.sub(r"<style>.*?</style>|<svg.*?</svg>|<[^>]+>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", unescape(bare))


def test_arms_are_compared_by_ap50_and_chosen_by_their_labels():
    summary = invented()
    assert schema_fault(summary, "experiment") == ""
    found = summary["results"]["davis"]
    assert all("miou" not in of for of in (*found["arms"].values(), *found["differences"]))
    flowirn, maskconsist, best = found["differences"]
    assert flowirn["ap50"]["values"] == pytest.approx([0.05, 0.04, 0.03])
    assert maskconsist["ap50"]["values"] == [pytest.approx(0.03), pytest.approx(0.06), None]
    assert maskconsist["ap"]["values"][0] == pytest.approx(0.015)
    assert flowirn["seeds_needed"] >= 2
    assert found["chosen"]["best"]["arm"] == best["of"] == "flowirn"
    assert found["chosen"]["best"]["by"] == "label_ap50"


def test_without_truth_on_training_frames_nothing_is_chosen(tmp_path):
    known = figures()
    for seed in range(3):
        known["irn", seed] |= {"label_ap50": None, "ap50": None}
    summary = invented(known=known)
    assert summary["results"]["davis"]["notes"] == [
        "best: no AP50 of the pseudo-labels on training frames is known of irn, so no arm was chosen."
    ]
    write_page(tmp_path / "x.html", summary)
    assert "best is none: no figure that may choose is known of all arms." in text_of(tmp_path / "x.html")


def test_the_page_shows_what_objects_are_scored_by(tmp_path):
    write_page(tmp_path / "x.html", invented())
    text = text_of(tmp_path / "x.html")
    heads = "Arm AP50 95 % interval Spread AP mIoU Labels' AP50 95 % interval Labels' recall"
    for told in (
        f"{heads} Labels a frame Completed Temporal cons. 95 % interval",
        "irn maps as they are 21.0 18.5 to 23.5 1.0 – – 21.0 18.5 to 23.5 51.0 – – – –",
        "maskconsist completed labels 34.0 21.3 to 46.7 1.4 17.0 40.0 25.0 22.5 to 27.5 55.0 2 2.5 80.0",
        "AP50, of each seed, on davis.",
        "AP50 of the pseudo-labels on training frames, by which an arm is chosen, of each seed",
        "best is flowirn, chosen by the AP50 of the pseudo-labels on training frames: irn 21.0, flowirn 25",
        "AP50: verdict",
        "28 0 150 20.0 s 20.0 s 45.0 s 1.0 MiB",
        "Its pseudo-labels are scored, and no detector is trained.",
    ):
        assert told in text, told
    assert "On targets" not in text
    assert "Its teachers" not in text
    svg = (tmp_path / "figures" / "davis-arms.svg").read_text(encoding="utf-8")
    for drawn in ("detector", "instances", "AP50"):
        assert drawn in svg


def test_experiments_are_compared_by_the_score_that_they_have(tmp_path):
    for name, summary in {
        "one": invented(),
        "two": invented("two"),
        "students": make_summary("students"),
    }.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(summary), encoding="utf-8")
    page, one, two, students = (
        tmp_path / name for name in ("x.html", "one.json", "two.json", "students.json")
    )
    assert write_experiments(page, [str(one), str(two)]) == []
    text = text_of(page)
    assert "Arm Experiment AP50 95 % interval Seeds AP mIoU Labels' AP50 Labels' recall" in text
    assert "plain given labels one.json 30.0 27.5 to 32.5 3 15.0 40.0 25.0 55.0 – – 80.0 150 20.0 s" in text
    assert "Points of AP50 Mean" in text
    warnings = write_experiments(page, [str(one), str(students)])
    assert "The experiments compare arms by other scores: each table below is for itself." in warnings
    assert page.read_text(encoding="utf-8").count("<figure") == 3, "objects, and two data sets of students"


def test_figures_become_records(tmp_path):
    (tmp_path / "summary.json").write_text(json.dumps(invented()), encoding="utf-8")
    found = experiments(tmp_path)
    first = found.trials[0]
    assert (first["arm"], first["ap50"], "miou" in first) == ("irn", 0.2, False)
    assert list(first)[4:] == list(FINDS.figures)
    scores = {record["score"]: record["seeds_needed"] for record in found.differences[:3]}
    assert scores.keys() == {"ap50", "temporal_consistency", "ap"}
    assert scores["ap50"] is not None
    assert scores["ap"] is None
