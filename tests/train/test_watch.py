"""Watchers of a training: the numbers of metrics.jsonl, once each, in one run, whatever happens to it."""

import json
import os
import subprocess
import sys
import time
from importlib.util import find_spec

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from helpers import wandb_file
from helpers.places import ROOT
from helpers.training import StoppedError, run
from weclick.common.config import SECTIONS, ConfigError, complete_config
from weclick.common.errors import InputError
from weclick.runs.downloads import missing_packages
from weclick.store import Store
from weclick.train.data.stream import Caches
from weclick.train.log import read_metrics
from weclick.train.recipe import Recipe
from weclick.train.stage import train_recipe
from weclick.train.watch import follow
from weclick.train.watch.follow import watched
from weclick.train.watch.packages import check_watch, watch_faults
from weclick.train.watch.watcher import Watched, numbers

KEY = "0123456789abcdef" * 4


def needs(extra, *packages):
    missing = [name for name in packages if find_spec(name) is None]
    reason = f"{' and '.join(missing)} not installed; pip install 'weclick[{extra}]'"
    return pytest.mark.skipif(bool(missing), reason=reason)


needs_wandb = needs("wandb", "wandb")
needs_mlflow = needs("mlflow", "mlflow", "sqlalchemy", "alembic")


def watch(*to, **options):
    return complete_config({"watch": {"to": list(to), **options}})["watch"]


@pytest.fixture(autouse=True)
def quick_and_offline(monkeypatch):
    """Watchers look often, and nothing of this person's own settings leads to a service."""
    monkeypatch.setattr(follow, "LOOK_EVERY_S", 0.05)
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("WANDB_DIR", "WANDB_BASE_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)


def watched_run(street, folder, options, *, key=KEY, objective=None, stop_at=None, **changed):
    """A short training that is watched, of five steps with a line each."""
    folder.mkdir(parents=True, exist_ok=True)
    shown = {"student": {**street.config["student"], **changed}, "kd": {"weight": 1.0}}
    with watched(Watched("student", key, 7, folder, shown), options):
        changed = {"validate_every": 2, **changed}
        run(street, folder, key=key, objective=objective, stop_at=stop_at, **changed)


@pytest.fixture
def tracking(tmp_path):
    """A database of MLflow, and what it knows."""
    return f"sqlite:///{tmp_path}/runs.db"


def runs_in(uri, project="weclick"):
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    return client, client.search_runs([client.get_experiment_by_name(project).experiment_id])


def curve(client, run_id, name):
    return [(point.step, point.value) for point in client.get_metric_history(run_id, name)]


def lines_of(folder, name):
    """What metrics.jsonl tells under a name of a watcher: [(step, value)]."""
    told = [(line["step"], numbers(line)) for line in read_metrics(folder / "metrics.jsonl")]
    return [(step, values[name]) for step, values in told if name in values]


def test_all_numbers_of_a_line_have_a_name():
    training = {
        **{"step": 3, "seconds": 1.5, "lr": 0.1, "loss": 2.0, "terms": {"clicks": 2.0}},
        **{"data_wait_share": 0.25, "time_shares": {"wait": 0.25}, "labels_used": 4},
    }
    assert numbers(training) == {
        **{"train/seconds": 1.5, "train/lr": 0.1, "train/loss": 2.0, "train/terms/clicks": 2.0},
        **{"train/data_wait_share": 0.25, "train/time/wait": 0.25, "train/labels_used": 4},
    }
    scores = {"miou": None, "click_accuracy": 0.5, "by": "clicks"}
    scores["per_class_iou"] = {"road": 0.25, "car": None}
    assert numbers({"step": 3, "seconds": 2.0, "validation": scores}) == {
        **{"validation/seconds": 2.0, "validation/click_accuracy": 0.5, "validation/iou/road": 0.25}
    }
    assert numbers({"step": 1, "loss": float("nan"), "keep": True}) == {}


def test_tensorboard_holds_what_the_lines_hold(street, tmp_path):
    run(street, tmp_path, validate_every=2)
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    names = {name for line in read_metrics(tmp_path / "metrics.jsonl") for name in numbers(line)}
    assert set(board.Tags()["scalars"]) == names
    assert {"train/loss", "train/time/wait", "validation/miou", "validation/iou/car"} < names
    for name in names:
        told = [(point.step, pytest.approx(point.value, rel=1e-5)) for point in board.Scalars(name)]
        assert lines_of(tmp_path, name) == told


@needs_mlflow
def test_mlflow_holds_the_lines_and_the_configuration(street, tmp_path, tracking, capsys):
    options = watch("mlflow", mlflow_uri=tracking, project="streets")
    watched_run(street, tmp_path, options)
    client, (found,) = runs_in(tracking, "streets")
    assert found.info.run_name == "student 01234567"
    assert found.info.status == "FINISHED"
    names = {name for line in read_metrics(tmp_path / "metrics.jsonl") for name in numbers(line)}
    assert set(found.data.metrics) == names
    for name in names:
        assert curve(client, found.info.run_id, name) == lines_of(tmp_path, name), name
    told = found.data.params
    assert (told["key"], told["role"], told["seed"]) == (KEY, "student", "7")
    assert told["student.backbone"] == "mobilenetv2_compact"
    assert told["student.crop"] == "[48, 64]"
    assert told["kd.weight"] == "1.0"
    said = capsys.readouterr().err
    assert f"watch: mlflow: {tracking}, run {found.info.run_id}" in said
    assert not list(tmp_path.glob("watch.*")), "the training is over"


@needs_mlflow
def test_a_killed_training_goes_on_in_its_run_of_mlflow(street, tmp_path, tracking):
    options = watch("mlflow", mlflow_uri=tracking)
    with pytest.raises(StoppedError):
        watched_run(street, tmp_path, options, stop_at=3)
    _, (found,) = runs_in(tracking)
    assert found.info.status == "KILLED"
    assert (tmp_path / "watch.mlflow.json").is_file()
    watched_run(street, tmp_path, options, validate_every=1)
    client, (again,) = runs_in(tracking)
    assert again.info.run_id == found.info.run_id
    assert again.info.status == "FINISHED"
    steps = [step for step, _ in curve(client, again.info.run_id, "train/loss")]
    assert steps == [1, 2, 3, 4, 5], "the checkpoint is of step 2: step 3 was trained twice and is told once"
    assert curve(client, again.info.run_id, "train/loss") == lines_of(tmp_path, "train/loss")


@needs_mlflow
def test_another_training_in_the_folder_and_another_service_begin_anew(street, tmp_path, tracking):
    options = watch("mlflow", mlflow_uri=tracking)
    with pytest.raises(StoppedError):
        watched_run(street, tmp_path, options, stop_at=3)
    with pytest.raises(StoppedError):
        watched_run(street, tmp_path, options, stop_at=2, key="f" * 64)
    client, found = runs_in(tracking)
    steps = {
        told.info.run_name: [step for step, _ in curve(client, told.info.run_id, "train/loss")]
        for told in found
    }
    assert steps == {"student 01234567": [1, 2, 3], "student ffffffff": [1, 2]}
    elsewhere = watch("mlflow", mlflow_uri=tracking, project="elsewhere")
    watched_run(street, tmp_path, elsewhere, key="f" * 64)
    client, (whole,) = runs_in(tracking, "elsewhere")
    assert [step for step, _ in curve(client, whole.info.run_id, "train/loss")] == [1, 2, 3, 4, 5]


@needs_mlflow
def test_a_service_that_fails_warns_once_and_gets_what_it_missed(
    street, tmp_path, tracking, monkeypatch, capsys
):
    from mlflow import MlflowClient

    monkeypatch.setattr(follow, "TRY_AGAIN_S", 0.1)
    client = MlflowClient(tracking_uri=tracking)
    experiment = client.create_experiment("weclick")
    client.delete_experiment(experiment)  # where no run can be made

    def coming_back(logits, batch, step):
        if step == 3:
            client.restore_experiment(experiment)
        return {"clicks": logits.square().mean()}

    options = watch("mlflow", mlflow_uri=tracking)
    watched_run(street, tmp_path, options, objective=coming_back)
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("watch: ")]
    assert len(said) == 2
    assert "watch: mlflow: fails (" in said[0]
    assert "the training goes on, and what is missing is sent later" in said[0]
    assert "runs.db, run " in said[1]
    _, (found,) = runs_in(tracking)
    assert curve(client, found.info.run_id, "train/loss") == lines_of(tmp_path, "train/loss")
    assert len(lines_of(tmp_path, "train/loss")) == 5


@needs_mlflow
def test_a_server_that_stays_away_costs_no_training(street, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")  # nobody listens there
    watched_run(street, tmp_path, watch("mlflow"))
    assert len(lines_of(tmp_path, "train/loss")) == 5
    said = capsys.readouterr().err
    assert said.count("watch: mlflow: fails (") == 1
    assert "did not get 8 lines; " in said
    assert "secret" not in said


@needs_mlflow
def test_names_of_classes_are_made_such_that_mlflow_takes_them(street, tmp_path, tracking):
    from weclick.train.watch.mlflow import MLflow

    told = {"cams": {"mapping": {"traffic light (red)": [1], "Straße": [2]}}}
    watcher = MLflow(Watched("student", KEY, 0, tmp_path, told), watch(mlflow_uri=tracking), "")
    for name in ("road//side", "..", "Straße"):
        watcher.send(1, {f"validation/iou/{name}": 0.5})
    watcher.close(finished=True)
    _, (found,) = runs_in(tracking)
    names = ("road/_/side", "_", "Straße")
    assert found.data.metrics == {f"validation/iou/{name}": 0.5 for name in names}
    assert found.data.params["cams.mapping.traffic light _red_"] == "[1]"


def offline_files(folder):
    return sorted(folder.glob("wandb/offline-run-*/run-*.wandb"))


def rows_of(path, name):
    return [(row["_step"], row[name]) for row in wandb_file.history(path) if name in row]


@needs_wandb
def test_wandb_holds_the_lines_and_the_configuration(street, tmp_path, capsys):
    watched_run(street, tmp_path, watch("wandb", project="streets"))
    (path,) = offline_files(tmp_path)
    names = {name for line in read_metrics(tmp_path / "metrics.jsonl") for name in numbers(line)}
    for name in names:
        assert rows_of(path, name) == lines_of(tmp_path, name), name
    assert len(wandb_file.history(path)) == 5, "one row a step, with its validation"
    told = wandb_file.config(path)
    assert (told["key"], told["role"], told["seed"]) == (KEY, "student", 7)
    assert told["student"]["crop"] == [48, 64]
    assert wandb_file.exit_code(path) == 0
    assert f"watch: wandb: {path.parent} (for `wandb sync`)" in capsys.readouterr().err


@needs_wandb
def test_a_killed_training_goes_on_in_its_run_of_wandb(street, tmp_path):
    with pytest.raises(StoppedError):
        watched_run(street, tmp_path, watch("wandb"), stop_at=3)
    (before,) = offline_files(tmp_path)
    assert wandb_file.exit_code(before) == 1
    watched_run(street, tmp_path, watch("wandb"))
    (after,) = set(offline_files(tmp_path)) - {before}
    assert after.name == before.name, "both are parts of one run"
    steps = [[step for step, _ in rows_of(path, "train/loss")] for path in (before, after)]
    assert steps == [[1, 2, 3], [3, 4, 5]], "the last row may have been held back, and is sent again"


KILLED = """
import os, signal, sys, time
from pathlib import Path
from weclick.train.log import MetricsLog
from weclick.train.watch import follow
from weclick.train.watch.watcher import Watched
follow.LOOK_EVERY_S = 0.05
folder = Path(sys.argv[1])
with follow.watched(Watched("student", "k" * 64, 0, folder, {}), {"to": ["wandb"], "project": "weclick"}):
    log = MetricsLog(folder, after_step=0)
    for step in (1, 2, 3):
        log.training({"step": step, "loss": 1 / step, "time_shares": {}})
    while '"train": 3' not in (folder / "watch.wandb.json").read_text():
        time.sleep(0.05)
    time.sleep(4)  # W&B writes once a second
    os.kill(os.getpid(), signal.SIGKILL)
"""


@needs_wandb
def test_what_wandb_held_back_when_the_process_was_killed_is_sent_again(street, tmp_path):
    # W&B's own process of this one, which an earlier test may have started, would hold the run as in use
    alone = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT, env=alone)
    assert done.returncode == -9
    until = time.monotonic() + 40  # W&B's own process lives on, and writes what it has
    while [step for path in offline_files(tmp_path) for step, _ in rows_of(path, "train/loss")][1:2] != [2]:
        assert time.monotonic() < until
        time.sleep(0.2)
    (before,) = offline_files(tmp_path)
    watched_run(street, tmp_path, watch("wandb"), key="k" * 64)
    (after,) = set(offline_files(tmp_path)) - {before}
    assert after.name == before.name
    steps = [[step for step, _ in rows_of(path, "train/loss")] for path in (before, after)]
    assert steps in ([[1, 2], [3, 4, 5]], [[1, 2, 3], [3, 4, 5]]), "it writes a row when the next begins"


@needs_wandb
def test_without_a_login_wandb_warns_once(street, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "settings"))
    import wandb

    wandb.teardown()  # it has read these variables before
    watched_run(street, tmp_path / "student", watch("wandb"))
    said = capsys.readouterr().err
    assert said.count("watch: wandb: fails (") == 1
    assert "No API key configured" in said
    wandb.teardown()
    assert len(lines_of(tmp_path / "student", "train/loss")) == 5


@needs_mlflow
@needs_wandb
def test_a_stage_is_watched_and_its_key_knows_nothing_of_it(street, tmp_path, tracking):
    store = Store([*street.store.roots, tmp_path / "models"])
    names = ("seed", "teacher", "partial_cross_entropy", "gated_crf", "cache")
    recipe = Recipe(
        role="teacher",
        config={name: street.config[name] for name in names},
        manifest=street.train,
        clicks=street.clicks,
        caches=Caches(store, street.frames, street.flow, {}),
        validation=street.val,
    )
    both = watch("wandb", "mlflow", mlflow_uri=tracking)
    entry = train_recipe(recipe, tmp_path / "teacher", device="cpu", watch=both)
    _, (found,) = runs_in(tracking)
    assert found.data.params["key"] == entry.key
    assert found.data.params["teacher.steps"] == "3"
    assert not any(name.startswith("cache") for name in found.data.params)
    assert len(offline_files(tmp_path / "teacher")) == 1
    assert train_recipe(recipe, tmp_path / "again", device="cpu", watch=None).key == entry.key
    assert train_recipe(recipe, tmp_path / "third", device="cpu", watch=both).key == entry.key
    assert len(runs_in(tracking)[1]) == 1, "what the store has is not trained"


def test_no_stage_reads_the_section():
    assert not any(path.split(".")[0] == "watch" for reads in SECTIONS.values() for path in reads)


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_package_is_told_before_the_training(monkeypatch, name, verb, tmp_path):
    options = watch(name, mlflow_uri="http://mlflow:5000")
    monkeypatch.setattr("weclick.train.watch.packages.find_spec", lambda package: None)
    told = f"watch.to names {name}, but {name} is not installed; run `pip install 'weclick"
    (fault,) = watch_faults(options)
    assert fault.startswith(told)
    network = {"pretrained": None}
    run_config = {"watch": options, "teacher": network, "student": network}
    assert missing_packages(complete_config(run_config)) == [fault]
    with pytest.raises(InputError, match=f"take {name} out of watch.to"):
        check_watch(options)
    words = ["--manifest", "none.json", "--clicks", "none.h5", "--frames", "none.json"]
    words += ["--val-manifest", "none.json", "--output", str(tmp_path / "teacher"), "--device", "cpu"]
    config = json.dumps({"watch": options})
    status, said = verb("teacher", "--config", config, *words)
    assert status == 1
    assert told in said.err
    assert not (tmp_path / "teacher").exists()


def test_a_database_of_mlflow_needs_more_than_a_server(monkeypatch):
    monkeypatch.setattr(
        "weclick.train.watch.packages.find_spec", lambda package: None if package == "alembic" else package
    )
    assert watch_faults(watch("mlflow", mlflow_uri="https://mlflow")) == []
    (fault,) = watch_faults(watch("mlflow"))
    assert "watch.to names mlflow, but alembic is not installed; run `pip install 'weclick[mlflow]'`" in fault
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    assert watch_faults(watch("mlflow")) == []


def test_no_package_is_loaded_to_look_for_it():
    code = "import sys, weclick.train.watch.packages; sys.exit(len({'torch', 'wandb'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"to": ["comet"]}, r"watch\.to.*'comet'"),
        ({"to": ["wandb", "wandb"]}, r"watch\.to"),
        ({"project": "a/b"}, r"watch\.project: .*letters, digits, spaces"),
        ({"mlflow_uri": "http://me:secret@mlflow"}, r"watch\.mlflow_uri: holds a password"),
        ({"mlflow": "x"}, r"unknown key 'mlflow'.* in watch"),
    ],
)
def test_what_the_section_may_not_say(section, told):
    with pytest.raises(ConfigError, match=told):
        complete_config({"watch": section})
