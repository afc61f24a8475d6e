"""Names of store entries: digests of what they were made from, and of nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from weclick.common.digest import canonical_json


def entry_key(kind: str, inputs: Mapping[str, Any]) -> str:
    """The key of an entry: SHA-256 (hex) over the canonical JSON of its kind and inputs.

    Inputs hold content digests, options and the stage's FORMAT_VERSION. Paths, hosts, batch sizes and
    worker counts do not belong there, since they do not change the result.
    """
    return hashlib.sha256(canonical_json({"kind": kind, "inputs": inputs}).encode()).hexdigest()
