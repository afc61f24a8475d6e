"""Whether the package of the dense CRF can be loaded. No torch is, so that a workflow may ask at once."""

from __future__ import annotations

import importlib
import sys

from weclick.common.errors import InputError

MODULE = "pydensecrf.densecrf"

TOO_NEW = (3, 13)
"""The first Python for which pydensecrf2 1.1 cannot be built."""


def crf_fault(asked: str) -> str:
    """Why class maps cannot be post-processed; empty if they can.

    Args:
        asked: what asks for it, such as "evaluate.crf is irn".
    """
    try:
        importlib.import_module(MODULE)
    except ImportError as error:
        absent = isinstance(error, ModuleNotFoundError) and MODULE.startswith(error.name or " ")
        found = "is not installed" if absent else f"cannot be loaded ({error})"
        if absent and sys.version_info >= TOO_NEW:
            return (
                f"{asked}, which needs pydensecrf2, but that is not installed, and cannot be built for "
                "Python 3.13 and newer; take Python 3.11 or 3.12, or do without a CRF"
            )
        return (
            f"{asked}, which needs pydensecrf2, but that {found}; run `pip install 'weclick[crf]'` on a "
            "machine with a C++ compiler, which builds it in a few minutes, or do without a CRF"
        )
    return ""


def require_crf(asked: str) -> None:
    """Check that the package is there, before anything is computed.

    Raises:
        InputError: it is not.
    """
    if fault := crf_fault(asked):
        raise InputError(fault)
