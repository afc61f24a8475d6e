"""Numbers as people read them: an unknown one, None or NaN, becomes a dash. Addresses without passwords."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

DASH = "\N{EN DASH}"

_USER = re.compile(r"(?<=:/)(/*)[^\s'\"<>]*@")
_WORD = r"[^=&\s'\"]*"
_QUERY = re.compile(
    rf"(?i)([?&]{_WORD}(?:key|token|secret|sign|passw|pwd|credential|auth){_WORD}=)[^&\s'\"]+"
)
_ACCESS_KEY = re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}")


def known(value: Any) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)


def masked(text: str) -> str:
    """A text without the passwords and keys in its addresses: https://me:secret@host -> https://***@host."""
    text = _QUERY.sub(r"\1***", _USER.sub(r"\1***@", text))
    return _ACCESS_KEY.sub("***", text)


def percent(share: float | None) -> str:
    """0.5834 -> 58.3. The unit follows, or a heading names it."""
    return f"{100 * share:.1f}" if share is not None and known(share) else DASH


def points(difference: float | None) -> str:
    """A difference of two shares in percentage points, with its sign: 0.012 -> +1.2."""
    if difference is None or not known(difference):
        return DASH
    return f"{100 * difference:+.1f}".replace("-", "\N{MINUS SIGN}")


def count(number: float | None) -> str:
    """1234567 -> 1,234,567."""
    return f"{number:,.0f}" if number is not None and known(number) else DASH


def short_count(number: float | None) -> str:
    """16607667 -> 16.61 M, 234567 -> 235 k."""
    if number is None or not known(number):
        return DASH
    if number < 1000:
        return f"{number:.0f}"
    return f"{number / 1e6:.2f} M" if number >= 999_500 else f"{number / 1e3:.0f} k"


def rate(per_second: float | None) -> str:
    """Three figures of a rate: 128.34 -> 128, 8.412 -> 8.41."""
    if per_second is None or not known(per_second):
        return DASH
    return f"{per_second:,.0f}" if per_second >= 100 else f"{per_second:.3g}"


def duration(seconds: float | None) -> str:
    """12.34 -> 12.3 s, 83 -> 1 min 23 s, 3725 -> 1 h 02 min."""
    if seconds is None or not known(seconds):
        return DASH
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def spread(score: Mapping[str, Any] | None, style: Any = percent) -> str:
    """Mean and spread over seeds: 58.3 ± 0.7; only the mean if there is one seed.

    Args:
        score: {"mean", "spread"}, or None.
        style: writes a number.
    """
    if not score or not known(score.get("mean")):
        return DASH
    mean, deviation = style(score["mean"]), score.get("spread")
    return f"{mean} ± {style(deviation)}" if known(deviation) else mean


def size(sides_px: Iterable[int]) -> str:
    """Height and width: 360 × 480; empty if they are not known."""
    return " \N{MULTIPLICATION SIGN} ".join(map(str, sides_px))


def plural(number: int, word: str) -> str:
    """1 frame, 1,234 frames."""
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def count_bytes(number: float | None) -> str:
    """A number of bytes in powers of 1024: 3355443 -> 3.2 MiB."""
    if number is None or not known(number):
        return DASH
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} B" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def mebibytes(number: float) -> str:
    """A number of bytes in MiB without the unit, for columns and sums that name it: 3355443 -> 3.2."""
    return f"{number / 2**20:,.1f}"
