"""`weclick <verb>`: thin; every verb maps its options to one call of the package."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from copy import copy
from inspect import cleandoc
from itertools import chain
from pathlib import Path
from shutil import get_terminal_size
from textwrap import fill

from typer import Typer
from typer.main import get_command_name
from typer.models import CommandInfo

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
    export_instances,
    flow_bench,
    flow_files,
    init,
    inspect,
    ledger,
    ledger_gc,
    plan,
    predict,
    reproduce,
    run,
    scores,
    stages,
    stages_instances,
    stages_tags,
)
from weclick.cli.app import UNCHECKED_STATUS, app
from weclick.common.errors import FULL, DiskFullError, UnreadableError, full_disk, out_of_memory
from weclick.common.words import masked

MARGIN = 2
"""Columns that Typer leaves free beside the help of a verb, left and right together."""


def main() -> None:
    """Run a verb; what a user can mend ends in one line and exit status 1, or 3 for a disk's failure."""
    _read_names_as_utf8()
    try:
        app_for(sys.argv[1:])()
    except (ValueError, LookupError, ArithmeticError, OSError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not out_of_memory(error):
            raise
        if os.environ.get("WECLICK_TRACEBACK"):
            raise
        print(masked(f"weclick: error: {_told(error)}"), file=sys.stderr)
        print("weclick: WECLICK_TRACEBACK=1 shows where in the code", file=sys.stderr)
        raise SystemExit(UNCHECKED_STATUS if isinstance(error, UnreadableError) else 1) from error


def app_for(words: Iterable[str]) -> Typer:
    """The application with the one verb that a command line asks for; whole, if it asks for none.

    To build the options of all verbs takes longer than a stage that has nothing to do. `--version` in front
    needs no verb.
    """
    words = list(words)
    asked = _verb(words)
    verbs = [info for info in app.registered_commands if asked == _name(info)]
    groups = [info for info in app.registered_groups if asked == info.name]
    if not verbs and not groups and words[:1] != ["--version"]:
        return app
    groups_verbs = (group.typer_instance.registered_commands for group in groups if group.typer_instance)
    for info in (*verbs, *chain.from_iterable(groups_verbs)):
        info.help = _broken_anew(info.callback.__doc__)
    alone = copy(app)
    alone.registered_commands, alone.registered_groups = verbs, groups
    return alone


def _broken_anew(text: str | None) -> str | None:
    """A docstring with its prose broken where the terminal ends.

    Typer keeps the breaks of the source. So at 80 columns every second line would have a word or two.
    """
    width = get_terminal_size().columns - MARGIN
    paragraphs = cleandoc(text or "").split("\n\n")
    prose = (each if re.search(r"^(\s|- )", each, re.MULTILINE) else fill(each, width) for each in paragraphs)
    return "\n\n".join(prose) or None


def _verb(words: Iterable[str]) -> str:
    """The first word that is neither an option nor the value of `--log`, the one option before verbs."""
    rest = iter(words)
    for word in rest:
        if word == "--log":
            next(rest, None)
        elif not word.startswith("-"):
            return word
    return ""


def _name(verb: CommandInfo) -> str:
    return verb.name or get_command_name(verb.callback.__name__ if verb.callback else "")


def _read_names_as_utf8() -> None:
    """Begin anew in Python's UTF-8 mode, where the locale would read names of files in another encoding.

    A clip is called as its folder. Under a locale of Latin-1, a folder `grün` would give another clip than
    for a colleague. A process that only calls `main`, such as a test, goes on as it is.
    """
    is_command = sys.orig_argv[1:2] == sys.argv[:1] or sys.orig_argv[1:3] == ["-m", "weclick"]
    if sys.getfilesystemencoding() != "utf-8" and is_command:
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _told(error: Exception) -> Exception:
    """A full disk or memory, met where nobody translates it, in our words."""
    if lacking := out_of_memory(error):
        return lacking
    if isinstance(error, OSError) and error.errno in FULL and not isinstance(error, DiskFullError):
        return full_disk(Path(error.filename or "."), error)
    return error
