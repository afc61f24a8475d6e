"""The lock of a run, and `weclick reproduce`, which runs it again and says what differs."""

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

import weclick.common.shipped
from helpers.proxy_run import make_proxy_run
from helpers.report_run import make_run
from helpers.workflow import Project, make_project
from weclick.cli import app
from weclick.clicks.tags import read_tags, write_tags
from weclick.common.errors import InputError, MissingFileError
from weclick.manifest.tag_table import tags_digest
from weclick.runs.lock import LOCK, OUTCOME, make_lock, read_lock, spell_lock
from weclick.runs.pins import named_by
from weclick.runs.report.provenance import versions
from weclick.store import file_digest, write_index

CODE = {"flow": "ab" * 32}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """Results of a run with their lock; not to be changed."""
    run = make_run(tmp_path_factory.mktemp("run"))
    card = {"command": "snakemake all", "versions": versions(), "config": run.config}
    (run.folder / "report.json").write_text(json.dumps(card))
    (run.folder / LOCK).write_text(spell_lock(make_lock(run.folder, CODE, 2)))
    return run.folder


@pytest.fixture
def results(tmp_path, whole) -> Path:
    return shutil.copytree(whole, tmp_path / "elsewhere")


def edit(path: Path, change: Callable[[dict], object]) -> None:
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    path.write_text(json.dumps(value), encoding="utf-8")


def check(lock: Path, other: Path) -> tuple[int, str]:
    ended = CliRunner().invoke(app, ["reproduce", str(lock), "--check", str(other)], catch_exceptions=False)
    return ended.exit_code, ended.output


def test_a_lock_of_an_earlier_version_speaks_of_keys_by_their_names_of_today(whole, results):
    def old(lock):
        lock["config"]["flow"]["stride"] = lock["config"]["flow"].pop("stride_px")

    edit(results / LOCK, old)
    assert read_lock(results / LOCK)["config"] == read_lock(whole / LOCK)["config"]


def test_a_lock_pins_down_what_went_in_and_what_came_out(whole):
    lock = read_lock(whole / LOCK)
    assert lock["config"]["seed"] == 7
    assert not {"results", "cache", "watch"} & lock["config"].keys()
    assert {"weclick", "torch", "torchvision", "numpy", "zarr", "snakemake", "python"} <= lock[
        "versions"
    ].keys()
    assert lock["code"] == CODE
    assert lock["device"] == {"name": "cpu", "threads": 2}
    assert list(lock["data"]["val"]["street"]) == ["frames", "labels"]
    index = json.loads((whole / "flow/train/0.json").read_text(encoding="utf-8"))
    assert lock["entries"]["flow"] == {"train": {"0": index["entries"]}, "val": {"0": {}}}
    assert lock["metrics"]["student"]["per_class_iou"] == {"road": 0.8, "car": 0.5834, "lamp <b>": None}
    assert lock["metrics"]["teacher"]["temporal_consistency"] is None, "NaN is no JSON"
    assert "fps" not in lock["metrics"]["student"]


def test_a_lock_is_the_same_wherever_the_run_lies(results, whole):
    assert spell_lock(make_lock(results, CODE, 2)) == (whole / LOCK).read_text(encoding="utf-8")
    edit(results / "evaluation/metrics.json", lambda metrics: metrics.update(fps=1.0))
    edit(results / "report.json", lambda card: card["config"].update(results="elsewhere", cache={}))
    edit(results / "manifest/train/0.json", lambda manifest: manifest.update(root="/another/disk"))
    assert spell_lock(make_lock(results, CODE, 2)) == (whole / LOCK).read_text(encoding="utf-8")


def test_a_results_folder_agrees_with_its_lock(results, whole):
    of_clicks = [part for part in OUTCOME if part != "tags"]
    assert check(whole / LOCK, results) == (
        0,
        "".join(f"{part}: the same\n" for part in ("config", "code", "versions", "device", *of_clicks))
        + "the results are the same\n",
    )


def change_weights(results: Path) -> None:
    path = results / "student" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def change_frame(results: Path) -> None:
    path = results / "manifest/train/0.json"
    edit(path, lambda manifest: manifest["clips"][0]["frames"][2].update(digest="0" * 64))


def change_label(results: Path) -> None:
    path = results / "manifest/val/0.json"
    edit(path, lambda manifest: manifest["clips"][0]["frames"][0].update(label_digest="ef" * 32))


def change_key(results: Path) -> None:
    edit(results / "soft_labels/train/0.json", lambda index: index["entries"].update(street="ef" * 32))


def change_score(results: Path) -> None:
    edit(results / "evaluation/metrics.json", lambda metrics: metrics.update(miou=0.6))


@pytest.mark.parametrize(
    ("change", "part", "line"),
    [
        (change_weights, "models", "student.weights_sha256: "),
        (change_frame, "data", "train.street.frames: "),
        (change_label, "data", "val.street.labels: "),
        (change_key, "entries", "soft_labels.train.0.street: "),
        (change_score, "metrics", "student.miou: 0.5834 -> 0.6 (+0.0166)\n"),
    ],
)
def test_what_differs_is_told_and_counts(results, whole, change, part, line):
    change(results)
    status, told = check(whole / LOCK, results)
    assert status == 1
    assert f"{part}: 1 differ\n    {line}" in told
    assert told.count("differ\n") == 1
    assert told.endswith(f"what differs: {part}\n")


def test_other_circumstances_are_told_and_do_not_count(results, whole):
    edit(results / LOCK, lambda lock: lock["versions"].update(torch="1.0"))
    edit(results / LOCK, lambda lock: lock["config"]["student"].update(log_every=3))
    edit(results / LOCK, lambda lock: lock["code"].update(flow="cd" * 32))
    status, told = check(whole / LOCK, results / LOCK)
    assert status == 0
    assert "    student.log_every: 10 -> 3 (-7)\n" in told
    assert f"    torch: {versions()['torch']} -> 1.0\n" in told
    assert "    flow: abababababab… -> cdcdcdcdcdcd…\n" in told
    assert told.endswith("the results are the same\n")


def test_of_many_differences_ten_are_told(results, whole):
    clips = {f"clip {i}": {"frames": "ab" * 32, "labels": "cd" * 32} for i in range(7)}
    edit(results / LOCK, lambda lock: lock["data"]["train"].update(clips))
    _, told = check(whole / LOCK, results / LOCK)
    assert "data: 14 differ\n    train.clip 0.frames: none -> abababababab…\n" in told
    assert "    ... and 4 more\n" in told


def test_a_file_that_is_no_lock_is_refused(results):
    edit(results / LOCK, lambda lock: lock.update(schema_version=2))
    with pytest.raises(
        InputError, match=r"run\.lock\.json: is no lock .* \(schema_version: 1 was expected\)"
    ):
        read_lock(results / LOCK)
    with pytest.raises(InputError, match=r"is no lock of a run that this weclick can read"):
        read_lock(results / "report.json")
    (results / LOCK).unlink()
    with pytest.raises(MissingFileError, match=r"there is no such file; the lock stage makes it"):
        read_lock(results)


def test_a_run_that_is_not_done_has_no_lock(results):
    (results / "soft_labels/train/0.json").unlink()
    with pytest.raises(MissingFileError, match=r"0\.json: there is no such file; the soft_labels stage"):
        make_lock(results, CODE, 2)
    (results / "report.json").write_text("{}")
    with pytest.raises(
        InputError, match=r"report\.json: is not what that stage writes .*'config' is a required"
    ):
        make_lock(results, CODE, 2)


def test_further_teachers_are_pinned_and_one_that_was_not_asked_for_is_not(results, whole):
    def ask(*teachers):
        edit(
            results / "report.json", lambda card: card["config"].update(soft_labels={"teachers": [*teachers]})
        )
        return make_lock(results, CODE, 2)

    shutil.copytree(results / "teacher", results / "teachers/3")
    shutil.copy(results / "student/model.safetensors", results / "teachers/3/model.safetensors")
    before, lock = read_lock(whole / LOCK)["models"], ask(7, 3, "theirs.safetensors")
    assert lock["models"].keys() == {"teacher", "teacher_3", "student"}
    assert lock["models"]["teacher_3"]["weights_sha256"] == before["student"]["weights_sha256"]
    (results / LOCK).write_text(spell_lock(lock))
    assert read_lock(results / LOCK)["models"] == read_lock(results)["models"] == lock["models"]
    assert ask(3)["models"].keys() == {"teacher_3", "student"}
    with pytest.raises(MissingFileError, match=r"teachers/4/model\.json: there is no such file; the teacher"):
        ask(4)


def test_a_run_is_not_repeated_into_its_own_folder(whole):
    with pytest.raises(InputError, match="the folder of the run to repeat; name another one"):
        CliRunner().invoke(
            app, ["reproduce", str(whole / LOCK), "--results", str(whole)], catch_exceptions=False
        )


def test_without_its_workflow_weclick_repeats_nothing(tmp_path, repository, whole, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data_schema").symlink_to(repository / "data_schema")
    monkeypatch.setattr(weclick.common.shipped, "__file__", str(tmp_path / "weclick/common/shipped.py"))
    with pytest.raises(MissingFileError, match=r"Snakefile is neither in .*; reinstall weclick"):
        CliRunner().invoke(app, ["reproduce", str(whole / LOCK)], catch_exceptions=False)


@pytest.fixture(scope="module")
def project(tmp_path_factory, repository, tiny_config) -> Project:
    """A project whose toy run has ended, with its lock beside its results."""
    project = make_project(tmp_path_factory.mktemp("project"), repository, tiny_config)
    project.snakemake("all")
    return project


def run_again(project: Project, *words: str, cache: str = "store") -> subprocess.CompletedProcess:
    """`weclick reproduce` of the run into the folder `again`, which is new."""
    shutil.rmtree(project.root / "again", ignore_errors=True)
    given = (f"results/{LOCK}", "--results", "again", "--cores", "2", *words)
    return subprocess.run(
        [Path(sys.executable).with_name("weclick"), "reproduce", *given],
        cwd=project.root,
        env={**project.environment, "WECLICK_CACHE": cache},
        text=True,
        capture_output=True,
    )


def reproduce(project: Project, *words: str, cache: str = "store") -> tuple[int, str]:
    """Exit status and what is told on stdout."""
    done = run_again(project, *words, cache=cache)
    assert "weclick: error" not in done.stderr, done.stderr
    return done.returncode, done.stdout


@pytest.mark.slow
def test_a_run_repeated_from_caches_makes_nothing_and_is_the_same(project):
    held = project.entries()
    status, told = reproduce(project)
    assert status == 0, told
    assert told.endswith("the results are the same\n")
    for line in ("frames: 2 entries found, 0 made", "flow: 3 entries found, 0 made"):
        assert f"{line}\n" in told
    assert "1 made" not in told
    assert project.entries() == held
    assert (project.root / "again" / LOCK).read_text(encoding="utf-8") == (
        project.root / "results" / LOCK
    ).read_text(encoding="utf-8")
    assert project.jobs() == set(), "the first run is left alone"


@pytest.mark.slow
def test_a_run_repeated_from_scratch_has_the_same_weights_and_scores(project):
    status, told = reproduce(project, cache="from_scratch")
    assert status == 0, told
    assert "teacher: 0 entries found, 1 made\n" in told
    assert (project.root / "from_scratch/models").is_dir()


@pytest.mark.slow
def test_another_seed_is_told_with_what_came_of_it(project):
    status, told = reproduce(project, "--set", "seed=1")
    assert status == 1
    assert "config: 1 differ\n    seed: 0 -> 1 (+1)\n" in told
    assert "data: the same\n" in told
    assert told.endswith("what differs: clicks, entries, models, metrics\n")


@pytest.mark.slow
def test_other_code_is_told_with_the_stages_that_run_it(project):
    module = project.root / "weclick/train/loop.py"
    text = module.read_text(encoding="utf-8")
    try:
        module.write_text(text + "\nUNUSED = 1\n")
        status, told = reproduce(project)
    finally:
        module.write_text(text)
    assert status == 1
    assert "config: the same\ncode: 2 differ\n    student: " in told
    assert "models: 2 differ\n    student.key: " in told
    assert "entries: the same\n" in told
    assert told.endswith("what differs: models\n"), "other keys; weights and scores are the same"


@pytest.mark.slow
def test_other_data_are_told_before_anything_is_computed(project):
    held = project.entries()
    data = shutil.copytree(project.root / "data/toy", project.root / "data/other")
    frame = sorted((data / "leftImg8bit/train").rglob("*.png"))[0]
    image = Image.open(frame)
    image.putpixel((0, 0), image.getpixel((1, 1)))
    image.save(frame)
    status, told = reproduce(project, "--set", "data.root=data/other")
    assert status == 1
    assert "data: 1 differ\n    train.street_0000." in told
    assert told.endswith("the data are not those of the lock, so nothing was computed\n")
    assert project.entries() == held
    assert [path.name for path in (project.root / "again").iterdir()] == ["manifest"], "nothing ran"


@pytest.mark.slow
def test_a_workflow_that_fails_ends_in_one_sentence(project):
    done = run_again(project, "--set", "teacher.pretrained=nowhere.safetensors")
    assert done.returncode == 1
    assert "nowhere.safetensors" in done.stderr
    assert "the workflow ended with exit status 1 before all was done" in done.stderr


@pytest.mark.slow
def test_data_that_are_missing_are_told_before_anything_runs(project):
    done = run_again(project, "--set", "data.name=folder", "--set", "data.root=nowhere")
    assert done.returncode == 1
    assert "data.root is nowhere, but there is no such folder" in done.stderr
    assert not (project.root / "again").exists()


def test_masks_are_pinned_where_a_run_learned_from_them(results):
    edit(results / "report.json", lambda card: card["config"].update(supervision="masks"))
    with pytest.raises(MissingFileError, match="the masks stage makes it"):
        make_lock(results, CODE, 2)
    (results / "masks/train").mkdir(parents=True)
    index = {"kind": "masks", "entries": {"street": "ab" * 32}}
    (results / "masks/train/0.json").write_text(json.dumps(index))
    (results / LOCK).write_text(spell_lock(make_lock(results, CODE, 2)))
    lock = read_lock(results / LOCK)
    assert lock["entries"]["masks"] == {"train": {"0": index["entries"]}}
    assert ("masks", "ab" * 32) in named_by(lock)


def test_an_index_of_masks_that_a_run_did_not_read_is_not_pinned(results, whole):
    (results / "masks/train").mkdir(parents=True)
    (results / "masks/train/0.json").write_text(json.dumps({"kind": "masks", "entries": {}}))
    assert spell_lock(make_lock(results, CODE, 2)) == (whole / LOCK).read_text(encoding="utf-8")


def test_a_lock_that_knows_no_supervision_yet_is_read(results):
    def old(lock):
        for name in ("supervision", "annotation", "masks", "cross_entropy"):
            del lock["config"][name]

    edit(results / LOCK, old)
    assert not any(kind == "masks" for kind, _ in named_by(read_lock(results / LOCK)))


def test_flow_of_several_needs_is_pinned_by_need(results):
    path, chain = results / "flow/train/0.json", "cd" * 32
    (key,) = json.loads(path.read_text(encoding="utf-8"))["entries"].values()
    write_index(path, "flow", {"street": {"window": key, "chain": chain}})
    (results / LOCK).write_text(spell_lock(make_lock(results, CODE, 2)))
    lock = read_lock(results / LOCK)
    assert lock["entries"]["flow"]["train"] == {"0": {"street": {"window": key, "chain": chain}}}
    assert {("flow", key), ("flow", chain)} <= set(named_by(lock))


@pytest.fixture(scope="module")
def tagged(tmp_path_factory) -> Path:
    """Results of a run that learned from tags; a teacher of before still lies there."""
    run = make_proxy_run(tmp_path_factory.mktemp("tagged"))
    config = {**run.config, "cache": {"roots": [*map(str, run.store.roots)]}}
    (run.folder / "report.json").write_text(json.dumps({"versions": versions(), "config": config}))
    (run.folder / LOCK).write_text(spell_lock(make_lock(run.folder, CODE, 2)))
    return run.folder


def test_tags_and_what_is_made_of_them_are_pinned(tagged):
    lock = read_lock(tagged / LOCK)
    assert lock["tags"] == tags_digest(read_tags(tagged / "tags" / "train.h5"))
    assert lock["models"].keys() == {"student", "classifier"}
    assert lock["models"]["classifier"]["weights_sha256"] == file_digest(
        tagged / "classifier" / "model.safetensors"
    )
    assert lock["entries"].keys() == {"frames", "flow", "cams", "proxy_labels"}
    for stage in ("cams", "proxy_labels"):
        (key,) = json.loads((tagged / f"{stage}/train/0.json").read_text())["entries"].values()
        assert lock["entries"][stage] == {"train": {"0": {"street": key}}}
        assert lock["contents"][stage].keys() == {key}
        assert (stage, key) in set(named_by(lock))
    assert not any(kind == "soft_labels" for kind, _ in named_by(lock))


def test_maps_of_imagenet_pin_no_classifier(tagged, tmp_path):
    results = shutil.copytree(tagged, tmp_path / "elsewhere")
    shutil.rmtree(results / "classifier")
    edit(results / "report.json", lambda card: card["config"]["cams"].update(source="imagenet"))
    lock = make_lock(results, CODE, 2)
    assert lock["models"].keys() == {"student"}
    assert lock["tags"]


def test_other_tags_are_told(tagged, tmp_path):
    results = shutil.copytree(tagged, tmp_path / "elsewhere")
    table = read_tags(results / "tags" / "train.h5")
    write_tags(dataclasses.replace(table, complete=False), results / "tags" / "train.h5")
    status, told = check(tagged / LOCK, results)
    assert status == 1
    assert "tags: 1 differ\n    tags: " in told
    assert told.endswith("what differs: tags\n")
