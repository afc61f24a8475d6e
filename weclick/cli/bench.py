"""`weclick bench`: how fast the parts of a run are on this machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from weclick.cli.app import Device, Set, app, choose_device
from weclick.common.config import load_config
from weclick.common.files import write_text
from weclick.common.strict_json import strict_json

bench = typer.Typer(no_args_is_help=True, help="Measure how fast parts of a run are on this machine.")
app.add_typer(bench, name="bench")


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if not match:
        raise typer.BadParameter(f"is {text!r}, expected HxW in pixels, e.g. 360x480")
    return int(match[1]), int(match[2])


@bench.command()
def student(
    network: Annotated[
        list[str] | None,
        typer.Option(
            help="DL-R18, DL-Mob, PSP-R18, PSP-Mob (the default: these four), DL-R34, DL-R101, PSP-R101, or "
            "architecture:backbone; may be repeated."
        ),
    ] = None,
    size: Annotated[
        list[Any] | None,
        typer.Option(
            help="Frames' HxW in px; may be repeated. Default: 1024x2048 and 352x480.",
            parser=_size,
            metavar="HxW",
        ),
    ] = None,
    mode: Annotated[
        list[str] | None,
        typer.Option(
            help="eager, channels_last, fused, bf16, compile, bf16_compile or cuda_graph; or, on a CPU, "
            "onnx, openvino or int8; may be repeated. Default: the first seven on a GPU; on a CPU the first "
            "three, and bf16 where the CPU has it."
        ),
    ] = None,
    config: Annotated[
        str | None, typer.Option(help="Also measure this configuration's student, and at its frames' size.")
    ] = None,
    change: Set = None,
    seconds: Annotated[
        float, typer.Option(min=0.0, help="Time for each network at each size; at least three rounds.")
    ] = 10.0,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads. Default: all cores.")] = None,
    output: Annotated[Path | None, typer.Option("--json", help="Also write the figures here.")] = None,
    device: Device = "auto",
) -> None:
    """Measure frames a second of students, beside the paper's on a V100.

    Networks have random weights. They turn one normalised image at a time into a class map of its size.
    Figures are medians over rounds in which the modes take turns. channels_last changes the memory order.
    fused also folds batch norm into the convolutions. bf16 and compile (torch.compile) build on fused.
    cuda_graph is bf16, recorded and replayed. onnx, openvino and int8 are the files of weclick export in
    ONNX Runtime and OpenVINO; what int8 costs in mIoU is told by weclick export --score. Run it on a quiet
    machine.

    Examples:

        weclick bench student

        weclick bench student --network DL-Mob --size 360x480 --mode fused --mode compile

        weclick bench student --network DL-Mob --mode fused --mode onnx --mode openvino --mode int8

        weclick bench student --config config/mine.yaml --json speed.json
    """
    chosen = choose_device(device)
    import torch

    from weclick.evaluate.bench.student import SIZES, STUDENTS, bench_students, configured, network_options
    from weclick.evaluate.bench.student_table import show

    if threads:
        torch.set_num_threads(threads)
    networks = {name: network_options(name) for name in network or STUDENTS}
    sizes = list(size or SIZES)
    if config:
        networks["student"], own_size = configured(load_config(config, change or ()))
        sizes.append(own_size)
    result = bench_students(
        networks, sizes=list(dict.fromkeys(sizes)), modes=mode, device=chosen, seconds=seconds
    )
    show(result)
    if output:
        write_text(output, strict_json(result, indent=1) + "\n")
        print(f"figures in {output}")
