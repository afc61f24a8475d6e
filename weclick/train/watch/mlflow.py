"""MLflow as a watcher: a server, a database, or whatever else a tracking URI may name."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from typing import Any

from weclick.common.flat import flatten, spell
from weclick.common.sections import WatchSection
from weclick.common.words import masked
from weclick.train.watch.watcher import Watched

LIMITS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
"""Variables that are set unless the user has set them. MLflow itself waits for a lost server for a quarter of
an hour, and tells its makers of each use."""

PARAMETERS, NAME_LETTERS, VALUE_LETTERS = 100, 250, 6000
"""The most that MLflow takes: parameters in one call, letters of a name, and of a parameter's value."""


class MLflow:
    """A run of MLflow.

    Args:
        watched: the training.
        options: the section `watch`.
        run: to go on with; empty begins a new one. So does one that is gone.
    """

    holds_back = False

    def __init__(self, watched: Watched, options: WatchSection, run: str):
        for name, value in LIMITS.items():
            os.environ.setdefault(name, value)
        import mlflow  # reads these variables

        self._mlflow = mlflow
        uri = options["mlflow_uri"] or mlflow.get_tracking_uri()
        self._client = mlflow.MlflowClient(tracking_uri=uri)
        experiment = self._experiment(options["project"])
        self.run = (run and self._going_on(run)) or self._begun(experiment, watched)
        self._untold = watched.facts()
        by_web = uri.startswith(("http://", "https://"))
        page = f"{uri.rstrip('/')}/#/experiments/{experiment}/runs/{self.run}"
        self.place = masked(page if by_web else f"{uri}, run {self.run}")

    def send(self, step: int, numbers: Mapping[str, float]) -> None:
        """As in `Watcher`."""
        if self._untold:
            self._tell(self._untold)  # not before, since a new run that cannot be told of would be lost
            self._untold = {}
        now_ms, metric = time.time_ns() // 10**6, self._mlflow.entities.Metric
        metrics = [metric(_allowed(name), value, now_ms, step) for name, value in numbers.items()]
        self._client.log_batch(self.run, metrics=metrics)

    def close(self, *, finished: bool) -> None:
        """As in `Watcher`."""
        self._client.set_terminated(self.run, "FINISHED" if finished else "KILLED")

    def _experiment(self, name: str) -> str:
        """The id of the experiment of a name, which is made if there is none."""
        if found := self._client.get_experiment_by_name(name):
            return str(found.experiment_id)
        try:
            return str(self._client.create_experiment(name))
        except self._mlflow.MlflowException:
            if found := self._client.get_experiment_by_name(name):  # another training was faster
                return str(found.experiment_id)
            raise

    def _going_on(self, run: str) -> str:
        """The id of a run that goes on; empty if it is gone."""
        try:
            self._client.update_run(run, status="RUNNING")
        except self._mlflow.MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return ""
        return run

    def _begun(self, experiment: str, watched: Watched) -> str:
        return str(self._client.create_run(experiment, run_name=watched.name).info.run_id)

    def _tell(self, facts: Mapping[str, Any]) -> None:
        """Log facts as parameters. One that is known stays: MLflow lets none change."""
        known = self._client.get_run(self.run).data.params
        told = {_allowed(name): spell(value)[:VALUE_LETTERS] for name, value in flatten(facts)}
        new = [self._mlflow.entities.Param(name, value) for name, value in told.items() if name not in known]
        for start in range(0, len(new), PARAMETERS):
            self._client.log_batch(self.run, params=new[start : start + PARAMETERS])


def _allowed(name: str) -> str:
    """A name as MLflow takes it: classes may have other letters, or be called `.`."""
    parts = (re.sub(r"[^\w.\- :]", "_", part) for part in name.split("/"))
    return "/".join("_" if part in ("", ".", "..") else part for part in parts)[:NAME_LETTERS]
