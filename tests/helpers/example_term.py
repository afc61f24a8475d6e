"""The example of docs/extending.md: a loss and its row in the table of terms."""

import re

from helpers.places import ROOT
from weclick.train.terms import Term


def example_term() -> Term:
    """The row, made by the code on the page."""
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    loss, row = re.findall(r"```python\n(.*?)```", text, re.S)[2:4]
    space: dict = {}
    exec(loss + row, space)
    return space["ENTROPY"]
