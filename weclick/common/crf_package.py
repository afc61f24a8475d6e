"""Whether the package of the dense CRF can be loaded. No torch is, so that a workflow may ask at once."""

from __future__ import annotations

import importlib

from weclick.common.errors import InputError

MODULE = "pydensecrf.densecrf"


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
