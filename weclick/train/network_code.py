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
    "d09f6ca7a6750aee56a6665f16faf8787b20978efa5c836f582dbe3930819610": (
        "7e76ac639b584faafea0e15828bc13278a50454d6ab3984af089f841647737e8"
    ),
    "e9d6ed51ec00e5cda1047ef98ac5043659c8d5610bf9166063a340b97c5d0108": (  # keep: best
        "2a55020c52bba6f47e2d95aa61a76ce8cff84a504a70c39f9bc4bc293f480f3a"
    ),
    "c4371c0b0c6e0ad715aeb0be43ddbadd4633b98c336e1a3723c851b6776f8549": (  # on a backbone of timm
        "e6226d9f4cab5a2e6775ae5d5a9972aeab84b7762d3c3b4ebe35c1f764d061bb"
    ),
    "05c785b91a089854880d66143512bfea920c60713908ec7bea31d361f2dbd3eb": (  # both
        "62b60e22dacba11b1889513ffa2071d04732579cf4526ad0cc42fb2f4b249b78"
    ),
    "7fa939f039c7462000aadae0cb75c040273b1edf99c50f905b7c95be2b7d5272": (  # student.online
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
