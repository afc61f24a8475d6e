"""The digest of code in a network's key: the code that computes its weights, and no other."""

from __future__ import annotations

from weclick.common.code_digest import code_digest

LEFT_OUT = (
    "weclick.clicks",
    "weclick.common",
    "weclick.datasets",
    "weclick.models.timm_backbones",
    "weclick.store",
    "weclick.train.log",
    "weclick.train.network_code",
    "weclick.train.stopwatch",
)
"""Code that computes no weight, that makes clicks and frames (keys hold their content), or that some networks
alone need (their keys name it)."""

TRAINS_LIKE = {
    "33a7e87829680ebfaa0dbc163b555d76dd7e75063b59d7e26c57e0503755dba3": (
        "7e76ac639b584faafea0e15828bc13278a50454d6ab3984af089f841647737e8"
    ),
    "16c9a46f03ce80bd7f455ac9826ec93f88ee8c575cc49481944c982570da5c43": (  # keep: best
        "2a55020c52bba6f47e2d95aa61a76ce8cff84a504a70c39f9bc4bc293f480f3a"
    ),
    "b2b98b88a1007a487dd966e17f52dccd2a952cff313c4e68d0f82992ddc23218": (  # student.online
        "1e85c180c0a8b53c05c5b7aedfc7153c5a5ead7ee984b600ee5d865ef2f8911b"
    ),
}
"""Digest of today's code -> digest in the keys of networks that it trains to the very same bits.

So networks that people have are found after an edit that changed no weight. A row is added only when
`benchmarks/same_weights.py` has seen it: it trains with both codes on one machine and compares every bit.
"""


def network_code(*modules: str) -> str:
    """The digest of the code of `modules` in the key of a network, SHA-256 in hex.

    Args:
        modules: dotted names of modules that train it. Their imports count too, except LEFT_OUT.

    Raises:
        ValueError: a name is no module of weclick.
    """
    digest = code_digest(*modules, without=LEFT_OUT)
    return TRAINS_LIKE.get(digest, digest)
