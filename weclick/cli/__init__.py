"""`weclick <verb>`: thin; every verb maps its options to one call of the package."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from weclick.cli import (  # noqa: F401  (their verbs register themselves)
    bench,
    cache,
    cache_audit,
    cache_trust,
    compare,
    doctor,
    explain,
    export,
    flow_bench,
    flow_files,
    inspect,
    ledger,
    ledger_gc,
    plan,
    predict,
    reproduce,
    stages,
)
from weclick.cli.app import app
from weclick.common.errors import FULL, DiskFullError, full_disk


def main() -> None:
    """Run a verb; what a user can mend ends in one line and exit status 1."""
    try:
        app()
    except (ValueError, LookupError, ArithmeticError, OSError) as error:
        if os.environ.get("WECLICK_TRACEBACK"):
            raise
        print(f"weclick: error: {_told(error)}", file=sys.stderr)
        print("weclick: WECLICK_TRACEBACK=1 shows where in the code", file=sys.stderr)
        raise SystemExit(1) from error


def _told(error: Exception) -> Exception:
    """A full disk, met where nobody translates it, in our words."""
    if isinstance(error, OSError) and error.errno in FULL and not isinstance(error, DiskFullError):
        return full_disk(Path(error.filename or "."), error)
    return error
