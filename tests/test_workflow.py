"""The Snakemake workflow on a tiny street: what runs, what runs again, what a kill leaves behind."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers.workflow import Project, make_project
from weclick.runs.in_use import hold_results
from weclick.store import list_entries, verify_entry
from weclick.store.entries import KINDS

TRAINING_AND_AFTER = {"teacher", "soft_labels_shard", "student", "evaluate", "report", "lock", "all"}


@pytest.fixture(scope="module")
def project(tmp_path_factory, repository, tiny_config) -> Project:
    """A project whose toy run has ended."""
    project = make_project(tmp_path_factory.mktemp("project"), repository, tiny_config)
    project.snakemake("all")
    return project


def test_the_run_leaves_what_others_read(project):
    metrics = json.loads((project.root / "results/evaluation/metrics.json").read_text(encoding="utf-8"))
    expected = {"miou", "mean_accuracy", "pixel_accuracy", "per_class_iou", "temporal_consistency"}
    assert expected | {"parameters", "fps"} <= set(metrics)
    assert 0 <= metrics["miou"] <= 1
    assert metrics["temporal_consistency"] > 0
    assert "teacher" in metrics
    report = (project.root / "results/report.html").read_text(encoding="utf-8")
    assert "data:image/" in report
    assert {kind: len(keys) for kind, keys in project.entries().items()} == {
        "frames": 2,
        "masks": 0,
        "flow": 3,
        "cams": 0,
        "proxy_labels": 0,
        "confident_labels": 0,
        "instances": 0,
        "soft_labels": 2,
        "models": 2,
    }


def test_every_job_left_a_log(project):
    folder = project.root / "results" / "logs"
    logs = {str(path.relative_to(folder)): path for path in folder.rglob("*.log")}
    stages = ("toy", "clicks", "teacher", "student", "evaluate", "report", "lock")
    shards = [("manifest", "train"), ("manifest", "val"), ("frames", "train"), ("soft_labels", "train")]
    shards += [("flow", "train"), ("flow", "val")]
    expected = {f"{stage}.log" for stage in stages}
    assert logs.keys() == expected | {f"{stage}_shard/{split}/0.log" for stage, split in shards}
    for path in logs.values():
        said = path.read_text(encoding="utf-8").splitlines()
        assert " begins: weclick --log results/logs/" in said[0]
        assert " ends after " in said[-1]


def test_a_run_ends_with_its_scores_and_the_path_of_its_page(project):
    student, teacher, page = project.snakemake("all", "--forcerun", "lock").splitlines()[-3:]
    assert re.match(r"student: mIoU \d+\.\d %.*temporal consistency .*frames/s", student)
    assert re.match(r"teacher: mIoU \d+\.\d %", teacher)
    assert page == "report: results/report.html"
    assert (project.root / "results/report.html").is_file()
    assert "report: " not in project.snakemake("student", "--forcerun", "clicks", "--dry-run")


def test_a_run_with_nothing_to_do_ends_so_too(project):
    *_, nothing, student, teacher, page = project.snakemake("all").splitlines()
    assert "Nothing to be done" in nothing
    assert re.match(r"student: mIoU \d+\.\d %", student)
    assert re.match(r"teacher: mIoU \d+\.\d %", teacher)
    assert page == "report: results/report.html"
    assert "mIoU" not in project.snakemake("all", "--dry-run")
    assert "mIoU" not in project.snakemake("flow")
    assert "mIoU" not in project.snakemake("--list-rules")
    scores = project.root / "results/evaluation/metrics.json"
    whole, times = scores.read_text(encoding="utf-8"), scores.stat()
    try:
        scores.write_text("{", encoding="utf-8")
        os.utime(scores, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert "error: results/evaluation/metrics.json: cannot be read" in project.snakemake("evaluate")
    finally:
        scores.write_text(whole, encoding="utf-8")
        os.utime(scores, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_a_run_that_fails_ends_with_the_error_of_its_job_and_the_path_of_its_log(project):
    done = subprocess.run(
        project.command("teacher", "--config", "results=failed", "teacher={pretrained: none.safetensors}"),
        cwd=project.root,
        env=project.environment,
        text=True,
        capture_output=True,
    )
    assert done.returncode != 0
    error, log = done.stderr.splitlines()[-2:]
    assert error.startswith("error: none.safetensors: there is no such file; correct the path")
    assert log == "log: failed/logs/teacher.log"


def test_two_runs_do_not_work_in_one_folder_of_results(project):
    def run(*words):
        command = project.command("manifest", "--forceall", "--config", "results=shared", *words)
        return subprocess.run(
            command, cwd=project.root, env=project.environment, text=True, capture_output=True
        )

    (project.root / "shared").mkdir()
    with hold_results(project.root / "shared"):
        refused, dry, elsewhere = run(), run("--dry-run"), run("results=other")
    assert refused.returncode != 0
    assert "shared: another run is at work in this folder; wait" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (project.root / "shared/manifest").exists()
    assert dry.returncode == elsewhere.returncode == 0, dry.stderr + elsewhere.stderr
    assert run().returncode == 0


def test_a_second_run_does_nothing(project):
    assert project.jobs() == set()


@pytest.mark.parametrize(
    ("change", "jobs"),
    [
        ("clicks={min_pixels: 40}", {"clicks"} | TRAINING_AND_AFTER),
        ("student={backbone: mobilenetv2}", {"student", "evaluate", "report", "lock", "all"}),
        ("flow={options: {preset: fast}}", {"flow_shard", "student", "evaluate", "report", "lock", "all"}),
        ("mfd={weight: 0.5}", {"student", "evaluate", "report", "lock", "all"}),
        ("gated_crf={weight: 0.5}", TRAINING_AND_AFTER),
        ("supervision=both", {"masks_shard"} | TRAINING_AND_AFTER),
        ("masks={chunk_px: 64}", {"report", "lock", "all"}),
        ("report={examples: 2}", {"report", "lock", "all"}),
        ("device=cpu", {"report", "lock", "all"}),
        ("watch={project: ours}", {"report", "lock", "all"}),
        (
            "soft_labels={teachers: [0, 3]}",
            {"teacher_of_seed", "soft_labels_shard", "student", "evaluate", "report", "lock", "all"},
        ),
    ],
)
def test_a_change_reruns_its_stage_and_what_follows(project, change, jobs):
    assert project.jobs(change) == jobs


@contextmanager
def edited(project: Project, *changes: tuple[str, str, str]) -> Iterator[None]:
    """Modules of weclick/, each with a text replaced where it first stands; for "" it goes to the end."""
    before = {}
    try:
        for name, old, new in changes:
            path = project.root / "weclick" / name
            text = path.read_text(encoding="utf-8")
            before.setdefault(path, text)
            assert old in text, f"{name} no longer says {old!r}"
            path.write_text(text.replace(old, new, 1) if old else text + new, encoding="utf-8")
        yield
    finally:
        for path, text in before.items():
            path.write_text(text, encoding="utf-8")


def test_words_rerun_nothing(project):
    estimator, loop, step = "flow/dis.py", "train/loop.py", "train/step.py"
    words = [
        (estimator, "Dense inverse search on grey images.", "Dense inverse search."),
        (estimator, "cv2.setNumThreads(1)", "cv2.setNumThreads(1)  # a remark"),
        (estimator, "expected one of", "but should be one of"),
        (loop, "Random numbers of a step follow", "The random numbers of a step follow"),
        (loop, "    network.train()", "    # a remark\n    network.train()"),
        (loop, 'f"train {folder.name}"', 'f"trains {folder.name}"'),
        (step, "a micro-batch holds a single image", "one image is all that a micro-batch holds"),
    ]
    with edited(project, *words):
        assert project.jobs() == set()


@pytest.mark.parametrize(
    ("computes", "other"),
    [("PATCH_PX = 8", "PATCH_PX = 4"), ("flow[:height, :width]", "flow[:height, :width] + 0")],
    ids=["a constant", "a line"],
)
def test_an_estimator_reruns_flow_and_student_and_no_teacher(project, computes, other):
    with edited(project, ("flow/dis.py", computes, other)):
        assert project.jobs() == {"flow_shard", "student", "evaluate", "report", "lock", "all"}


def test_the_loop_reruns_both_trainings(project):
    with edited(project, ("train/loop.py", "1_000_003", "1_000_033")):
        assert project.jobs() == TRAINING_AND_AFTER


def test_the_ledger_reruns_nothing(project):
    ledger = sorted((project.root / "weclick/store/ledger").glob("*.py"))
    names = [str(path.relative_to(project.root / "weclick")) for path in ledger]
    assert {Path(name).name for name in names} >= {"gc.py", "reach.py"}
    with edited(project, *((name, "", "\nUNUSED = 1\n") for name in names)):
        assert project.jobs() == set()


def test_touched_frames_rerun_nothing(project):
    for path in (project.root / "data").rglob("*.png"):
        path.touch()
    assert project.jobs() == set()


def test_an_unknown_key_is_told_before_anything_runs(project):
    done = subprocess.run(
        project.command("all", "-n", "--config", "student={step: 5}"),
        cwd=project.root,
        env=project.environment,
        text=True,
        capture_output=True,
    )
    assert done.returncode != 0
    assert "unknown key 'step' (did you mean 'steps'?) in student" in done.stdout + done.stderr


def test_a_new_clip_costs_its_own_entries_and_reverting_costs_nothing(project):
    before, student = project.entries(), "results/student/model.safetensors"
    project.snakemake(student, "--config", "data={toy: {clips: {train: 3}}}")
    grown = project.entries()
    assert len(grown["frames"] - before["frames"]) == 1
    assert len(grown["flow"] - before["flow"]) == 1
    assert len(grown["models"] - before["models"]) == 2
    project.snakemake(student)
    assert project.entries() == grown
    assert project.jobs() <= {"evaluate", "report", "lock", "all"}


@pytest.mark.slow
def test_a_new_clip_in_a_folder_reruns_the_manifest(tmp_path, repository, tiny_config):
    from PIL import Image

    def add(clip):
        for kind, mode in (("frames", "RGB"), ("labels", "L")):
            (tmp_path / "mine" / kind / clip).mkdir(parents=True)
            for i in range(2):
                shape = (32, 32, 3) if mode == "RGB" else (32, 32)
                Image.fromarray(np.zeros(shape, np.uint8)).save(tmp_path / "mine" / kind / clip / f"{i}.png")

    add("a"), add("val")
    (tmp_path / "mine" / "classes.yaml").write_text("classes: [{name: all, color: [0, 0, 0]}]")
    data = {"name": "folder", "root": str(tmp_path / "mine"), "val_clips": ["val"]}
    project = make_project(tmp_path / "project", repository, {**tiny_config, "data": data})
    project.snakemake("frames")
    assert "manifest_shard" not in project.jobs()
    add("b")
    assert "manifest_shard" in project.jobs()


def test_clicks_without_a_mask_train_to_the_student(tmp_path, repository, tiny_config):
    from PIL import Image

    for clip in ("a", "val"):
        (tmp_path / "mine" / "frames" / clip).mkdir(parents=True)
        for i in range(2):
            Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(
                tmp_path / "mine" / "frames" / clip / f"{i}.png"
            )
    (tmp_path / "mine" / "classes.yaml").write_text("classes: [{name: all, color: [0, 0, 0]}]")
    table = tmp_path / "mine" / "clicks.csv"
    table.write_text("clip,frame,y,x,class\na,0,3,4,all\n")
    data = {"name": "folder", "root": str(tmp_path / "mine"), "val_clips": ["val"], "clicks": str(table)}
    project = make_project(tmp_path / "project", repository, {**tiny_config, "data": data})
    assert project.jobs() == {
        *("manifest_shard", "clicks", "frames_shard", "flow_shard", "teacher", "soft_labels_shard"),
        *("student", "all"),
    }
    table.write_text("clip,frame,y,x,class\na,0,3,4,all\nval,1,3,4,all\n")
    assert project.jobs() >= {"student", "evaluate", "report", "lock", "all"}, "clicks are scored, too"
    table.write_text("clip,frame,y,x,class\na,0,3,4,all\n")
    (tmp_path / "mine" / "labels" / "val").mkdir(parents=True)
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(tmp_path / "mine" / "labels" / "val" / "0.png")
    assert project.jobs() >= {"student", "evaluate", "report", "lock", "all"}


@pytest.mark.slow
def test_further_teachers_are_trained_once_and_a_given_one_not_at_all(project):
    given = "results/teacher/model.safetensors"
    words = ("--config", "results=more", "soft_labels={teachers: [3, " + given + "]}")
    before = project.entries()
    project.snakemake("all", *words)
    assert (project.root / "more/teachers/3/model.json").is_file()
    assert not (project.root / "more/teacher").exists()
    grown = project.entries()
    assert len(grown["models"] - before["models"]) == 2, "a teacher and a student"
    assert len(grown["soft_labels"] - before["soft_labels"]) == 2
    assert "This run has no teacher" in (project.root / "more/report.html").read_text(encoding="utf-8")
    lock = json.loads((project.root / "more/run.lock.json").read_text(encoding="utf-8"))
    assert lock["models"].keys() == {"teacher_3", "student"}
    project.snakemake("all", "-n", *words)


@pytest.mark.slow
def test_soft_labels_from_files_need_no_teacher_and_an_edit_of_one_reruns_them(project):
    from PIL import Image

    from weclick.manifest import read_manifest
    from weclick.manifest.read import read_label

    manifest = read_manifest(project.root / "results/manifest/train/0.json")
    manifest = replace(manifest, root=str(project.root / manifest.root))
    for clip in manifest.clips:
        (project.root / "masks" / clip.id).mkdir(parents=True)
        for frame in clip.frames:
            mask = project.root / "masks" / clip.id / f"{frame.name}.png"
            Image.fromarray(read_label(manifest, frame)).save(mask)
    words = ("results=given", "soft_labels={source: folder, folder: {path: masks}}")
    before = project.entries()
    project.snakemake("all", "--config", *words)
    grown = project.entries()
    assert len(grown["models"] - before["models"]) == 1, "a student"
    assert len(grown["soft_labels"] - before["soft_labels"]) == 2
    assert not (project.root / "given/teacher").exists()
    page = (project.root / "given/report.html").read_text(encoding="utf-8")
    assert "come from the class maps in masks." in page
    lock = json.loads((project.root / "given/run.lock.json").read_text(encoding="utf-8"))
    assert lock["models"].keys() == {"student"}
    assert project.jobs(*words) == set()
    status, content = mask.stat(), bytearray(mask.read_bytes())
    content[-20] ^= 1
    mask.write_bytes(content)
    os.utime(mask, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert project.jobs(*words) == {"soft_labels_shard", "student", "evaluate", "report", "lock", "all"}
    gone = ("results=given", "soft_labels={source: folder, folder: {path: nowhere}}")
    done = subprocess.run(
        project.command("all", "-n", "--config", *gone),
        cwd=project.root,
        env=project.environment,
        text=True,
        capture_output=True,
    )
    assert done.returncode != 0
    assert "soft_labels.folder.path is 'nowhere', and there is no such folder" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.slow
def test_fused_soft_labels_wait_for_the_flow(project):
    fused = ("flow={masks: [forward_backward, photometric]}", "soft_labels={fuse: {neighbours: 4}}")
    expected = {"flow_shard", "soft_labels_shard", "student", "evaluate", "report", "lock", "all"}
    assert project.jobs(*fused) == expected
    project.snakemake("fused/soft_labels/train/0.json", "--config", "results=fused", *fused)
    index = json.loads((project.root / "fused/soft_labels/train/0.json").read_text(encoding="utf-8"))
    flow = json.loads((project.root / "fused/flow/train/0.json").read_text(encoding="utf-8"))["entries"]
    for clip, key in index["entries"].items():
        (entry,) = (project.root / "store/soft_labels").glob(f"v1/*/{key}/entry.json")
        assert json.loads(entry.read_text(encoding="utf-8"))["inputs"]["fuse"]["flow"] == flow[clip]


@pytest.mark.slow
def test_kills_at_random_moments_damage_nothing(tmp_path, project, repository, tiny_config):
    killed = make_project(tmp_path / "killed", repository, tiny_config)
    rng = np.random.default_rng()
    for _ in range(5):
        run = subprocess.Popen(
            killed.command("all"),
            cwd=killed.root,
            env=killed.environment,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            run.wait(timeout=rng.uniform(3, 18))
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()
    killed.snakemake("all")
    assert (killed.root / "results/report.html").is_file()
    base = make_project(tmp_path / "base", repository, tiny_config)
    base.snakemake("all")
    assert killed.entries() == base.entries()
    for kind in KINDS:
        for path in list_entries(killed.root / "store", kind):
            assert verify_entry(path) == []


@pytest.mark.slow
def test_an_online_student_needs_its_teacher_and_neither_soft_labels_nor_flow(project):
    online = "student={online: {teacher: online/teacher/model.safetensors}}"
    project.snakemake("online/student/model.safetensors", "--config", "results=online", online)
    assert (project.root / "online/teacher/model.json").is_file()
    assert not (project.root / "online/soft_labels").exists()
    assert not (project.root / "online/flow").exists()
    terms = (project.root / "online/student/metrics.jsonl").read_text(encoding="utf-8")
    assert "knowledge_distillation" in terms
    assert "memory_flow" in terms


@pytest.mark.slow
def test_a_run_that_learns_from_masks_is_whole(project):
    other = ("--config", "results=masked", "supervision=masks")
    project.snakemake("all", *other)
    assert len(project.entries()["masks"]) == 2
    lock = json.loads((project.root / "masked/run.lock.json").read_text(encoding="utf-8"))
    assert set(lock["entries"]["masks"]["train"]["0"].values()) == project.entries()["masks"]
    assert lock["contents"]["masks"].keys() == project.entries()["masks"]
    assert "masks" in lock["code"]
    for role in ("teacher", "student"):
        lines = (project.root / "masked" / role / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        terms = json.loads(lines[0])["terms"]
        assert "cross_entropy" in terms
        assert "partial_cross_entropy" not in terms
    report = (project.root / "masked/report.html").read_text(encoding="utf-8")
    assert "Learned from the masks of 4 frames" in report
    assert project.jobs("results=masked", "supervision=masks") == set()
