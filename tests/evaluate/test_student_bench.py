"""The students' benchmark: every mode computes the same, and what is counted is right."""

import json
import re

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from weclick.cli import app
from weclick.common.config import load_config
from weclick.common.errors import InputError
from weclick.evaluate.bench.student import (
    FEWEST,
    MODES,
    PAPER,
    STUDENTS,
    bench_students,
    check_mode,
    configured,
    default_modes,
    multiply_adds,
    network_options,
    prepare,
)
from weclick.evaluate.bench.student_table import show
from weclick.models import build_model

SMALL = {"architecture": "deeplabv3plus", "backbone": "mobilenetv2_compact", "num_classes": 5, "channels": 16}


def agreement(mode: str, device: str = "cpu") -> float:
    """Share of the pixels whose class is that of the plain network."""
    torch.manual_seed(0)
    network = build_model(**SMALL)
    image = torch.nn.functional.interpolate(torch.randn(1, 3, 6, 8, device=device), size=(96, 131))
    with torch.no_grad():
        plain, other = (prepare(network, MODES[name], image)() for name in ("eager", mode))
    assert plain.shape == other.shape == (1, 96, 131)
    assert plain.dtype == other.dtype == torch.uint8
    assert plain.unique().numel() > 1
    return (plain == other).float().mean().item()


@pytest.mark.parametrize(
    ("mode", "least"),
    [
        ("channels_last", 0.999),
        ("fused", 0.999),
        ("bf16", 0.9),
        pytest.param("compile", 0.999, marks=pytest.mark.slow),
    ],
)
def test_modes_give_the_same_classes(mode, least):
    assert agreement(mode) > least


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("mode", ["fused", "bf16", "cuda_graph"])
def test_modes_give_the_same_classes_on_a_gpu(mode):
    assert agreement(mode, "cuda") > 0.9


@pytest.mark.parametrize("mode", ["onnx", "openvino", "int8"])
def test_other_runtimes_give_the_same_classes(mode):
    pytest.importorskip("openvino" if mode == "openvino" else "onnxscript", reason="needs the extra [export]")
    torch.manual_seed(0)
    network = build_model("deeplabv3plus", "mobilenetv2_compact", 4, channels=16).eval()
    image = torch.randn(1, 3, 6, 8)
    image = torch.nn.functional.interpolate(image, (64, 96), mode="bicubic")
    with torch.no_grad():
        wanted = prepare(network, MODES["eager"], image)()
        found = prepare(network, MODES[mode], image)()
    assert found.shape == wanted.shape == (1, 64, 96)
    assert (found == wanted).float().mean() >= (0.5 if mode == "int8" else 0.999)


def test_rows_tell_network_size_mode_and_speed():
    result = bench_students({"small": SMALL}, sizes=[(40, 48), (48, 64)], modes=("eager", "fused"), seconds=0)
    assert result["machine"]["device"] == "cpu"
    assert result["machine"]["load"]["busy"] in (True, False)
    told = [(row["network"], row["size_px"], row["mode"]) for row in result["table"]]
    assert told == [("small", size, mode) for size in ([40, 48], [48, 64]) for mode in ("eager", "fused")]
    for row in result["table"]:
        assert row["rounds"] == FEWEST
        assert row["frames_per_second"] == pytest.approx(1e3 / row["ms_per_frame"], rel=1e-2)
        assert row["paper_frames_per_second"] is None
    assert json.loads(json.dumps(result)) == result


def test_a_network_of_two_streams_gets_a_stack_of_flow():
    two = {**SMALL, "architecture": "two_stream", "stack_length": 2}
    (row,) = bench_students({"two": two}, sizes=[(40, 48)], modes=("fused",), seconds=0)["table"]
    assert row["rounds"] == FEWEST
    still = {**SMALL, "architecture": "two_stream", "fusion": "none"}
    assert row["multiply_adds"] > 1.5 * multiply_adds(still, (40, 48))


def test_multiply_adds_are_those_of_the_convolutions():
    counted = 0

    def count(conv, inputs, output):
        nonlocal counted
        counted += output.numel() * conv.weight[0].numel()

    network = build_model(**SMALL).eval()
    for part in network.modules():
        if isinstance(part, nn.Conv2d):
            part.register_forward_hook(count)
    network(torch.zeros(1, 3, 41, 53))
    assert multiply_adds(SMALL, (41, 53)) == counted


def test_the_papers_speeds_are_those_of_its_students():
    assert {name: PAPER[name].frames_per_second[1024, 2048] for name in STUDENTS} == {
        "DL-R18": 22.06,
        "DL-Mob": 25.97,
        "PSP-R18": 15.63,
        "PSP-Mob": 52.23,
    }
    assert PAPER["DL-R18"].frames_per_second[352, 480] == 128.3


def test_the_page_of_the_networks_counts_as_the_code_does(repository):
    page = (repository / "docs/networks.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (DL|PSP)-(\w+) \|.*\| ([\d,]+) \| .* \| ([\d.]+) G \|$", page, re.M)
    assert [f"{head}-{backbone}" for head, backbone, *_ in rows] == list(PAPER)
    for head, backbone, parameters, giga in rows:
        options = network_options(f"{head}-{backbone}")
        with torch.device("meta"):
            network = build_model(**options)
        assert f"{sum(parameter.numel() for parameter in network.parameters()):,}" == parameters
        assert f"{multiply_adds(options, (1024, 2048)) / 1e9:.1f}" == giga


def test_the_configured_student_and_the_size_of_its_frames(street):
    options, size = configured(street.config)
    assert size == street.val.clips[0].size
    assert (options["num_classes"], options["channels"]) == (9, 16)
    build_model(**options)
    student = {**street.config["student"], "architecture": "two_stream", "late_fusion": "concat_conv"}
    two = {**street.config, "student": student, "stack": {**street.config["stack"], "length": 3}}
    assert build_model(**configured(two)[0]).stack_length == 3
    still = {**two, "student": {**student, "fusion": "none"}}
    assert build_model(**configured(still)[0]).stack_length == 0
    shrunk = {**street.config, "data": {**street.config["data"], "shrink": 2}}
    assert configured(shrunk)[1] == (32, 48)


def test_a_cpu_is_not_asked_for_what_takes_minutes():
    assert set(default_modes("cpu")) <= {"eager", "channels_last", "fused", "bf16"}
    assert "cuda_graph" in default_modes("cuda")


def test_errors_teach(monkeypatch):
    with pytest.raises(
        InputError, match=r"--network 'DL': is none of DL-R101.*architecture:backbone such as"
    ):
        network_options("DL")
    with pytest.raises(ValueError, match="backbone is 'vgg', expected one of resnet18"):
        bench_students({"x": network_options("pspnet:vgg")}, modes=("eager",))
    with pytest.raises(InputError, match="--mode 'fast': expected one of eager, channels_last"):
        check_mode("fast", "cpu")
    with pytest.raises(InputError, match="--mode cuda_graph: needs a GPU, but the device is cpu"):
        bench_students({"small": SMALL}, modes=("eager", "cuda_graph"))
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(InputError, match=r"--mode compile: needs a C\+\+ compiler"):
        check_mode("compile", "cpu")


def test_the_verb_prints_a_table_and_writes_its_figures(street, tmp_path):
    config = json.dumps(street.config)
    assert load_config(config)["student"]["channels"] == 16
    words = ["--network", "deeplabv3plus:mobilenetv2_compact", "--size", "48x64", "--mode", "eager"]
    path = tmp_path / "speed.json"
    options = [*words, "--seconds", "0", "--threads", "1", "--device", "cpu", "--config", config]
    done = CliRunner().invoke(app, ["bench", "student", *options, "--json", str(path)])
    assert done.exit_code == 0, done.output
    assert "paper, V100" in done.output
    rows = json.loads(path.read_text(encoding="utf-8"))["table"]
    assert [(row["network"], row["size_px"]) for row in rows] == [
        (name, size)
        for name in ("deeplabv3plus:mobilenetv2_compact", "student")
        for size in ([48, 64], [64, 96])
    ]
    wrong = CliRunner().invoke(app, ["bench", "student", "--size", "48"])
    assert wrong.exit_code == 2
    assert "HxW" in wrong.output


def test_a_busy_machine_is_told_below_the_table(capsys):
    busy = {"cores": 2, "threads": 1, "load_average": 7.2, "waited_share": 0.4, "busy": True}
    show({"machine": {"device": "cpu", "load": busy}, "table": []})
    assert "measured on a busy machine (load 7.2 on 2 cores" in capsys.readouterr().out
    show({"machine": {"device": "cpu", "load": {**busy, "busy": False}}, "table": []})
    show({"machine": {"device": "cpu"}, "table": []})
    assert "busy" not in capsys.readouterr().out
