"""All claims of speed in one table, each measured anew, beside what is committed and what is asked.

    python -m benchmarks                   # all of them, two cores, under 20 minutes; run nothing else
    python -m benchmarks --only walk cams  # some of them
    python -m benchmarks --told            # the committed figures of the scripts, at once
    python -m benchmarks --markdown        # the table of docs/speed.md, from the last run of all

Each row is one figure of a script here, which runs with few rounds. The scripts by themselves measure more
and longer; `--help` of each says what. A claim that does not hold here is told, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from weclick.common.machine import machine, versions

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
Found = Mapping[str, Any]


@dataclass(frozen=True)
class Claim:
    """A figure that some script measures.

    Attributes:
        says: what the figure is.
        script: that measures it; its result has the same name, unless `result` names another.
        figure: takes it from the result; None where something it needs was absent.
        asked: its bound; None where the figure is only told.
        at_least: whether the bound is the least value, not the largest.
        options: that make the script short.
        result: name of its JSON without the ending.
    """

    says: str
    script: str
    figure: Callable[[Found], float | None]
    asked: float | None = None
    at_least: bool = True
    options: tuple[str, ...] = ()
    result: str = ""

    @property
    def file(self) -> str:
        """Name of the result's file."""
        return f"{self.result or self.script}.json"

    def holds(self, figure: float | None) -> bool | None:
        """Whether a figure keeps the bound; None where nothing is known or asked."""
        if figure is None or self.asked is None:
            return None
        return figure >= self.asked if self.at_least else figure <= self.asked


def _reader(name: str) -> Callable[[Found], float | None]:
    """Processor time of another reader over ours, by the cores where it is least; None if it was absent.

    Results that tell no processor time give that on the wall.
    """

    def ratio(found: Found) -> float | None:
        rows = [row for row in found["table"] if row["reader"] == name]
        return min(
            (float(row.get("cpu_over_weclick", row["read_over_weclick"])) for row in rows), default=None
        )

    return ratio


def _job(figure: str) -> Callable[[Found], float]:
    return lambda found: float(max(job["now"][figure] for job in found["jobs"].values()))


def _labels(precision: str) -> Callable[[Found], float]:
    """The least of all teachers."""

    def ratio(found: Found) -> float:
        return float(min(each[precision]["older_to_this_cpu_seconds"] for each in found["teachers"].values()))

    return ratio


def _flow(masks: str) -> Callable[[Found], float]:
    return lambda found: float(
        next(row["bare_over_ours_cpu"] for row in found["table"] if row["masks"] == masks)
    )


CRF, READS = ("--sizes", "192"), ("--samples", "8", "--only", "readers")
JOBS = ("--against", "b832034", "--clips", "40", "--repeats", "3")
LOSSES = ("--size", "384", "--rounds", "2")
LISTED = ("--rounds", "3")
LABELS = ("--against", "4c800f8", "--teachers", "lite", "mobilenetv2", "--rounds", "2")
PAIRS = ("--frames", "5", "--rounds", "3")

CLAIMS = (
    Claim(
        "Gated CRF: times faster than unfolding",
        "gated_crf",
        lambda found: found["table"][0]["times_faster"],
        options=CRF,
        asked=20,
    ),
    Claim(
        "Gated CRF: share of unfolding's memory",
        "gated_crf",
        lambda found: found["table"][0]["share_of_memory"],
        options=CRF,
        asked=0.02,
        at_least=False,
    ),
    Claim(
        "Eq. 5: share of the student's forward and backward",
        "losses",
        lambda found: found["eq_5_share_of_student"],
        options=LOSSES,
        asked=0.03,
        at_least=False,
    ),
    Claim("CPU time of a sample: zarr-python over ours", "reads", _reader("zarr-python"), 4, options=READS),
    Claim(
        "CPU time of a sample: h5py over ours, chunks as ours", "reads", _reader("hdf5"), 1.5, options=READS
    ),
    Claim(
        "CPU time of a sample: litdata over ours, compressed as ours",
        "reads",
        _reader("litdata"),
        0.77,
        options=READS,
    ),
    Claim(
        "dense CRF, 41x41x21, 10 iterations: CPU-s",
        "crf_mean_field",
        lambda found: next(row["cpu_seconds"] for row in found["table"] if row["what"] == "exact"),
        asked=0.3,
        at_least=False,
    ),
    Claim(
        "random walk of 6 maps at 480x854: CPU-s",
        "walk",
        lambda found: found["table"][-1]["cpu_seconds"],
        asked=1.5,
        at_least=False,
        options=("--rounds", "3"),
    ),
    Claim(
        "class maps of a frame, 240x432, two scales, flips: CPU-s",
        "cams",
        lambda found: found["cpu_seconds_a_frame"]["two scales, flips"]["both"],
        asked=2,
        at_least=False,
    ),
    Claim(
        "clicks of a label, 360x480: bare loop over ours",
        "components",
        lambda found: found["table"][0]["bare_to_clicks_cpu"],
        asked=0.8,
    ),
    Claim(
        "values of a label, 1024x2048: np.unique over ours",
        "label_reading",
        lambda found: found["table"]["ids"]["check_by_unique_ms"] / found["table"]["ids"]["check_read_ms"],
        asked=3,
    ),
    Claim(
        "flow by DIS, photometric mask: bare loop over ours",
        "flow_stage",
        _flow("photometric"),
        0.75,
        options=PAIRS,
    ),
    Claim(
        "flow by DIS, both masks: bare loop over ours", "flow_stage", _flow("both masks"), 0.75, options=PAIRS
    ),
    Claim(
        "soft labels in bfloat16: the stage of 4c800f8 over ours",
        "soft_labels",
        _labels("bfloat16"),
        1.8,
        options=LABELS,
    ),
    Claim("soft labels in float32: the same", "soft_labels", _labels("float32"), 1.15, options=LABELS),
    Claim(
        "RAFT, large: share saved by one upsampling",
        "raft_updates",
        lambda found: found["table"]["large"]["saved"],
        options=("--rounds", "3"),
    ),
    Claim("a job with nothing to do: CPU-s", "no_op_jobs", _job("cpu_s"), 0.7, False, JOBS),
    Claim("a job with nothing to do: MiB", "no_op_jobs", _job("peak_mib"), 150, False, JOBS),
    Claim(
        "cache ls of 20,000 entries: s",
        "cache_ls",
        lambda found: found["table"][0]["ls_first_wall_s"],
        asked=2,
        at_least=False,
        options=LISTED,
    ),
)


def main() -> None:
    options, load = parse_options(), os.getloadavg()[0]
    if options.markdown:
        print(markdown(json.loads(options.output.read_text(encoding="utf-8"))))
        return
    chosen = [claim for claim in CLAIMS if not options.only or claim.script in options.only]
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        now = {} if options.told else measured(chosen, Path(folder))
    rows = [row(claim, now.get(claim.script)) for claim in chosen]
    print_table(rows, told=options.told)
    if options.told:
        return
    print(f"{(time.perf_counter() - began) / 60:.1f} minutes")
    if not options.only:
        report = {
            "machine": machine() | {"load_before": round(load, 2)},
            "versions": versions("torch", "numpy", "tensorstore"),
            "minutes": round((time.perf_counter() - began) / 60, 1),
            "claims": rows,
        }
        options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        print(f"written to {options.output}")
    if any(each["holds"] is False for each in rows):
        sys.exit(1)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    scripts = sorted({claim.script for claim in CLAIMS})
    parser.add_argument("--only", nargs="+", choices=scripts, metavar="SCRIPT", help=", ".join(scripts))
    parser.add_argument("--told", action="store_true", help="measure nothing, show what is committed")
    parser.add_argument("--markdown", action="store_true", help="measure nothing, print the last run")
    parser.add_argument("--output", type=Path, default=RESULTS / "claims.json", help="JSON to write")
    return parser.parse_args()


def measured(claims: Sequence[Claim], folder: Path) -> dict[str, Found]:
    """Run each script once, and read its result; a script that fails is told, and has none."""
    found: dict[str, Found] = {}
    for claim in {claim.script: claim for claim in claims}.values():
        output = folder / claim.file
        print(f"{claim.script} ...", file=sys.stderr, flush=True)
        command = [sys.executable, HERE / f"{claim.script}.py", *claim.options, "--output", output]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if output.is_file():
            found[claim.script] = json.loads(output.read_text(encoding="utf-8"))
        else:
            last = (done.stderr.strip().splitlines() or ["it printed no error"])[-1]
            print(f"{claim.script} ended with {done.returncode} and no result: {last}", file=sys.stderr)
    return found


def row(claim: Claim, found: Found | None) -> dict[str, Any]:
    """What a line of the table tells."""
    committed = RESULTS / claim.file
    told = json.loads(committed.read_text(encoding="utf-8")) if committed.is_file() else None
    taken = (None if each is None else claim.figure(each) for each in (found, told))
    now, before = (None if figure is None else round(figure, 4) for figure in taken)
    return {
        "claim": claim.says,
        "script": claim.script,
        "now": now,
        "committed": before,
        "asked": claim.asked,
        "at_least": claim.at_least,
        "holds": claim.holds(before if found is None else now),
    }


def bound(each: Mapping[str, Any]) -> str:
    """What is asked of a row."""
    return "" if each["asked"] is None else f"{'≥' if each['at_least'] else '≤'} {each['asked']:g}"


def markdown(report: Mapping[str, Any]) -> str:
    """The table of a run, and its machine."""
    lines = ["| claim | measured | asked | holds |", "|---|---|---|---|"]
    for each in report["claims"]:
        held = {True: "yes", False: "**no**", None: ""}[each["holds"]]
        now = "?" if each["now"] is None else f"{each['now']:g}"
        lines.append(f"| {each['claim']} (`{each['script']}`) | {now} | {bound(each)} | {held} |")
    where = report["machine"]
    told = ", ".join(f"{name} {number}" for name, number in report["versions"].items())
    told = f"{where['processor']}, {where['cores']} cores, load {where['load_before']} before; {told}."
    return "\n".join([*lines, "", f"{told} It took {report['minutes']} minutes."])


def print_table(rows: Sequence[Mapping[str, Any]], *, told: bool) -> None:
    """The rows, with a word on each whether it holds."""
    table = Table("claim", "script", *(() if told else ("now",)), "committed", "asked", "holds")
    for each in rows:
        shown = {True: "yes", False: "[bold red]no[/]", None: "told"}[each["holds"]]
        figures = [each["committed"]] if told else [each["now"], each["committed"]]
        words = ["?" if figure is None else f"{figure:g}" for figure in figures]
        table.add_row(each["claim"], each["script"], *words, bound(each), shown)
    Console(width=None if sys.stdout.isatty() else 140).print(table)


if __name__ == "__main__":
    main()
