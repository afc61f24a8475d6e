"""The code that a network's key holds: what computes its weights, and nothing else."""

from __future__ import annotations

from weclick.code_digest import code_digest

LEFT_OUT = (
    "weclick.clicks",
    "weclick.code_digest",
    "weclick.config",
    "weclick.datasets",
    "weclick.errors",
    "weclick.frames",
    "weclick.gpu_slots",
    "weclick.machine",
    "weclick.metrics_log",
    "weclick.network_code",
    "weclick.progress",
    "weclick.schemas",
    "weclick.stopwatch",
    "weclick.store",
)
"""What computes no weight, and what makes clicks and frames, which a key holds by their content."""

TRAINS_LIKE = {
    "b0b4f1b3614307077c89dcadf67962b44398e122ec9b9bba1819dfa33414da29": (
        "7e76ac639b584faafea0e15828bc13278a50454d6ab3984af089f841647737e8"
    ),
    "357046551d44ec5cf51c3dfc17c38af3c47888759639088eac60bcf3663c3cab": (  # keep: best
        "2a55020c52bba6f47e2d95aa61a76ce8cff84a504a70c39f9bc4bc293f480f3a"
    ),
    "ed3185b57e5352f2c689b4f183c54efea77ff067c3b1d19c4c4b40cd82190d40": (  # student.online
        "1e85c180c0a8b53c05c5b7aedfc7153c5a5ead7ee984b600ee5d865ef2f8911b"
    ),
}
"""Digest of today's code -> digest in the keys of networks that it trains to the very same bits.

So networks that people have are found after an edit that changed no weight. A row is added only when
`benchmarks/same_weights.py` has seen it: it trains with both codes on one machine and compares every bit.
"""


def network_code(*modules: str) -> str:
    """What stands for the code of `modules` in the key of a network, as SHA-256 in hex.

    Args:
        modules: dotted names of those that train it; what they import counts too, without LEFT_OUT.

    Raises:
        ValueError: a name is no module of weclick.
    """
    digest = code_digest(*modules, without=LEFT_OUT)
    return TRAINS_LIKE.get(digest, digest)
