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
    "1900095b49a1840a35e011d74d286f0f6bc253f359bb5f0f69068178d57a81d8": (
        "7e76ac639b584faafea0e15828bc13278a50454d6ab3984af089f841647737e8"
    ),
    "147e78c2346e1ec3e50b4172e8588982b56b46cccfee4d493e2b104e43164489": (  # keep: best
        "2a55020c52bba6f47e2d95aa61a76ce8cff84a504a70c39f9bc4bc293f480f3a"
    ),
    "e380fd5fa2040993f1490ce3e8dbdc51acb818f3c65cf7304c08aae30db2fc3c": (  # on a backbone of timm
        "e6226d9f4cab5a2e6775ae5d5a9972aeab84b7762d3c3b4ebe35c1f764d061bb"
    ),
    "d68fa7ff9b9f8253588ef3ad65d363d7809022cad731d22b939af025bdb11320": (  # both
        "62b60e22dacba11b1889513ffa2071d04732579cf4526ad0cc42fb2f4b249b78"
    ),
    "049aa88f01d19870b8cc4966392d5574a3229a77093c95df397f9fba866cf773": (  # student.online
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
