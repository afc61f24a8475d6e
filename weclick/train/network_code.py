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
    "3910272917087933f068f66637b4c41cea83e2948c41562e79953aeaaa46289f": (
        "7e76ac639b584faafea0e15828bc13278a50454d6ab3984af089f841647737e8"
    ),
    "b8cca596a87c75591b0ae3844a1cf44146d43a2acb37a4db3432b62e08f42b48": (  # keep: best
        "2a55020c52bba6f47e2d95aa61a76ce8cff84a504a70c39f9bc4bc293f480f3a"
    ),
    "3265cc0ed40f6def67a8522acec8936d1a5d928350a0edd1e4ead85f5efa41ef": (  # on a backbone of timm
        "e6226d9f4cab5a2e6775ae5d5a9972aeab84b7762d3c3b4ebe35c1f764d061bb"
    ),
    "28933e4567ecec1bcbda0787f7c5835551e35e3ba26aeaadc0d01d1360e36054": (  # both
        "62b60e22dacba11b1889513ffa2071d04732579cf4526ad0cc42fb2f4b249b78"
    ),
    "b875cd3230ef9484f38397b630228fadb02538433fe3601ada82c5ca91be0e84": (  # student.online
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
