"""`weclick <verb>`: thin; every verb maps its options to one call of the package."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from weclick.cli import (  # noqa: F401  (their verbs register themselves)
    ask,
    bench,
    cache,
    cache_audit,
    cache_trust,
    click,
    click_bench,
    click_files,
    compare,
    doctor,
    experiment,
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
from weclick.cli.app import UNCHECKED_STATUS, app
from weclick.common.errors import FULL, DiskFullError, UnreadableError, full_disk, out_of_memory
from weclick.common.words import masked


def main() -> None:
    """Run a verb; what a user can mend ends in one line and exit status 1, or 3 for a disk's failure."""
    _read_names_as_utf8()
    try:
        app()
    except (ValueError, LookupError, ArithmeticError, OSError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not out_of_memory(error):
            raise
        if os.environ.get("WECLICK_TRACEBACK"):
            raise
        print(masked(f"weclick: error: {_told(error)}"), file=sys.stderr)
        print("weclick: WECLICK_TRACEBACK=1 shows where in the code", file=sys.stderr)
        raise SystemExit(UNCHECKED_STATUS if isinstance(error, UnreadableError) else 1) from error


def _read_names_as_utf8() -> None:
    """Begin anew in Python's UTF-8 mode, where the locale would read names of files in another encoding.

    A clip is called as its folder. Under a locale of Latin-1, a folder `grün` would give another clip than
    for a colleague. A process that only calls `main`, such as a test, goes on as it is.
    """
    if sys.getfilesystemencoding() != "utf-8" and sys.orig_argv[1:2] == sys.argv[:1]:
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _told(error: Exception) -> Exception:
    """A full disk or memory, met where nobody translates it, in our words."""
    if lacking := out_of_memory(error):
        return lacking
    if isinstance(error, OSError) and error.errno in FULL and not isinstance(error, DiskFullError):
        return full_disk(Path(error.filename or "."), error)
    return error
