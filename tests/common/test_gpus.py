"""Processes share the GPUs of a machine: real processes, real locks; only the GPUs are made up."""

import os
import re
import signal
import subprocess
import sys

import pytest
import torch
from typer.testing import CliRunner

from weclick.cli import app
from weclick.cli.app import prepare
from weclick.common.errors import InputError
from weclick.common.gpus import visible_gpus

TAKE = """
import os, sys
from weclick.common.gpus import take_gpus, visible_gpus
taken = take_gpus(int(sys.argv[1]), visible_gpus())
assert os.environ["CUDA_VISIBLE_DEVICES"].split(",") == taken
print(*taken, flush=True)
sys.stdin.read()
"""

CHOOSE = """
import os, sys, torch
from weclick.cli.app import choose_device
torch.cuda.device_count = lambda: 4
device = choose_device("auto", int(sys.argv[1]))
print(device, os.environ["CUDA_VISIBLE_DEVICES"], torch.cuda.is_initialized())
"""


@pytest.fixture
def take(tmp_path):
    """Start a process that takes GPUs and keeps them until its input is closed."""
    running = []

    def start(wanted=1, visible="0,1,2,3", **environment):
        process = subprocess.Popen(
            [sys.executable, "-c", TAKE, str(wanted)],
            env={
                **os.environ,
                "TMPDIR": str(tmp_path),
                "CUDA_VISIBLE_DEVICES": visible,
                **environment,
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()


def end(process):
    process.stdin.close()


def taken(process):
    return process.stdout.readline().split()


def test_processes_that_start_together_take_different_gpus(take):
    processes = [take() for _ in range(4)]
    assert sorted(taken(process)[0] for process in processes) == ["0", "1", "2", "3"]


def test_a_training_on_three_leaves_one(take):
    assert taken(take(3)) == ["0", "1", "2"]
    assert taken(take()) == ["3"]


def test_members_of_the_list_are_taken_whatever_they_are_called(take):
    uuids = "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6, GPU-1f2d0a52-0a52-4106-c12f-000000000000"
    first, second = take(visible=uuids), take(visible=uuids)
    assert sorted(taken(first) + taken(second)) == sorted(uuids.split(", "))
    assert taken(take(visible="3,1")) == ["3"]
    assert taken(take(visible="3,1")) == ["1"]


def test_who_finds_all_taken_says_so_and_waits(take):
    holder = take(2, visible="0,1")
    taken(holder)
    waiting = take(visible="0,1")
    told = waiting.stderr.readline()
    assert f"waiting for 1 GPU: other weclick processes of yours hold 0 (process {holder.pid})" in told
    assert waiting.poll() is None
    end(holder)
    assert taken(waiting) == ["0"]


def test_a_killed_process_frees_its_gpus(take):
    holder = take(2, visible="0,1")
    taken(holder)
    waiting = take(2, visible="0,1")
    assert "waiting for 2 GPUs" in waiting.stderr.readline()
    holder.send_signal(signal.SIGKILL)
    assert taken(waiting) == ["0", "1"]


def test_two_that_want_all_do_not_wait_for_each_other(take):
    holders = [take(visible="0,1") for _ in range(2)]
    for holder in holders:
        taken(holder)
    greedy = [take(2, visible="0,1") for _ in range(2)]
    for process in greedy:
        assert "waiting for 2 GPUs" in process.stderr.readline()
        end(process)  # as soon as it has taken
    for holder in holders:
        end(holder)
    assert [taken(process) for process in greedy] == [["0", "1"], ["0", "1"]]


@pytest.mark.parametrize("visible", ["2", "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"])
def test_one_gpu_is_shared_by_who_was_pinned_to_it(take, visible):
    assert taken(take(visible=visible)) == taken(take(visible=visible)) == [visible]


def test_the_processes_of_one_training_share_what_it_took(take):
    taken(take(2, visible="0,1"))
    assert taken(take(2, visible="0,1", LOCAL_RANK="1")) == ["0", "1"]


def test_the_gpus_of_another_slurm_job_are_others(take):
    given = {"SLURM_STEP_GPUS": "4,5"}
    assert taken(take(visible="0,1", SLURM_JOB_ID="7", **given)) == ["0"]
    assert taken(take(visible="0,1", SLURM_JOB_ID="8", **given)) == ["0"]
    assert taken(take(visible="0,1", SLURM_JOB_ID="8", **given)) == ["1"]


def test_more_than_there_are_is_an_error(take):
    process = take(3, visible="0,1")
    assert re.search(r"InputError: devices is 3, but 2 GPUs are visible \(0, 1\)", process.stderr.read())


def test_a_verb_takes_its_gpus_before_cuda_is_initialised(tmp_path):
    environment = {**os.environ, "TMPDIR": str(tmp_path), "CUDA_VISIBLE_DEVICES": "4,5,6,7"}
    command = [sys.executable, "-c", CHOOSE, "2"]
    told = subprocess.run(command, env=environment, text=True, capture_output=True, check=True).stdout
    assert told.split()[1:] == ["4,5", "False"]


def test_torch_counts_as_many(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert len(visible_gpus()) == torch.cuda.device_count()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == []


def test_one_task_of_slurm_starts_the_processes_of_its_gpus_itself(monkeypatch):
    from lightning_fabric.plugins.environments import SLURMEnvironment

    monkeypatch.setenv("SLURM_JOB_NAME", "teacher")
    monkeypatch.setenv("SLURM_NTASKS", "1")
    assert SLURMEnvironment.detect()
    prepare()
    assert not SLURMEnvironment.detect()


@pytest.mark.parametrize(
    ("visible", "words", "shares"),  # rule: its cores of 8, its GPUs
    [
        ("0,1,2,3", ["devices=2"], {"flow_shard": (2, 1), "evaluate": (2, 1), "student": (4, 2)}),
        pytest.param("", ["devices=2"], {"evaluate": (8, 1), "student": (8, 1)}, marks=pytest.mark.slow),
        pytest.param(
            "0,1,2,3",
            ["devices=1", "--resources", "gpu=2"],
            {"evaluate": (4, 1), "student": (4, 1)},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_workflow_shares_out_cores_and_gpus(tmp_path, repository, visible, words, shares):
    command = ["-m", "snakemake", "--snakefile", repository / "Snakefile", "--cores", "8", "-n", "--config"]
    told = subprocess.run(
        [sys.executable, *command, *words],
        cwd=tmp_path,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": visible},
        text=True,
        capture_output=True,
        check=True,
    ).stdout
    asked = re.findall(r"^rule (\w+):\n(?: .*\n)*? +threads: (\d+)\n +resources:.* gpu=(\d+)", told, re.M)
    found = {rule: (int(threads), int(gpus)) for rule, threads, gpus in asked}
    assert shares.items() <= found.items()


@pytest.mark.parametrize("verb", ["teacher", "student"])
def test_a_training_asks_for_as_many_gpus_as_it_has_devices(monkeypatch, verb):
    def refuse(device, devices=1):
        raise InputError(f"asked for {devices} on {device}")

    monkeypatch.setattr("weclick.cli.training.choose_device", refuse)
    files = [word for name in ("manifest", "clicks", "frames", "val-manifest") for word in (f"--{name}", "x")]
    words = [verb, *files, "--output", "x", "--config", "{}", "--device", "cuda", "--devices", "3"]
    assert str(CliRunner().invoke(app, words).exception) == "asked for 3 on cuda"
