"""Files whose content a digest pins down: what is read is what was digested, or there is an error."""

from __future__ import annotations

import hashlib
import os
import time
from functools import partial
from pathlib import Path

from weclick.common.disk import open_plain, read_plain, surely
from weclick.common.errors import InputError
from weclick.common.words import count_bytes

LIMIT_BYTES = 2**29
"""Files that are read whole, such as images, are no longer than this."""

YOUNG_NS = 2 * 10**9
"""A file that changed so short a time ago may change again without another time of change: some file systems
count in steps of 2 s. Its signature proves nothing."""

MANIFEST_AGAIN = "restore it, or run `weclick manifest` again, then this (snakemake does both by itself)"
RUN_AGAIN = "somebody wrote to it in the meantime: run this again"

Signature = tuple[int, int, int, int]
"""Size in bytes, time of change of content and of the file's own record in ns, inode."""

_KNOWN: dict[str, tuple[Signature, str]] = {}
"""Absolute path -> signature and SHA-256 (hex) of files that this process has read."""


class ChangedFileError(InputError):
    """A file holds something else than what a digest was taken of."""


def signature_of(status: os.stat_result) -> Signature:
    """What tells that a file may have changed. Nobody can set the time of the file's own record.

    The device does not count, since those of network folders change when they are mounted again.
    """
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def is_young(status: os.stat_result, now_ns: int) -> bool:
    """Whether a file changed so shortly before `now_ns` that its signature proves nothing."""
    return max(status.st_mtime_ns, status.st_ctime_ns) > now_ns - YOUNG_NS


def read_content(
    path: Path | str,
    sha256: str | None = None,
    what_to_do: str = MANIFEST_AGAIN,
    limit_bytes: int = LIMIT_BYTES,
) -> bytes:
    """The bytes of a regular file of at most `limit_bytes`. Decode these, and nothing that is read later.

    Args:
        path: of the file.
        sha256: hex digest that the content must have; `<digest>:<bytes>` for that of its first bytes, which
            alone are then given back (see `growing_digest`); None or empty takes any content.
        what_to_do: the end of the error's text if it has not.
        limit_bytes: the most that is read.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ChangedFileError: it has another digest.
        InputError: it is no regular file, or too long.
    """
    length = surely(path, partial(os.stat, path)).st_size
    if length > limit_bytes:
        raise InputError(
            f"{path}: has {count_bytes(length)}, expected at most {count_bytes(limit_bytes)}; "
            "is it the right file? Replace it"
        )
    content = read_plain(path, at_most=limit_bytes, links=True)
    if sha256:
        digest, _, first = sha256.partition(":")
        content = content[: int(first)] if first else content
        _compare(path, hashlib.sha256(content).hexdigest(), digest, what_to_do)
    return content


def growing_digest(path: Path | str, limit_bytes: int = LIMIT_BYTES) -> str:
    """The digest of a file that others append to, as `<SHA-256>:<bytes>`: what is there now stays readable.

    Raises:
        OSError, InputError: as in `read_content`.
    """
    content = read_content(path, limit_bytes=limit_bytes)
    return f"{hashlib.sha256(content).hexdigest()}:{len(content)}"


def check_content(path: Path | str, sha256: str, what_to_do: str = MANIFEST_AGAIN) -> None:
    """Check a file that others read by its name, such as a video: call this before and after they read it.

    Args:
        path: of the file.
        sha256: hex digest that the content must have; empty takes any content.
        what_to_do: the end of the error's text if it has not.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ChangedFileError: its content has another digest.
    """
    if sha256:
        _compare(path, content_digest(path), sha256, what_to_do)


def check_unchanged(before: object, after: object, what: str) -> None:
    """Check that digests of files are the same after these were loaded as they were before.

    Args:
        before, after: the digests, or a mapping that holds them.
        what: the part of the configuration that names the files, for the error.

    Raises:
        ChangedFileError: they differ.
    """
    if before != after:
        raise ChangedFileError(
            f"a file that {what} names changed while it was loaded, so nothing was made of it; {RUN_AGAIN}"
        )


def content_digest(path: Path | str) -> str:
    """SHA-256 (hex) of a file's content. This process reads a file again only if its signature changed.

    Raises:
        OSError: there is no such file, or it cannot be read.
    """
    name, now_ns = os.path.abspath(path), time.time_ns()  # noqa: PTH100 (only a name for the memory)
    with open(path, "rb", opener=partial(open_plain, links=True)) as file:
        status = os.fstat(file.fileno())
        signature, digest = _KNOWN.get(name, (None, ""))
        if signature != signature_of(status):
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    if is_young(status, now_ns):
        _KNOWN.pop(name, None)
    else:
        _KNOWN[name] = signature_of(status), digest
    return digest


def _compare(path: Path | str, found: str, expected: str, what_to_do: str) -> None:
    if found != expected:
        raise ChangedFileError(
            f"{path}: changed since its digest was taken (SHA-256 is {found[:12]}…, expected "
            f"{expected[:12]}…), so nothing was made of it; {what_to_do}"
        )
