"""Does a student of F2F know more than its own kind of labels?

The student of a finished run is scored on frames that it never saw. On these same frames the run's own
classifier makes proxy labels, with the settings of the run and the frames' true tags, which the student does
not get. Both are compared with the true labels. Where a proxy label says nothing, it counts once as
wrong (`all_pixels`), and once not at all (`labelled_pixels`).

    snakemake --cores 2 all --configfile config/f2f_davis.yaml --config seed=0 results=f2f/0
    python benchmarks/f2f_over_proxies.py f2f/0 f2f/1 f2f/2

Each folder holds the results of one seed, of any configuration with held_out: other_frames and one shard.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from reads import show

from weclick.common.files import read_json
from weclick.common.machine import machine, versions
from weclick.evaluate.proxy_quality import read_quality
from weclick.manifest import Manifest, read_manifest
from weclick.manifest.manifest_file import write_manifest
from weclick.runs.experiment.statistics import estimate
from weclick.runs.layout import Layout

HERE = Path(__file__).resolve().parent
BASES = ("labelled_pixels", "all_pixels")


def main() -> None:
    options, load = parse_options(), os.getloadavg()[0]
    rows = [compared(Layout(results)) for results in options.results]
    report = {
        "machine": machine() | {"load_before": round(load, 2)},
        "versions": versions("torch", "numpy"),
        "seeds": rows,
        "student_minus_proxies": {
            base: estimate([row["student"] - row[base] for row in rows]) for base in BASES
        },
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    show(rows, "mIoU on held-back frames, per cent")
    print(json.dumps(report["student_minus_proxies"]))
    print(f"written to {options.output}")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("results", type=Path, nargs="+", help="folders of finished runs, one of each seed")
    add("--output", type=Path, default=HERE / "results" / "f2f_over_proxies.json", help="JSON to write")
    return parser.parse_args()


def compared(run: Layout) -> dict[str, Any]:
    """mIoU of a run's student, and of proxy labels on the frames that it was scored on, per cent."""
    config = read_json(run.report_card, "report", "report card")["config"]
    (val,) = run.shards("manifest", config["data"]["val"], config["data"]["shards"])
    scored = read_manifest(val)
    targets = tuple(replace(clip, targets=clip.scored) for clip in scored.clips)
    with tempfile.TemporaryDirectory() as folder:
        index = labels_of(replace(scored, clips=targets), run, config, Path(folder))
        quality = read_quality([index])
    unlabelled = [{**row, "true_px": row["true_px"] + row["unlabelled_px"]} for row in quality]
    return {
        "seed": config["seed"],
        "frames": quality[0]["frames"],
        "student": round(100 * read_json(run.scores, "evaluate", "scores")["miou"], 2),
        "labelled_pixels": miou(quality),
        "all_pixels": miou(unlabelled),
    }


def labels_of(manifest: Manifest, run: Layout, config: dict[str, Any], folder: Path) -> Path:
    """Make tags, maps, flow and proxy labels of a manifest's targets; the index of the labels."""
    listed, tags = folder / "manifest" / "val" / "0.json", folder / "tags" / "val.h5"
    write_manifest(manifest, listed)
    kinds = ("cams", "flow", "proxy_labels")
    index = {kind: folder / kind / "val" / "0.json" for kind in kinds}
    classifier = str(run.weights("classifier"))
    stage("tags", config, listed, tags)
    stage("flow", config, listed, index["flow"])
    stage("cams", config, listed, index["cams"], "--tags", tags, "--classifier", classifier, "--allow-val")
    made_from = ("--tags", tags, "--cams", index["cams"], "--flow", index["flow"], "--allow-val")
    stage("proxy-labels", config, listed, index["proxy_labels"], *made_from)
    return index["proxy_labels"]


def stage(verb: str, config: dict[str, Any], manifest: Path, output: Path, *more: str | Path) -> None:
    """Run one verb of the pipeline with the whole configuration of the run."""
    words = (verb, "--config", json.dumps(config), "--manifest", manifest, "--output", output, *more)
    subprocess.run(["weclick", *map(str, words)], check=True)


def miou(quality: Sequence[Mapping[str, Any]]) -> float:
    """Mean over the classes of hits / (truth + found - hits), per cent."""
    ious = [row["hit_px"] / (row["true_px"] + row["found_px"] - row["hit_px"]) for row in quality]
    return round(100 * sum(ious) / len(ious), 2)


if __name__ == "__main__":
    main()
