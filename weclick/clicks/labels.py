"""Which class a label of another tool means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from weclick.common.errors import InputError
from weclick.manifest.names import nearest, same_name

MOST_HINTS = 20
"""So many errors guess what was meant: looking for a name that is alike takes long."""


class Labels:
    """The classes of labels, each looked up once."""

    def __init__(self, class_names: Sequence[str], told: Mapping[str, str | None]) -> None:
        """Take the classes of a data set, and what a person says of labels.

        Args:
            class_names: of the data set.
            told: label -> class; None leaves the label's points out.

        Raises:
            InputError: it names a class that is none.
        """
        self._names = list(class_names)
        self._found: dict[str, str | None] = {}
        self._unknown: dict[str, str] = {}
        for label, name in told.items():
            found = None if name is None else same_name(name, self._names)
            if name is not None and found is None:
                near = nearest(name, self._names)
                raise InputError(
                    f"--class-map gives {label!r} the class {name!r}, which is none{near}; expected one of "
                    f"{self._listed()}, or null to leave it out"
                )
            self._found[label] = found

    def find(self, label: str, *, by_id: bool = False) -> tuple[str | None, str]:
        """The class of a label.

        Args:
            label: as a file spells it; in any form of Unicode.
            by_id: a number may also be the id of a class, as in our own tables.

        Returns:
            The class, None to leave the point out; and what is wrong with the label, empty if nothing is.
        """
        if label in self._found:
            return self._found[label], ""
        if label not in self._unknown:
            found = same_name(label, self._names)
            number = label.removesuffix(".0")  # as spreadsheets write it
            if found is None and by_id and number.isdecimal() and int(number) < len(self._names):
                found = self._names[int(number)]
            if found is not None:
                self._found[label] = found
                return found, ""
            self._unknown[label] = self._fault(label)
        return None, self._unknown[label]

    def _fault(self, label: str) -> str:
        if not label:
            return "it has no label; give it one in the tool, or name the attribute by --label-key"
        near = nearest(label[:80], self._names) if len(self._unknown) < MOST_HINTS else ""
        return f"there is no such class{near}; expected one of {self._listed()}, or map it by --class-map"

    def _listed(self) -> str:
        more = f" and {len(self._names) - 20} more" if len(self._names) > 20 else ""
        return f"{', '.join(self._names[:20])}{more}"
