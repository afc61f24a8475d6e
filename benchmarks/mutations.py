"""What does weclick do with files that are damaged, or that somebody changed?

The script makes one small file of each kind that weclick reads, changes it at random, and lets the real
reader of weclick have it, in a process with limits. It counts the outcomes:

- `same`: what was read is what was written;
- `other`: the changed file is a lawful file with another content, and nothing promised the old one;
- `error`: one error of weclick's own, without a traceback;
- `foreign`: an error of a library, a crash of the process, or a bug of weclick;
- `wait`: no answer within LIMIT_S;
- `memory`: more than LIMIT_BYTES were taken;
- `wrong`: other data were read although digests promise them.

    python benchmarks/mutations.py --count 10000 --seed 0

Linux only; no GPU.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from mutation_doors import Door, make_files

from weclick.common.errors import InputError
from weclick.common.machine import machine, versions

HERE = Path(__file__).resolve().parent
LIMIT_S, LIMIT_BYTES = 20, 2**30
FUSE_BYTES = 4 * 2**30
"""Address space that a process may take beside what it has. Without it, one file could stop the machine."""

OUTCOMES = ("same", "other", "error", "foreign", "wait", "memory", "wrong")
BAD = OUTCOMES[3:]
SPECIAL = [0, 1, 0x7F, 0x80, 0xFF]
STRANGE: list[Any] = [
    None, True, False, -1, 0, 1, 3.0, 0.5, 1e300, 10**30, -(2**63), float("nan"), float("inf"), "", "text",
    "../../etc/passwd", "a\0b", "\ud800", "é\u202e", "x" * 10_000, [], {}, [1, "x"], {"x": 1}, [[0, 0, 0]],
]  # fmt: skip


def change_bytes(content: bytes, rng: random.Random) -> bytes:
    """A damaged copy of a file's content."""
    data, size = bytearray(content), len(content)
    how = rng.choice(
        ["flip", "flips", "special", "field", "cut", "double", "insert", "drop", "zeros", "swap"]
    )
    at, length = rng.randrange(size), rng.choice([1, 4, 16, 100, 1000])
    if rng.random() < 0.3:
        at = min(at, rng.randrange(1, 64) - 1) if rng.random() < 0.5 else max(0, size - rng.randrange(1, 200))
    if how in ("flip", "flips"):
        for _ in range(1 if how == "flip" else rng.randrange(2, 30)):
            data[at] ^= 1 << rng.randrange(8)
            at = rng.randrange(size)
    elif how == "special":
        data[at] = rng.choice(SPECIAL)
    elif how == "field":
        number = rng.choice([2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1, 10**9, 0])
        width = rng.choice([4, 8])
        data[at : at + width] = (number % 256**width).to_bytes(width, rng.choice(["little", "big"]))
    elif how == "cut":
        del data[at:]
    elif how == "double":
        data[at:at] = data[at : at + length]
    elif how == "insert":
        data[at:at] = rng.randbytes(length)
    elif how == "drop":
        del data[at : at + length]
    elif how == "zeros":
        data[at : at + length] = bytes(len(data[at : at + length]))
    else:
        other = rng.randrange(size)
        data[at : at + length], data[other : other + length] = (
            data[other : other + length],
            data[at : at + length],
        )
    return bytes(data)


def change_values(value: Any, rng: random.Random) -> Any:
    """A copy of parsed JSON or YAML with one value, key or level changed."""
    holders: list[Any] = [value]
    for holder in holders:
        inner = holder.values() if isinstance(holder, dict) else holder
        holders += [part for part in inner if isinstance(part, dict | list) and part]
    holder = rng.choice(holders)
    keys: list[Any] = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
    key, how = (
        rng.choice(keys),
        rng.choice(["replace", "replace", "remove", "rename", "deep", "more", "other"]),
    )
    if how == "remove":
        del holder[key]
    elif how == "rename" and isinstance(holder, dict):
        holder[str(rng.choice(STRANGE))] = holder.pop(key)
    elif how == "deep":
        for _ in range(rng.choice([1, 40, 300])):
            holder[key] = [holder[key]] if rng.random() < 0.5 else {"x": holder[key]}
    elif how == "more" and isinstance(holder[key], list):
        holder[key] = holder[key] * rng.choice([2, 1000])
    elif how == "other":
        other = rng.choice(holders)
        holder[key] = json.loads(
            json.dumps(rng.choice(list(other.values() if isinstance(other, dict) else other)))
        )
    else:
        holder[key] = rng.choice(STRANGE)
    return value


def change(content: bytes, door: Door, rng: random.Random) -> bytes:
    """A changed copy of a file's content, by its values or by its bytes."""
    if not door.structure or (not door.forge and rng.random() < 0.4):
        return change_bytes(content, rng)
    if door.structure == "yaml":
        value = change_values(yaml.safe_load(content), rng)
        return yaml.safe_dump(value, allow_unicode=rng.random() < 0.5).encode(errors="surrogatepass")
    return json.dumps(change_values(json.loads(content), rng), indent=1).encode(errors="surrogatepass")


def try_one(files: Path, work: Path, door: Door, seed: str, right: Any) -> tuple[str, str]:
    """The outcome of one change, and what was raised."""
    rng = random.Random(seed)
    shutil.copytree(files, work, copy_function=os.link)
    path = work / door.file
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(change(content, door, rng))
    try:
        if door.forge:
            meta = next(folder for folder in path.parents if (folder / "entry.json").exists()) / "entry.json"
            kept = meta.read_bytes()
            meta.unlink()
            meta.write_bytes(kept)
            door.forge(work)
    except Exception:  # the change left nothing to sign
        return "error", "not signed"
    try:
        found = door.read(work)
    except InputError as error:
        return ("error", str(error)) if str(error).strip() else ("foreign", "an empty error")
    except Exception:
        return "foreign", traceback.format_exc()[-1500:]
    if found == right:
        return "same", ""
    return ("wrong", "other data") if door.promised else ("other", "")


def work_on(pipe: Any, files: Path, doors: dict[str, Door]) -> None:
    """Try what comes through the pipe, until that is None. Runs in a process of its own."""
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1), os.dup2(quiet, 2)
    with open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123
        size = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + FUSE_BYTES,) * 2)
    right = {name: door.read(files) for name, door in doors.items()}  # its threads do not survive a fork
    with tempfile.TemporaryDirectory(prefix="mutations-", dir=files.parent) as folder:
        for number, (name, seed) in enumerate(iter(pipe.recv, None)):
            before, began = _peak(), time.monotonic()
            outcome, told = try_one(files, Path(folder) / str(number), doors[name], seed, right[name])
            shutil.rmtree(Path(folder) / str(number), ignore_errors=True)
            taken = _peak() - before
            pipe.send(("memory" if taken > LIMIT_BYTES else outcome, told, time.monotonic() - began, taken))


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Worker:
    """A process that tries changes; a new one takes its place if it dies or does not answer."""

    def __init__(self, *what: Any):
        self._what = what
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("fork")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=work_on, args=(theirs, *self._what), daemon=True)
        self._process.start()
        theirs.close()
        self.task: tuple[str, str] | None = None

    def give(self, task: tuple[str, str]) -> None:
        """Begin a task."""
        self.task, self._began = task, time.monotonic()
        self.pipe.send(task)

    def result(self) -> tuple[str, str, float, int] | None:
        """The result of the task; None if it goes on."""
        waited = time.monotonic() - self._began
        try:
            if self.pipe.poll():
                return self.pipe.recv()
        except EOFError:
            outcome = "foreign", f"the process died, status {self._process.exitcode}", waited, 0
        else:
            if waited < LIMIT_S:
                return None
            outcome = "wait", "", waited, 0
        self._process.kill()
        self._process.join()
        self._start()
        return outcome

    def end(self) -> None:
        """Let the process end."""
        self.pipe.send(None)
        self._process.join()


def run(count: int, seed: int, processes: int, only: list[str], say: Callable[[str], Any]) -> dict[str, Any]:
    """Make and read `count` changed files, spread over all doors.

    Returns:
        Outcomes by door, the longest and the largest case, and what went wrong.
    """
    torch.set_num_threads(1)  # a worker would wait for threads that do not survive its fork
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        files = Path(folder) / "files"
        doors = make_files(files)
        doors = {name: door for name, door in doors.items() if not only or name in only}
        tasks = [(name, f"{seed} {i} {name}") for i in range(-(-count // len(doors))) for name in doors][
            :count
        ]
        found: dict[str, Counter[str]] = {name: Counter() for name in doors}
        faults, slowest, largest = [], 0.0, 0
        workers = [Worker(files, doors) for _ in range(processes)]
        waiting = iter(tasks)
        while True:
            for worker in workers:
                if (task := worker.task) and (result := worker.result()):
                    outcome, told, seconds, taken = result
                    name, which = task
                    worker.task = None
                    found[name][outcome] += 1
                    slowest, largest = max(slowest, seconds), max(largest, taken)
                    if outcome in BAD:
                        faults.append({"door": name, "seed": which, "outcome": outcome, "told": told})
                        say(f"{name}, {which!r}: {outcome}\n{told}")
                if not worker.task and (task := next(waiting, None)):
                    worker.give(task)
            if not any(worker.task for worker in workers):
                break
            time.sleep(0.001)
        for worker in workers:
            worker.end()
    return {
        "doors": {name: {each: counts[each] for each in OUTCOMES} for name, counts in found.items()},
        "total": {each: sum(counts[each] for counts in found.values()) for each in OUTCOMES},
        "longest_s": round(slowest, 2),
        "largest_mib": round(largest / 2**20, 1),
        "faults": faults[:50],
    }


def main() -> None:
    """Run with the options of the command line, and write and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=10_000, help="files to change")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--only", action="append", default=[], help="a door; repeat it for more")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "mutations.json")
    options = parser.parse_args()
    began = time.monotonic()
    figures = run(
        options.count,
        options.seed,
        options.processes,
        options.only,
        lambda text: print(text, file=sys.stderr),
    )
    report = {
        "machine": machine(),
        "versions": versions("av", "h5py", "numpy", "pillow", "safetensors", "tensorstore", "torch", "zarr"),
        "options": {"count": options.count, "seed": options.seed},
        "seconds": round(time.monotonic() - began, 1),
        **figures,
    }
    options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"{'':20}" + "".join(f"{each:>9}" for each in OUTCOMES))
    for name, counts in [*report["doors"].items(), ("total", report["total"])]:
        print(f"{name:20}" + "".join(f"{counts[each]:9}" for each in OUTCOMES))
    sys.exit(any(report["total"][each] for each in BAD))


if __name__ == "__main__":
    main()
