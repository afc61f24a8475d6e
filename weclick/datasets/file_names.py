"""Names of files: their order, the numbers in them, and names that a run cannot work with."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from weclick.common.errors import InputError
from weclick.manifest.names import plain

CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""Line breaks and the like; no name may hold them."""

_LAST_NUMBER = re.compile(r"(\d+)\D*$")
_DECIMAL = re.compile(r"(\D*)(\d+)\.(\d+)\D*")
_DATE = re.compile(
    r"(?<!\d)((?:19|20)\d\d)(\d\d)(\d\d)(?:[-_ T]?(\d\d)(\d\d)(\d\d)(?:[-_.]?(\d{2,6}))?)?\D*$", re.ASCII
)
"""A date at the end of a name, perhaps with the time of day: 20210304_120059 or 20210304120059870."""

_UPLOAD = re.compile(r"[0-9a-f]{8,}(-[0-9a-f]{4,12})*[-_](?=.)")
"""What labelling tools put before the name of an uploaded file: a part of a hash or a UUID."""


def in_utf8(path: Path) -> Path:
    """The path, if its name is UTF-8 without control characters.

    Raises:
        InputError: the name comes from an old archive or stick, and is in Latin-1 or another encoding. Or it
            holds a line break or the like, which would break up lists and logs.
    """
    if path.name.isascii() and path.name.isprintable():
        return path
    try:
        path.name.encode()
    except UnicodeEncodeError:
        seen = os.fsencode(path.name).decode("latin-1")
        other = "; in another encoding give that, such as -f cp1252 or -f shift_jis" * bool(
            CONTROLS.search(seen)
        )
        raise InputError(
            f"{path.parent}: holds a name that is not in UTF-8; read as Latin-1 it is {seen!r}: rename "
            f"it, e.g. with `convmv -f latin1 -t utf8 -r --notest {path.parent}`{other}"
        ) from None
    if CONTROLS.search(path.name):
        raise InputError(f"{path.parent}: the name {path.name!r} holds a control character; rename it")
    return path


def by_stem(paths: Iterable[Path]) -> dict[str, Path]:
    """Files of one folder by their names without endings, in composed Unicode.

    Raises:
        InputError: two files differ in their ending or in their Unicode form only.
    """
    found: dict[str, Path] = {}
    for path in paths:
        other = found.setdefault(plain(path.stem), path)
        if other is not path:
            raise InputError(
                f"{path.parent}: {other.name!r} and {path.name!r} are two files of one name; which one "
                "counts? Move masks and previews elsewhere, or rename one"
            )
    return found


def in_order(stems: Sequence[str]) -> list[tuple[int, str]]:
    """The frames of a clip in time, each with its number.

    They stand in the order of their names, with numbers compared as numbers: frame2 comes before frame10.
    The last number in a name counts frames if these numbers rise in that order. Otherwise the names tell
    something else, say hours and minutes, and the numbers are 0, 1, 2, ...

    Where all names end with a date, or with date and time, as 20210304_120059, their digits leap at the end
    of a minute or month. If they do, the numbers are the days, seconds or parts of a second since the first.

    Args:
        stems: names without endings, in any order.

    Returns:
        (number, stem) of each.
    """
    names = _without_upload_prefix(stems)
    seconds = _seconds(names.values())
    ordered = sorted(stems, key=lambda stem: (seconds.get(names[stem], natural(names[stem])), stem))
    numbers = [number for stem in ordered if (number := last_number(names[stem])) is not None]
    rising = all(a < b for a, b in pairwise(numbers))
    if len(numbers) < len(ordered) or not rising or seconds:
        numbers = list(range(len(ordered)))
    elif (times := _since_first([names[stem] for stem in ordered])) and _steps(times) != _steps(numbers):
        numbers = times
    return list(zip(numbers, ordered, strict=True))


def natural(name: str) -> tuple[str | int, ...]:
    """A key to sort names by, with numbers compared as numbers."""
    parts = re.split(r"(\d+)", plain(name).casefold())
    return tuple(int(part) if i % 2 else part for i, part in enumerate(parts))


def last_number(name: str) -> int | None:
    """The last number in a name, e.g. 7 of cat_007; None if there is none."""
    match = _LAST_NUMBER.search(name)
    return int(match[1]) if match else None


def shift_between(numbers: Sequence[int], frames: Sequence[int]) -> int:
    """What to add to `numbers` so that all of them name one of `frames`; 0 if they do, or if nothing fits.

    One more or less is tried, and the shift that brings the first to the first.
    """
    known = set(frames)
    if not numbers or not known or set(numbers) <= known:
        return 0
    shifts = (-1, 1, min(known) - min(numbers)) if len(numbers) > 1 else (-1, 1)
    return next((by for by in shifts if all(number + by in known for number in numbers)), 0)


def _seconds(names: Iterable[str]) -> Mapping[str, tuple[str | int, ...]]:
    """Keys to sort by if all names are seconds with decimals, whose digits are no numbers of their own."""
    matches = {name: _DECIMAL.fullmatch(name) for name in names}
    found = [match for match in matches.values() if match]
    if len(found) < len(matches) or len({match[1] for match in found}) > 1:
        return {}
    whole, fractions = {match[2] for match in found}, [match[3] for match in found]
    uneven = len({len(fraction) for fraction in fractions}) > 1
    if len(whole) < 2 and (found[0][1] or not uneven):
        return {}  # shot010.0001, shot010.0002: frames of one shot
    if uneven and any(len(fraction) > 1 and fraction[-1] == "0" for fraction in fractions):
        return {}  # 1.9, 1.10: parts that count
    return {name: ("", int(match[2]), match[3]) for name, match in matches.items() if match}


def _since_first(names: Sequence[str]) -> list[int]:
    """The time from the first name to each, in the smallest unit they tell; empty unless all are times."""
    found = [match.groups() for name in names if (match := _DATE.search(name))]
    shapes = {(hour is None, len(part or "")) for _, _, _, hour, _, _, part in found}
    if len(found) < len(names) or len(shapes) != 1:
        return []
    try:
        times = [_time(*(int(part or 0) for part in parts[:6])) for parts in found]
    except ValueError:  # the 30th of February, or no time at all
        return []
    ((days, digits),) = shapes
    unit_s = 86400 if days else 1
    since = [int((time - times[0]).total_seconds()) // unit_s * 10**digits for time in times]
    parts = [int(part or 0) for *_, part in found]
    return [time + part - parts[0] for time, part in zip(since, parts, strict=True)]


def _time(year: int, month: int, day: int, hour: int, minute: int, second: int) -> datetime:
    return datetime(year, month, day, hour, minute, second)


def _steps(numbers: Sequence[int]) -> list[int]:
    return [b - a for a, b in pairwise(numbers)]


def _without_upload_prefix(stems: Sequence[str]) -> dict[str, str]:
    """Names by stem, without prefixes such as 3f2a91bc- if all of them carry one of their own."""
    prefixes = [match[0] for stem in stems if (match := _UPLOAD.match(stem))]
    if len(set(prefixes)) < len(stems) or not any(re.search("[a-f]", prefix) for prefix in prefixes):
        return {stem: stem for stem in stems}
    return {stem: stem[len(prefix) :] for stem, prefix in zip(stems, prefixes, strict=True)}
