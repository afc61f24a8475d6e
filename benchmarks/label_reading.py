"""What does the check of a label's values cost, beside the decoding of its file?

A label of 1024x2048 px is read whole (`read_label`), only decoded (`read_ids`), and read as one would with
`np.unique`: decode, sort out the different values, look for strange ones, look up classes. The label holds
class ids as they are (`plain`), or a data set's own ids (`ids`), as those of Cityscapes. All take turns in
one process, by its processor time, and give the same classes.

    python benchmarks/label_reading.py
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from components import CLASSES, draw_labels
from PIL import Image

from weclick.common.machine import machine, versions
from weclick.manifest import IGNORE, Classes, Frame, Manifest
from weclick.manifest.images import read_ids
from weclick.manifest.read import read_label

HERE = Path(__file__).resolve().parent
FIRST_ID = 7
IDS = {str(FIRST_ID + class_id): class_id for class_id in range(CLASSES)}


def main() -> None:
    options, load = parse(), os.getloadavg()[0]
    labels = draw_labels(1024, 2048)
    with tempfile.TemporaryDirectory(prefix="weclick-labels-") as folder:
        table = {
            "plain": compare(Path(folder) / "plain.png", labels, None, options.rounds),
            "ids": compare(Path(folder) / "ids.png", labels + np.uint8(FIRST_ID), IDS, options.rounds),
        }
    report = {
        "machine": machine() | {"load_before": round(load, 2)},
        "versions": versions("numpy", "pillow"),
        "options": {"size_px": [1024, 2048], "classes": CLASSES, "rounds": options.rounds},
        "table": table,
    }
    options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(table, indent=1))
    print(f"written to {options.output}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--rounds", type=int, default=9, help="runs of each, after one to warm up (default 9)")
    add("--output", type=Path, default=HERE / "results" / "label_reading.json", help="JSON to write")
    return parser.parse_args()


def compare(path: Path, stored: np.ndarray, ids: dict[str, int] | None, rounds: int) -> dict[str, Any]:
    Image.fromarray(stored).save(path)
    names = tuple(map(str, range(CLASSES)))
    classes = Classes(names, ((0, 0, 0),) * CLASSES, label_map=ids and {"ids": ids})
    manifest = Manifest("made_up", str(path.parent), "train", 0, 1, classes, ())
    frame = Frame("0", 0, "0.png", label=path.name)
    ways: dict[str, Callable[[], np.ndarray]] = {
        "decoded": lambda: read_ids(path),
        "read": lambda: read_label(manifest, frame),
        "by_unique": lambda: read_by_unique(path, ids),
    }
    results = {name: way() for name, way in ways.items()}
    if not np.array_equal(results["read"], results["by_unique"]):
        raise SystemExit(f"{path.stem}: the two ways give other classes")
    runs: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            began = time.process_time()
            way()
            runs[name].append(1000 * (time.process_time() - began))
    medians = {f"{name}_ms": round(statistics.median(each), 2) for name, each in runs.items()}
    beyond = {
        f"check_{name}_ms": medians[f"{name}_ms"] - medians["decoded_ms"] for name in ("read", "by_unique")
    }
    listed = {f"{name}_ms_runs": [round(one, 2) for one in each] for name, each in runs.items()}
    return {**medians, **{name: round(each, 2) for name, each in beyond.items()}, **listed}


def read_by_unique(path: Path, ids: dict[str, int] | None) -> np.ndarray:
    values = read_ids(path)
    known = sorted(map(int, ids)) if ids else [*range(CLASSES)]
    strange = np.setdiff1d(np.unique(values), [*known, IGNORE])
    assert not strange.size
    if ids is None:
        return values.astype(np.uint8)
    table = np.full(65536, IGNORE, np.uint8)
    table[known] = [ids[str(value)] for value in known]
    return table[np.clip(values.astype(np.int32), 0, 65535)]


if __name__ == "__main__":
    main()
