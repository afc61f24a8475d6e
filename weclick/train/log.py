"""The metrics of a training: JSON lines for programs, TensorBoard for people.

Other watchers follow the JSON lines, see `weclick.train.watch.follow`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from weclick.common.files import open_to_change, read_lines, write_text
from weclick.common.stages import METRICS
from weclick.common.strict_json import strict_json
from weclick.train.watch.tensorboard import TensorBoard
from weclick.train.watch.watcher import Watcher, numbers

SHORT = {
    "wait": "wait",
    "assemble": "asm",
    "online": "teach",
    "forward": "fwd",
    "losses": "loss",
    "backward": "bwd",
    "optimizer": "opt",
}
"""Short names of the parts of a step (`weclick.train.stopwatch.PARTS`), for the progress line."""


class MetricsLog:
    """Writes metrics.jsonl and tensorboard/ into a folder.

    Args:
        folder: made if missing.
        after_step: step of the checkpoint to go on from; later lines are dropped, for they come again.
    """

    def __init__(self, folder: Path, *, after_step: int):
        kept = [line for line in read_metrics(folder / METRICS) if line["step"] <= after_step]
        write_text(folder / METRICS, "".join(strict_json(line) + "\n" for line in kept))
        self._file = open_to_change(folder / METRICS)
        self._board: Watcher = TensorBoard(folder, after_step=after_step)
        self._loss = float("nan")
        self._score = ""
        self._shares: Mapping[str, float] = {}

    def training(self, line: Mapping[str, Any]) -> None:
        """Write one line of training: step, seconds, lr, loss, terms, data_wait_share, time_shares."""
        self._write(line)
        self._loss, self._shares = line["loss"], line["time_shares"]

    def validation(self, step: int, seconds: float, scores: Mapping[str, Any]) -> None:
        """Write one line of scores under "validation"."""
        self._write({"step": step, "seconds": round(seconds, 3), "validation": scores})
        self._score = _short_score(scores)

    def summary(self) -> str:
        """The latest figures, short enough for the end of a progress bar."""
        shares = [
            f"{SHORT[name]} {100 * share:.0f}"
            for name, share in self._shares.items()
            if name == "wait" or share >= 0.005
        ]
        told = (f"loss {self._loss:.3f}", self._score, f"{' '.join(shares)} %")
        return "  ".join(each for each in told if each)

    def close(self) -> None:
        """Bring everything to the disk."""
        self._file.close()
        self._board.close(finished=True)

    def _write(self, line: Mapping[str, Any]) -> None:
        self._file.write(f"{strict_json(line)}\n".encode())
        self._file.flush()
        self._board.send(line["step"], numbers(line))


def _short_score(scores: Mapping[str, Any]) -> str:
    if "mean_average_precision" in scores:
        return f"mAP {scores['mean_average_precision']:.3f}"
    by_clicks = "click_accuracy" in scores and not isfinite(scores["miou"])
    return f"clicks {scores['click_accuracy']:.3f}" if by_clicks else f"mIoU {scores['miou']:.3f}"


def read_metrics(path: Path) -> Iterator[dict[str, Any]]:
    """Lines of a metrics.jsonl; none if it does not exist. An unfinished last line is left out.

    Raises:
        InputError: it holds something else.
    """
    if path.is_file():
        yield from read_lines(path, "classifier, teacher or student", METRICS)
