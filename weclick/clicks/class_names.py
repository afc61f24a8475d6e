"""Which class a table of people's names: by its name, or by its id."""

from __future__ import annotations

from weclick.common.errors import InputError
from weclick.manifest.names import nearest, plain


def class_id_of(text: str, names: tuple[str, ...], where: str) -> int:
    """The id of a class that a person named.

    Args:
        text: name in any form of Unicode, or id, as spreadsheets write it.
        names: of the data set's classes, in the order of their ids.
        where: file and line, for the error.

    Raises:
        InputError: there is no such class.

    Example:
        >>> class_id_of("car", ("road", "car"), "line 2"), class_id_of("0.0", ("road", "car"), "line 3")
        (1, 0)
    """
    known = {plain(name): i for i, name in enumerate(names)}
    if plain(text) in known:
        return known[plain(text)]
    number = text.removesuffix(".0")  # as spreadsheets write it
    if number.isdecimal() and len(number) < 10 and int(number) < len(names):
        return int(number)
    raise InputError(
        f"{where}: class {text[:100]!r} is unknown{nearest(text[:100], names)}; "
        f"expected one of {', '.join(names)}, or an id 0..{len(names) - 1}"
    )
