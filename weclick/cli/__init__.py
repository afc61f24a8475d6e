"""`weclick <verb>`: thin; every verb maps its options to one call of the package."""

from __future__ import annotations

import os
import sys

from weclick.cli import stages  # noqa: F401  (its verbs register themselves)
from weclick.cli.app import app


def main() -> None:
    """Run a verb; what a user can mend ends in one line and exit status 1."""
    try:
        app()
    except (ValueError, LookupError, ArithmeticError, OSError) as error:
        if os.environ.get("WECLICK_TRACEBACK"):
            raise
        print(f"weclick: error: {error}", file=sys.stderr)
        print("weclick: WECLICK_TRACEBACK=1 shows where in the code", file=sys.stderr)
        raise SystemExit(1) from error
