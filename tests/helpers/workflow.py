"""A separate checkout in which Snakemake runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from snakemake.api import SnakemakeApi
from snakemake.rules import Rule
from snakemake.settings.types import ConfigSettings, OutputSettings, Quietness, ResourceSettings

from weclick.store import list_entries
from weclick.store.entries import KINDS


@dataclass(frozen=True)
class Project:
    """A separate checkout, so that tests can edit its modules."""

    root: Path

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "snakemake", "--cores", "2", *words, "--configfile", "config/tiny.yaml"]

    @property
    def environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "PYTHONPATH": str(self.root), "PATH": path}

    def snakemake(self, *words: str) -> str:
        return self._run(self.command(*words))

    def weclick(self, *words: str) -> str:
        return self._run([str(Path(sys.executable).parent / "weclick"), *words])

    def _run(self, command: list[str]) -> str:
        done = subprocess.run(command, cwd=self.root, env=self.environment, text=True, capture_output=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def jobs(self, *config: str) -> set[str]:
        """Names of the rules that would run with these changes of the configuration."""
        told = self.snakemake("all", "-n", *(["--config", *config] if config else []))
        if "Nothing to be done" in told:
            return set()
        table = told[told.index("Job stats:") :]
        return set(re.findall(r"^(\w+) +\d+$", table, re.MULTILINE)) - {"total"}

    def entries(self) -> dict[str, set[str]]:
        return {kind: {path.name for path in list_entries(self.root / "store", kind)} for kind in KINDS}


def make_project(root: Path, repository: Path, config: dict) -> Project:
    for name in ("weclick", "pipeline", "profiles", "data_schema", "config"):
        shutil.copytree(repository / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(repository / "Snakefile", root)
    (root / "config" / "tiny.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return Project(root)


def load_rules(root: Path, **config: Any) -> dict[str, Rule]:
    """Name -> rule of the workflow in a folder, as Snakemake reads it; nothing is planned or run."""
    quiet, one_core = OutputSettings(quiet={Quietness.ALL}), ResourceSettings(cores=1)
    with SnakemakeApi(quiet) as api:
        settings = ConfigSettings(config=config)
        opened = api.workflow(one_core, config_settings=settings, snakefile=root / "Snakefile")
        return {rule.name: rule for rule in opened._workflow.rules}
