"""An older revision of this checkout, for benchmarks that compare today's code with it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]


@contextmanager
def older_code(revision: str, folder: Path) -> Iterator[Path]:
    """A checkout of a revision, as git names it, at `folder`. It is removed after the block."""
    git("worktree", "add", "--detach", str(folder), revision)
    try:
        yield folder
    finally:
        git("worktree", "remove", "--force", str(folder))


def git(*words: str) -> str:
    """Run git in this checkout. Returns what it prints."""
    done = subprocess.run(["git", *words], cwd=CHECKOUT, check=True, capture_output=True, text=True)
    return done.stdout.strip()
