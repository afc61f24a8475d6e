"""Weights & Biases as a watcher. Its own variables say who one is: WANDB_API_KEY, WANDB_MODE, ..."""

from __future__ import annotations

import os
from collections.abc import Mapping
from secrets import token_hex

import wandb

from weclick.common.sections import WatchSection
from weclick.train.watch.watcher import Watched

BEGIN_S, END_S = 30.0, 60.0
"""How long its server is waited for. What was not sent by then stays on the disk, for `wandb sync`."""


class WandB:
    """A run of Weights & Biases. Its files go to wandb/ in the folder of the training, or to WANDB_DIR.

    Args:
        watched: the training.
        options: the section `watch`.
        run: to go on with; empty begins a new one.
    """

    holds_back = True  # a row is written when the next step begins

    def __init__(self, watched: Watched, options: WatchSection, run: str):
        self.run = run or f"{watched.key[:12]}-{token_hex(4)}"
        self._run = wandb.init(
            project=options["project"],
            id=self.run,
            name=watched.name,
            job_type=watched.role,
            config=watched.facts(),
            dir=None if "WANDB_DIR" in os.environ else str(watched.folder),
            resume="allow",
            reinit="create_new",  # leave alone what else this process shows
            settings=wandb.Settings(
                allow_val_change=True,  # what goes on may validate more often than before
                console="off",
                finish_timeout=END_S,
                init_timeout=BEGIN_S,
                silent=True,
                x_transaction_log_flush_interval=1.0,  # a kill loses no more
            ),
        )
        offline = self._run.offline
        self.place = f"{self._run.settings.sync_dir} (for `wandb sync`)" if offline else str(self._run.url)

    def send(self, step: int, numbers: Mapping[str, float]) -> None:
        """As in `Watcher`. It refuses steps before its last one, which a killed run may have begun."""
        self._run.log(dict(numbers), step=max(step, self._run.step))

    def close(self, *, finished: bool) -> None:
        """As in `Watcher`."""
        self._run.finish(exit_code=0 if finished else 1)
