"""How long does it take to list a root of many entries, from the command to the last line?

The root is made up of frames, flow and soft labels in equal parts. The store's own code writes the
entry.json, with a file for every frame or pair. The arrays are left out, since no verb of the ledger reads
them. Each round is a separate process, as a person starts it. The first round reads from the disk: before it
the system drops the cached pages of the files (Linux only). `cpu` is the busy time of all threads of the
process. Other work on the machine lengthens it less than the wall time.

    python benchmarks/cache_ls.py
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.progress import track

from weclick.common.machine import machine, versions
from weclick.store import LocalRoot, entry_key
from weclick.store.meta import META, describe_entry, spell_meta

HERE = Path(__file__).resolve().parent
KINDS = ("frames", "flow", "soft_labels")
FILE_BYTES = 86_000


def main() -> None:
    options, load = parse_options(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="weclick-ls-", dir=options.folder) as folder:
        rows = [measure(Path(folder) / str(frames), frames, options) for frames in options.frames]
    report = {
        "machine": machine() | {"load_before": round(load, 2), "load_after": round(os.getloadavg()[0], 2)},
        "versions": versions(),
        "options": {"entries": options.entries, "rounds": options.rounds},
        "table": rows,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(rows, indent=1))
    print(f"written to {options.output}")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--entries", type=int, default=20_000, help="of the root (default 20000)")
    parser.add_argument(
        "--frames", type=int, nargs="+", default=[5, 30], help="of a clip (default 5 30: a sample, a snippet)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="runs of each verb (default 5)")
    parser.add_argument("--folder", type=Path, help="where the root is drawn (default: the system's)")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "cache_ls.json")
    return parser.parse_args()


def measure(root: Path, frames: int, options: argparse.Namespace) -> dict[str, Any]:
    meta_bytes = draw(root, frames, options.entries)
    verbs = {"ls": ["ls"], "ls_json": ["ls", "--json"], "du": ["du"]}
    forget(root)
    first = run(root, verbs["ls"])
    rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in verbs}
    for _ in range(options.rounds):  # in turns, so that other work on the machine affects all alike
        for name, words in verbs.items():
            rounds[name].append(run(root, words))
    row = {"frames_of_a_clip": frames, "entry_json_mib": round(meta_bytes / 2**20, 1)}
    for name, runs in {"ls_first": [first], **rounds}.items():
        for what, seconds in zip(("wall_s", "cpu_s"), zip(*runs, strict=True), strict=True):
            row[f"{name}_{what}"] = round(statistics.median(seconds), 2)
            row[f"{name}_{what}_runs"] = [round(each, 2) for each in seconds]
    return row


def run(root: Path, words: list[str]) -> tuple[float, float]:
    """Seconds from the start of a process to its end, and its busy seconds."""
    weclick = str(Path(sys.executable).with_name("weclick"))
    began, busy = time.perf_counter(), busy_s()
    done = subprocess.run(
        [weclick, "cache", *words, "--config", "{}"],
        env={**os.environ, "WECLICK_CACHE": str(root)},
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    seconds = time.perf_counter() - began, busy_s() - busy
    assert done.stdout, done.stderr
    return seconds


def busy_s() -> float:
    """CPU seconds of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def draw(root: Path, frames: int, count: int) -> int:
    """Write a root of entries without their arrays. Returns the bytes of all entry.json."""
    total = 0
    for number, (kind, inputs, attributes) in enumerate(
        track(clips(frames, count), f"draw {frames} frames", total=count)
    ):
        key = entry_key(kind, inputs)
        folder = LocalRoot(root).folder(kind, key)
        folder.mkdir(parents=True)
        meta = describe_entry(folder, kind, key, inputs, attributes)
        steps = len(inputs.get("pairs") or inputs["frames"])
        data = spell_meta(meta | files(number, steps))
        (folder / META).write_bytes(data)
        total += len(data)
    return total


def clips(frames: int, count: int) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Kind, inputs and attributes of entries, three entries for each clip."""
    for number in range(count):
        kind, clip = KINDS[number % 3], number // 3
        names = [f"city_{clip:06}_{t:06}" for t in range(frames)]
        digests = [digest(clip, t) for t in range(frames)]
        if kind == "flow":
            pairs = [(frames // 2, t) for t in range(frames) if t != frames // 2]
            yield (
                kind,
                {
                    "format": 1,
                    "pairs": [[digests[t] for t in pair] for pair in pairs],
                    "estimator": {"name": "dis", "preset": "medium", "finest_scale": None, "opencv": "5.0"},
                    "stride_px": 4,
                    "masks": {"photometric": {"bit": 2, "threshold_grey_levels": 12.0, "window_px": 5}},
                    "codec": "int16, 1/64 px",
                },
                {"pairs": [[names[t] for t in pair] for pair in pairs], "pair_positions": pairs},
            )
        elif kind == "frames":
            inputs = {"format": 1, "frames": digests, "chunk_px": 256, "codec": "lz4"}
            yield kind, inputs, {"frames": names, "digests": digests, "axes": "THWC"}
        else:
            inputs = {"format": 2, "frames": digests, "teacher_sha256": digest("teacher"), "codec": "root6"}
            yield kind, inputs, {"frames": names, "stride_px": 4, "codec": "root6", "axes": "TCHW"}


def files(number: int, steps: int) -> dict[str, Any]:
    """The arrays' files in an entry.json."""
    made = {
        f"rgb/c/{t}/0/0/0": {"bytes": FILE_BYTES, "sha256": digest(number, t, "file"), "crc32": 2**31 + t}
        for t in range(steps)
    }
    return {"files": made, "entry_bytes": FILE_BYTES * steps}


def digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def forget(root: Path) -> None:
    """Let the system drop cached pages of the root's files, so that the next read goes to the disk."""
    os.sync()
    for file in root.rglob(META):
        descriptor = os.open(file, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


if __name__ == "__main__":
    main()
