import json
import platform
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from weclick import cli
from weclick.common.config import SECTIONS
from weclick.manifest import write_manifest
from weclick.store import read_index


@pytest.fixture
def run(verb):
    """Runs `weclick` as the shell does; gives exit status and what it said on stderr."""

    def call(*words):
        status, said = verb(*words)
        return status, said.err

    return call


def test_every_stage_has_a_verb_and_every_option_a_help():
    verbs = {command.name or command.callback.__name__ for command in cli.app.registered_commands}
    assert verbs >= {name.replace("_", "-") for name in SECTIONS}
    runner = CliRunner()
    for verb in verbs:
        told = runner.invoke(cli.app, [verb, "--help"], terminal_width=200)
        assert told.exit_code == 0
        assert "--config" in told.output or "--help" in told.output


def test_stages_run_by_hand(run, street, tmp_path):
    config = json.dumps({**street.config, "cache": {"roots": [str(tmp_path / "store")]}})
    shard = tmp_path / "results" / "manifest" / "train" / "0.json"
    assert run("manifest", "--config", config, "--split", "train", "--output", shard) == (0, "")
    for stage in ("frames", "flow"):
        index = tmp_path / f"{stage}.json"
        assert run(stage, "--config", config, "--manifest", shard, "--output", index)[0] == 0
        assert set(read_index([index], stage)) == {clip.id for clip in street.train.clips}
    table, text = tmp_path / "clicks.h5", tmp_path / "clicks.json"
    words = ["--manifest", shard, "--output", table, "--json", text]
    assert run("clicks", "--config", config, *words)[0] == 0
    assert table.is_file()
    assert json.loads(text.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["flow", "--config", "{flow: {stride_px: 0}}"], "flow.stride_px: 0 is less than the minimum of 1"),
        (["flow", "--config", "none.yaml"], "none.yaml: cannot be read"),
        (["flow", "--config", "{}", "--device", "cuda"], "torch finds no GPU"),
        (["flow", "--config", "{}", "--set", "flow.estimator=x"], "'x' is not one of"),
    ],
)
def test_errors_are_one_line_and_status_1(run, street, tmp_path, words, told):
    import torch

    if torch.cuda.is_available():
        pytest.skip("a GPU is here, so asking for one is no error")
    write_manifest(street.train, tmp_path / "m.json")
    words = [*words, "--manifest", tmp_path / "m.json", "--output", tmp_path / "out.json"]
    status, said = run(*words)
    assert status == 1
    assert said.startswith("weclick: error: ")
    assert told in said
    assert "Traceback" not in said
    assert not (tmp_path / "out.json").exists()


def test_a_configuration_that_weclick_brings_is_known_by_its_name_everywhere(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, said = run("manifest", "--config", "folder", "--split", "train", "--output", "m.json")
    assert (status, "data/mine" in said) == (1, True)
    status, said = run("doctor", "--config", "demo", "--quick")
    assert (status, said) == (0, "")
    for name in ("dmeo", "config/demo.yaml"):
        status, said = run("flow", "--config", name, "--manifest", "m.json", "--output", "f.json")
        assert status == 1
        assert f"{name}: cannot be read, there is no such file" in said
        assert "the weclick.yaml that `weclick init` writes, or the name of one that weclick brings" in said


def test_the_help_names_commands_that_need_no_checkout():
    told = CliRunner().invoke(cli.app, ["--help"], terminal_width=200).output
    assert "weclick run demo" in told
    assert "snakemake" not in told


def test_the_help_keeps_the_brackets_of_an_extra():
    told = CliRunner().invoke(cli.app, ["click", "--help"], terminal_width=200).output
    assert "pip install 'weclick[click]'" in told


def test_the_traceback_is_there_for_those_who_ask(run, monkeypatch):
    monkeypatch.setenv("WECLICK_TRACEBACK", "1")
    with pytest.raises(ValueError, match=r"none\.yaml"):
        run("toy", "--config", "none.yaml")


def test_help_loads_nothing_heavy():
    """So that `weclick --help` answers at once, and completion in the shell too."""
    code = "import sys, weclick.cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=True).stdout
    assert not {"torch", "zarr", "tensorstore", "cv2", "skimage", "matplotlib", "av"} & set(loaded.split())


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has mallopt")
def test_freed_memory_is_kept_for_the_next_step():
    def held_mib(before):
        code = (
            f"import numpy as np; from weclick.cli.app import keep_freed_memory; {before}\n"
            "block = np.ones(2**27, np.uint8); del block\n"
            "print(int(open('/proc/self/statm').read().split()[1]) // 256)"
        )
        return int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout)

    assert held_mib("keep_freed_memory()") - held_mib("") > 100
