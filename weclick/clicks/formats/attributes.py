"""Which of several attributes or columns holds the class of a point."""

from __future__ import annotations

from collections.abc import Iterable

from weclick.common.errors import InputError


def chosen_key(given: Iterable[Iterable[str]], label_key: str) -> str:
    """The attribute that holds the class.

    Args:
        given: the names of each point's attributes.
        label_key: the one that a person named; empty: there is one only.

    Raises:
        InputError: nobody named one, and there are several.
    """
    names = dict.fromkeys(name for each in given for name in each)
    if label_key or not names:
        return label_key
    if len(names) > 1:
        raise InputError(
            f"points have the attributes {', '.join(map(repr, names))}; name the one that holds the class, "
            f"e.g. --label-key {next(iter(names))!r}"
        )
    return next(iter(names))
