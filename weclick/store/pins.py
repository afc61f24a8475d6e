"""The digest of what an entry holds, to tell an entry from another one of the same key.

A key says what an entry was made from. Whoever may write into a root can put other content under that key,
and write an entry.json that fits it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any

from weclick.common.errors import InputError
from weclick.common.stages import MODELS, WEIGHTS

_NAMES = ("frames", "pairs", "licence")
"""Attributes that name people's files and notices. Equal entries of two people may differ in them."""

Pins = Mapping[tuple[str, str], Collection[str]]
"""Kind and key of an entry -> the digests of content that it may have."""


class OtherContentError(InputError):
    """An entry holds other content than a lock pins."""


def content_digest(meta: Mapping[str, Any]) -> str:
    """SHA-256 (hex) over an entry's kind, key, files, and the attributes that say how to read them.

    It leaves out who made the entry, when, and how that person's files were called. So two people who compute
    the same get the same digest. Of a network, only the file of its weights counts: its log holds times.

    Args:
        meta: its entry.json.
    """
    files, told = {name: file["sha256"] for name, file in meta["files"].items()}, reading_of(meta)
    if meta["kind"] == MODELS:
        files, told = {name: files[name] for name in files if name == WEIGHTS}, {}
    value = {"kind": meta["kind"], "key": meta["key"], "files": files, "attributes": told}
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def reading_of(meta: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes of an entry that say how to read it, without names of people's files."""
    return {name: value for name, value in meta["attributes"].items() if name not in _NAMES}


def check_pin(pins: Pins, root: object, meta: Mapping[str, Any]) -> None:
    """Refuse an entry that holds other content than is pinned. An entry without a pin passes.

    Args:
        pins: of one lock or of several.
        root: that holds it, for the error.
        meta: its entry.json.

    Raises:
        OtherContentError: it names entry, root and both digests.
    """
    pinned = pins.get((meta["kind"], meta["key"]))
    found = content_digest(meta)
    if pinned and found not in pinned:
        raise OtherContentError(
            f"{root}: {meta['kind']} entry {meta['key']} holds other content than the lock pins: digest "
            f"{found}, pinned {' or '.join(sorted(pinned))}; somebody replaced it, or another machine "
            "computed other numbers: ask who keeps that root, let `weclick cache audit` compute it again, or "
            "compute all anew into an empty root (WECLICK_CACHE=from_scratch)"
        )
