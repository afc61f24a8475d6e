"""What a page shows."""

import re
from html import unescape


def part(page: str, anchor: str) -> str:
    """A section of the page."""
    found = re.search(rf'<section id="{anchor}">.*?</section>', page, re.DOTALL)
    assert found, anchor
    return found[0]


def told(html: str) -> str:
    """What a reader sees of it."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def alts(html: str) -> list[str]:
    return [unescape(alt) for alt in re.findall('<img[^>]*alt="([^"]*)"', html)]
