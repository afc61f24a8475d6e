"""Does today's code train the same weights as an older one, bit for bit? Prints the rows that say so.

A network's key holds a digest of the code that trains it. Some edits change that digest but no weight. With a
row in `TRAINS_LIKE` (weclick/train/network_code.py), weclick still finds the networks that people have.

This script proves such a row. It checks out the older code and trains the same small networks with both codes
on this machine. It prints a row for each digest whose networks are all equal to the last bit, and fails if
one differs.

    python benchmarks/same_weights.py --against v0.1.0
    python benchmarks/same_weights.py --against v0.1.0 --only timm     # the cases whose names have this word
    python benchmarks/same_weights.py --against v0.1.0 --without timm  # the others

The older code needs the packages of this environment. About three minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from older_code import CHECKOUT, git, older_code

RAW = "from weclick.train import network_code; network_code.TRAINS_LIKE.clear(); "
"""Makes today's code write its own digests into the keys, not those of older code that trains alike."""
VERB = "import sys; from weclick.cli import main; sys.argv[0] = 'weclick'; main()"

NETWORK = {
    "backbone": "mobilenetv2_compact",
    "pretrained": None,
    "channels": 16,
    "head_norm": "group",
    "steps": 20,
    "batch_size": 2,
    "crop": [48, 64],
    "optimizer": "adamw",
    "learning_rate": 1e-3,
    "validate_every": 5,
}
CONFIG = {
    "data": {
        "target_every": 2,
        "toy": {"height": 64, "width": 96, "frames": 4, "clips": {"train": 3, "val": 1}},
    },
    "clicks": {"min_pixels": 4, "min_pixels_at": None},
    "window": {"frames": 3, "max_gap_frames": 2, "direction": "both"},
    "flow": {"masks": ["forward_backward", "photometric"]},
    "partial_cross_entropy": {"class_weights": "balanced"},
    "gated_crf": {"weight": 0.1, "warmup": 0.3},
    "teacher": NETWORK,
    "student": NETWORK,
}
MORE = {
    "accumulate": 2,
    "auxiliary_head": True,
    "batch_norm": "frozen",
    "clip_gradient_norm": 1.0,
    "colour_jitter": 0.3,
    "ema": 0.9,
    "head_learning_rate_factor": 2.0,
    "optimizer": "sgd",
}
TIMM = {"backbone": "timm/tf_efficientnet_lite0", "batch_norm": "frozen"}
CASES: dict[str, dict] = {
    "student": {},
    "student, other options": {"student": MORE, "kd": {"direction": "student_teacher", "temperature": 2.0}},
    "student, PSPNet": {"student": {"architecture": "pspnet", "head_norm": "batch"}},
    "student, MFD by sum": {"mfd": {"occlusion": "both", "reduction": "sum", "stop_gradient": False}},
    "student, unpacked frames": {"frames": {"pack": False}},
    "student, clicks alone": {"kd": {"weight": 0.0}, "mfd": {"weight": 0.0}},
    "student, the best kept": {"student": {"keep": "best"}},
    "student, timm": {"student": TIMM},
    "student, timm, the best kept": {"student": {**TIMM, "keep": "best"}},
    "student, online": {"student": {"online": {"teacher": "teacher/model.safetensors"}}},
}


def main() -> None:
    options = parse()
    with tempfile.TemporaryDirectory(prefix="same-weights-") as scratch:
        folder = Path(scratch)
        revision = git("rev-parse", "--short", options.against)
        with older_code(options.against, folder / "older") as older:
            cases = {case: CASES[case] for case in CASES if wanted(case, options)}
            then = train_all(older, folder / "then", VERB, cases)
            now = train_all(CHECKOUT, folder / "now", RAW + VERB, cases)
    same: dict[tuple[str, str], bool] = {}
    for case, (code, weights) in now.items():
        code_then, weights_then = then[case]
        equal = weights == weights_then
        same[code, code_then] = same.get((code, code_then), True) and equal
        print(f"{'the same bits' if equal else 'OTHER BITS':<14} {case}")
    print(f"\nTRAINS_LIKE as of {revision}:")
    for (code, code_then), equal in same.items():
        print(f'    "{code}": "{code_then}",' if equal else f"    no row for {code}")
    raise SystemExit(0 if all(same.values()) else 1)


def wanted(case: str, options: argparse.Namespace) -> bool:
    """Whether a case is to be trained."""
    return options.only in case and not (options.without and options.without in case)


def train_all(checkout: Path, folder: Path, start: str, cases: dict[str, dict]) -> dict[str, tuple[str, str]]:
    """Prepare the street, train a teacher and students. Returns case -> digests of code and weights."""
    folder.mkdir()
    data = {**CONFIG["data"], "root": str(folder / "data")}
    config = {**CONFIG, "data": data, "device": "cpu", "cache": {"roots": [str(folder / "store")]}}

    def run(verb: str, *words: str, change: dict | None = None) -> None:
        chosen = {name: {**config.get(name, {}), **part} for name, part in (change or {}).items()}
        (folder / "config.yaml").write_text(yaml.safe_dump({**config, **chosen}), encoding="utf-8")
        command = [sys.executable, "-c", start, verb, "--config", "config.yaml", *words]
        environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "2"}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{checkout}: weclick {verb} {' '.join(words)} failed:\n{done.stderr}")

    run("toy")
    for split in ("train", "val"):
        run("manifest", "--split", split, "--output", f"manifest/{split}/0.json")
    train, val = ("--manifest", "manifest/train/0.json"), ("--val-manifest", "manifest/val/0.json")
    run("clicks", *train, "--output", "clicks.h5")
    run("frames", *train, "--output", "frames.json")
    run("frames", *train, "--output", "unpacked.json", change={"frames": {"pack": False}})
    run("flow", *train, "--output", "flow.json")
    given = (*train, *val, "--clicks", "clicks.h5", "--device", "cpu")
    packed = ("--frames", "frames.json")
    run("teacher", *given, *packed, "--output", "teacher")
    weights = ("--teacher", "teacher/model.safetensors")
    run("soft-labels", *train, *weights, "--output", "labels.json")
    cached = (*given, "--flow", "flow.json", "--soft-labels", "labels.json")
    found = {"teacher": read_network(folder, "teacher")}
    for number, (case, change) in enumerate(cases.items()):
        frames = ("--frames", "unpacked.json") if "frames" in change else packed
        inputs = given if "online" in case else cached
        run("student", *inputs, *frames, "--output", f"student{number}", change=change)
        found[case] = read_network(folder, f"student{number}")
    return found


def read_network(folder: Path, name: str) -> tuple[str, str]:
    card = json.loads((folder / name / "model.json").read_text(encoding="utf-8"))
    entry = folder / "store/models/v1" / card["key"][:2] / card["key"] / "entry.json"
    inputs = json.loads(entry.read_text(encoding="utf-8"))["inputs"]
    return (inputs.get("online") or inputs)["code"], card["weights_sha256"]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--against", required=True, help="revision of the older code, as git names it")
    parser.add_argument("--only", default="", help="a word of the names of cases; the others are left out")
    parser.add_argument("--without", default="", help="a word of cases to leave out, which older code lacks")
    return parser.parse_args()


if __name__ == "__main__":
    main()
