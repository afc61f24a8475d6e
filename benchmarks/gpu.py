"""What weclick promises on a GPU, measured in at most eight minutes: GPU tests, and figures beside limits.

    PYTHONPATH=. python benchmarks/gpu.py                  # run nothing else meanwhile
    PYTHONPATH=. python benchmarks/gpu.py --plan           # what it would do; needs no GPU
    PYTHONPATH=. python benchmarks/gpu.py --only flow      # some parts; `limits` always runs
    PYTHONPATH=. python benchmarks/gpu.py --device cpu --small --output try.json  # tries the script itself

Each part runs in a process of its own and has a limit of seconds. A part that needs a package that is not
there is left out. A part that fails, or is cut short, is told with its error; the others go on. "Limit" is
the most that this machine allows, by its matrix products and copies, which are measured first.

The exit status is 0 if all parts were measured and all that is asked holds, 1 if not, and 2 without a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gpu_runs import GRACE_S, error_of, missing, run_within, tests_command, tests_found, without

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
SECONDS = 470
"""For all parts together."""

WORTH_S = 10
"""A part is not begun with fewer seconds than these."""

PATIENCE = 10
"""So many times longer a part may take with --small, on a CPU that others use, too."""

Found = dict[str, Any]

NETWORKS = ("PIL", "cv2", "safetensors", "torchvision")
SETTINGS = (*NETWORKS, "jsonschema", "yaml")
STORE = (*SETTINGS, "cc3d", "google_crc32c", "h5py", "pycocotools", "scipy", "skimage", "tensorstore", "zarr")
OBJECTS = ("PIL", "cc3d", "cv2", "h5py", "jsonschema", "scipy", "skimage")
TRAINING = (*STORE, "lightning_fabric", "tensorboard")


@dataclass(frozen=True)
class Part:
    """A part of the run.

    Attributes:
        name: of it.
        does: what, in a few words.
        limit_s: seconds that it gets at most.
        needs: modules, beside those in BASE.
    """

    name: str
    does: str
    limit_s: int
    needs: tuple[str, ...] = ()


BASE = ("numpy", "rich", "torch")
PARTS = (
    Part("limits", "matrix products and copies of this GPU", 40),
    Part("tests", "pytest -m gpu", 120, (*TRAINING, "pytest", "typer")),
    Part("flow", "FlowNet2 at 1024x2048, by precision and batch", 70, NETWORKS),
    Part("soft_labels", "the stage beside its network, ResNet101, 1024x2048", 80, TRAINING),
    Part("data_wait", "40 steps of a training, ResNet-18, crops of 768 px", 80, TRAINING),
    Part("losses", "Eq. 5 and Gated CRF beside the student", 40, SETTINGS),
    Part("flow_without_kernel", "FlowNet2, correlation by matrix products", 30, NETWORKS),
    Part("components", "clicks of a label, GPU beside CPU", 20, OBJECTS),
    Part("students", "frames a second of the students at 1024x2048", 30, (*SETTINGS, "pycocotools")),
)
"""In order of worth."""


def main() -> None:
    options = parse_options()
    chosen = [part for part in PARTS if not options.only or part.name in ("limits", *options.only)]
    absent = {part.name: missing(part.needs) for part in chosen}
    if options.plan:
        show_plan(chosen, absent)
        return
    check_machine(options)
    for part in chosen:
        if absent[part.name]:
            print(f"{part.name}: left out, {without(absent[part.name])}", file=sys.stderr)
    if options.device == "cuda" and not find_spec("cupy"):
        print("CuPy is not installed: nothing tells of its kernels", file=sys.stderr)
    report = measured(chosen, absent, options)
    print_table(report)
    failed = any(part["status"] != "measured" for part in report["parts"].values())
    if failed or any(line["holds"] is False for line in report["claims"]):
        sys.exit(1)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [part.name for part in PARTS]
    add = parser.add_argument
    add("--plan", action="store_true", help="measure nothing, print the parts and their seconds")
    add("--only", nargs="+", choices=names, metavar="PART", help=", ".join(names))
    add("--seconds", type=float, default=SECONDS, help=f"for all parts together (default {SECONDS})")
    add("--device", choices=["cuda", "cpu"], default="cuda")
    add("--small", action="store_true", help="tiny sizes; nothing is asked of their figures")
    add("--folder", type=Path, help="where to put drawn data (default: the system's temporary folder)")
    add("--output", type=Path, help="JSON to write (default results/gpu.json; none with --device cpu)")
    options = parser.parse_args()
    if options.device == "cpu" and not options.small:
        parser.error("--device cpu is there to try the script, give --small, too")
    if options.device == "cuda":
        options.output = options.output or HERE / "results" / "gpu.json"
    return options


# --- before it begins ---------------------------------------------------------------------------------------


def check_machine(options: argparse.Namespace) -> None:
    """End with status 2 and one line if there is no GPU, or nothing can run at all."""
    if absent := missing(BASE):
        stop(without(absent))
    import torch

    if options.device == "cuda" and not torch.cuda.is_available():
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        stop(
            f"torch {torch.__version__} ({built}) finds no CUDA device; run this where nvidia-smi shows "
            "a GPU, or try the script itself by --device cpu --small"
        )
    if find_spec("weclick") is None:
        stop(f"weclick is not installed; set PYTHONPATH={ROOT}")


def stop(why: str) -> None:
    print(f"gpu.py: error: {why}", file=sys.stderr)
    sys.exit(2)


def show_plan(parts: Sequence[Part], absent: Mapping[str, Sequence[str]]) -> None:
    for part in parts:
        left_out = f"; left out here, {without(absent[part.name])}" if absent[part.name] else ""
        print(f"{part.name:20} at most {part.limit_s:3} s  {part.does}{left_out}")
    print(f"{'all':20} at most {min(SECONDS, sum(part.limit_s for part in parts)):3} s")


# --- the parts ----------------------------------------------------------------------------------------------


def measured(
    parts: Sequence[Part], absent: Mapping[str, Sequence[str]], options: argparse.Namespace
) -> Found:
    """Run the parts. The report is written after each, so a run that is killed leaves what it had."""
    from weclick.common.machine import machine, versions

    load, began = os.getloadavg()[0], time.perf_counter()
    report: Found = {
        "machine": machine(options.device) | {"load_before": round(load, 2)},
        "versions": versions("torch", "numpy"),
        "options": {"device": options.device, "small": options.small, "seconds": options.seconds},
        "claims": [],
        "parts": {},
    }
    with tempfile.TemporaryDirectory(prefix="weclick-gpu-") as name:
        for part in parts:
            left = options.seconds - (time.perf_counter() - began)
            found = one(part, absent[part.name], left, report, Path(name), options)
            report["claims"] += [
                {"part": part.name, **line, "holds": holds(line, options)} for line in found.pop("claims", ())
            ]
            report["parts"][part.name] = found
            report["minutes"] = round((time.perf_counter() - began) / 60, 2)
            print(f"{part.name}: {told(found)}", file=sys.stderr, flush=True)
            if options.output:
                options.output.parent.mkdir(parents=True, exist_ok=True)
                options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return report


def one(
    part: Part,
    absent: Sequence[str],
    left_s: float,
    report: Found,
    folder: Path,
    options: argparse.Namespace,
) -> Found:
    """What a part found, and how it ended: measured, failed, cut short or left out."""
    if absent:
        return {"status": "left out", "why": without(absent)}
    limit_s = min(part.limit_s * (PATIENCE if options.small else 1), left_s - GRACE_S)
    if limit_s < WORTH_S:
        return {"status": "left out", "why": f"{max(left_s, 0):.0f} s of {options.seconds:.0f} s were left"}
    print(f"{part.name} (at most {limit_s:.0f} s): {part.does} ...", file=sys.stderr, flush=True)
    output, began = folder / part.name, time.perf_counter()
    if part.name == "tests":
        command = tests_command(ROOT, output, options.small)
    else:
        rates = report["parts"].get("limits", {}).get("rates", {})
        command = [HERE / "gpu_parts.py", part.name, "--device", options.device, "--output", output]
        command += ["--rates", json.dumps(rates), *(["--small"] if options.small else [])]
        command += ["--folder", options.folder] if options.folder else []
    status, last_lines = run_within(command, limit_s, ROOT, folder / "log")
    seconds = round(time.perf_counter() - began, 1)
    found: Found = {}
    if output.is_file() and part.name == "tests":
        found = tests_found(output, last_lines, complete=status is not None)
    elif output.is_file():
        found = json.loads(output.read_text(encoding="utf-8"))
    if status == 0 or (status == 1 and found.get("failed")):  # pytest gives 1 if a test failed
        return {"status": "measured", "seconds": seconds, **found}
    ended = ("cut short", f"it took longer than {limit_s:.0f} s") if status is None else None
    how, why = ended or ("failed", error_of(last_lines))
    return {"status": how, "why": why, "seconds": seconds, **found, "last_lines": last_lines}


def holds(line: Mapping[str, Any], options: argparse.Namespace) -> bool | None:
    """Whether a figure keeps what is asked; None where nothing is, or of tiny sizes."""
    if options.small or line["asked"] is None or line["measured"] is None:
        return None
    return line["measured"] >= line["asked"] if line["at_least"] else line["measured"] <= line["asked"]


# --- telling ------------------------------------------------------------------------------------------------


def told(part: Mapping[str, Any]) -> str:
    """How a part ended."""
    after = f" after {part['seconds']} s" if "seconds" in part else ""
    return f"{part['status']}{after}{': ' + part['why'] if 'why' in part else ''}"


def print_table(report: Found) -> None:
    """All figures, then what was not measured, and the tests that failed or were skipped."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 140)
    table = Table("figure", "asked", "measured", "limit", "of the limit", "holds")
    for line in report["claims"]:
        measured, limit = line["measured"], line["limit"]
        asked = f"{'≥' if line['at_least'] else '≤'} {line['asked']:g}" if line["asked"] is not None else ""
        share = f"{measured / limit:.0%}" if measured is not None and limit and line["at_least"] else ""
        held = {True: "yes", False: "no", None: ""}[line["holds"]]
        figures = ["" if figure is None else f"{figure:g}" for figure in (measured, limit)]
        table.add_row(line["claim"], asked, *figures, share, held)
    console.print(table)
    for name, part in report["parts"].items():
        if part["status"] != "measured":
            console.print(f"{name}: {told(part)}", markup=False)
    tests = report["parts"].get("tests", {}).get("not_passed", ())
    for why, count in Counter(test["why"] for test in tests if test["outcome"] == "skipped").items():
        console.print(f"{count} skipped: {why}", markup=False)
    for test in tests:
        if test["outcome"] == "failed":
            console.print(f"failed: {test['test']}: {test['why']}", markup=False)
    console.print(f"{report['machine']['device']}; {report['minutes']} minutes", markup=False)


if __name__ == "__main__":
    main()
