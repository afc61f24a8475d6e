"""How a part of `gpu.py` runs, and where it tells what it found."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from gpu_limits import Rates
from gpu_runs import PACKAGES


@dataclass
class Setting:
    """How a part runs, and where it tells what it found.

    Attributes:
        device: cpu or cuda.
        small: tiny sizes, for a try on a CPU.
        rates: of `measure_rates`; empty if they are not known.
        folder: that the drawn data lie below; None for that of temporary files.
        output: JSON that grows.
    """

    device: str
    small: bool
    rates: Rates
    folder: Path | None
    output: Path

    def __post_init__(self) -> None:
        self.found: dict[str, Any] = {"claims": []}

    @property
    def for_s(self) -> float:
        """How long one figure is measured."""
        return 0.0 if self.small else 1.0

    def tell(self, **values: Any) -> None:
        """Add to what was found."""
        self.found |= values
        unfinished = self.output.with_suffix(".new")
        unfinished.write_text(json.dumps(self.found, indent=1), encoding="utf-8")
        unfinished.replace(self.output)

    def claim(
        self,
        says: str,
        measured: float | None,
        limit: float | None = None,
        *,
        asked: float | None = None,
        at_least: bool = True,
    ) -> None:
        """Add a line of the table; `limit` is the most, or least, that the machine allows."""
        line = {"claim": says, "measured": short(measured), "limit": short(limit)}
        self.tell(claims=[*self.found["claims"], {**line, "asked": asked, "at_least": at_least}])

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder for drawn data, removed at the end."""
        with tempfile.TemporaryDirectory(prefix="weclick-gpu-", dir=self.folder) as name:
            yield Path(name)


def used_versions() -> dict[str, str]:
    """Package -> version, of those in PACKAGES that this process has imported."""
    loaded = (PACKAGES[module] for module in PACKAGES if module in sys.modules)
    return {package: _version(package) for package in loaded}


def short(value: float | None) -> float | None:
    """Four digits."""
    return None if value is None else float(f"{value:.4g}")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # it came as a part of another one
        return "unknown"
