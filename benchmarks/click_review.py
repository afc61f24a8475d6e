"""How many of the clicks on the review list are truly wrong?

Clicks are made from masks; 5 % of them get a wrong class: any other one, or that of the nearest click of
another class on the frame. The list of `weclick doctor --review` is held against what is known.

    python benchmarks/click_review.py --root davis13=../shared/data/davis13 \\
        --root camvid=../shared/data/camvid

The toy street is drawn. A minute or two on two quiet cores.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

from helpers.planted import as_people, with_wrong  # noqa: E402
from weclick.clicks import generate_clicks  # noqa: E402
from weclick.clicks.review import click_features, review  # noqa: E402
from weclick.common.config import load_config  # noqa: E402
from weclick.common.spread import spread_over  # noqa: E402
from weclick.datasets import open_dataset  # noqa: E402
from weclick.datasets.toy.draw import generate  # noqa: E402
from weclick.runs.doctor.sized import sized_manifest  # noqa: E402

CONFIGS = {"toy": "demo", "davis13": "davis13", "camvid": "camvid"}
WRONG = 0.05
SEEDS = 3


def main() -> None:
    options = parse()
    roots = dict(each.split("=", 1) for each in options.root)
    report = json.loads(options.output.read_text()) if options.output.exists() else {}
    with tempfile.TemporaryDirectory(prefix="click-review-") as folder:
        for name in [name for name in CONFIGS if name == "toy" or name in roots]:
            root = Path(roots.get(name, f"{folder}/toy"))
            report[name] = measure(name, root, options.frames)
            print(name, json.dumps(report[name]), flush=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--root", action="append", default=[], help="NAME=FOLDER of davis13 or camvid")
    parser.add_argument("--frames", type=int, default=120, help="clicked frames at most")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "click_review.json")
    return parser.parse_args()


def measure(name: str, root: Path, frames: int) -> dict[str, Any]:
    config = load_config(HERE.parent / "config" / f"{CONFIGS[name]}.yaml", [f"data.root={root.resolve()}"])
    data = config["data"]
    if name == "toy" and not root.is_dir():
        generate(root, **data["toy"])
    if data["classes"]:
        data["classes"] = str((HERE.parent / data["classes"]).resolve())
    dataset = open_dataset(data)
    targets = [(clip.id, t) for clip in dataset.clips(data["train"]) for t in clip.targets]
    kept: dict[str, list[int]] = {}
    for clip, t in spread_over(targets, frames):
        kept.setdefault(clip, []).append(t)
    clips = [clip.restrict(kept[clip.id]) for clip in dataset.clips(data["train"]) if clip.id in kept]
    manifest = sized_manifest(dataset, data["train"], clips)
    clicks = as_people(manifest, generate_clicks(manifest, options=config["clicks"], seed=0))
    features = click_features(clicks)
    told: dict[str, Any] = {"clicks": len(clicks), "frames": min(len(targets), frames), "clips": len(clips)}
    for kind in ("any_class", "class_of_neighbour"):
        wrong_shares, lengths, agreed, trials = [], [], [], []
        for seed in range(SEEDS):
            planted, wrong = with_wrong(clicks, WRONG, seed, likely=kind == "class_of_neighbour")
            found = review(planted, features)
            wrong_of = [suspect.click.click in wrong for suspect in found.suspects]
            wrong_shares.append(np.mean(wrong_of) if wrong_of else np.nan)
            lengths.append(len(found.suspects))
            agreed.append(found.agreed)
            trials.append(round(found.found, 3))
        told[kind] = {
            "planted_share": WRONG,
            "listed": lengths,
            "wrong_of_listed": [known(share) for share in wrong_shares],
            "mean": known(np.nanmean(wrong_shares)) if any(lengths) else None,
            "found_in_trial": trials,
            "agreed_with_classifier": round(float(np.mean(agreed)), 3),
        }
    return told


def known(share: float) -> float | None:
    """A share for JSON; None where nothing was listed."""
    return None if np.isnan(share) else round(float(share), 3)


if __name__ == "__main__":
    main()
