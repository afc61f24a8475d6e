"""The files of other annotation tools: one module a format.

An importer is one function, `read(file, options)`. It returns None if the file is not of its format, else
marks one by one: points, what is no click (`Left`), what cannot be read (`Fault`), and hints. It says what
stands in the file, and nothing of the data set: `weclick.clicks.importing` checks frames, classes and sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from weclick.clicks.formats.coco import read_coco
from weclick.clicks.formats.csv_columns import read_csv_columns
from weclick.clicks.formats.cvat import read_cvat
from weclick.clicks.formats.deeplabcut import read_deeplabcut
from weclick.clicks.formats.labelme import read_labelme
from weclick.clicks.formats.labelstudio import read_labelstudio
from weclick.clicks.formats.labelstudio_min import read_labelstudio_min
from weclick.clicks.formats.marks import Mark, ReadOptions
from weclick.clicks.formats.source import AnnotationFile
from weclick.clicks.formats.via2 import read_via2
from weclick.clicks.formats.via3 import read_via3
from weclick.common.errors import InputError

__all__ = ["READERS", "Reader", "UnknownFormatError", "read_marks"]

Reader = Callable[[AnnotationFile, ReadOptions], Iterator[Mark] | None]


class UnknownFormatError(InputError):
    """A file is in no format that is read."""


READERS: dict[str, Reader] = {
    "cvat": read_cvat,
    "labelstudio": read_labelstudio,
    "labelstudio-min": read_labelstudio_min,
    "labelme": read_labelme,
    "coco": read_coco,
    "via2": read_via2,
    "via3": read_via3,
    "deeplabcut": read_deeplabcut,
    "csv": read_csv_columns,
}
"""Name of a format -> its importer. The first that knows a file reads it; `csv` takes any table."""


def read_marks(file: AnnotationFile, options: ReadOptions, only: str = "") -> tuple[str, Iterator[Mark]]:
    """What a file says, and the name of its format.

    Args:
        file: what a tool wrote.
        options: what a person says of it.
        only: the name of its format; empty: that of the first importer which knows it.

    Raises:
        UnknownFormatError: no importer knows it.
        InputError: it is damaged. The iterator may raise it, too.
    """
    for name, read in READERS.items() if not only else [(only, READERS[only])]:
        marks = read(file, options)
        if marks is not None:
            return name, marks
    expected, hint = only or ", ".join(READERS), _looks_like(file)
    raise UnknownFormatError(
        f"{file.name}: is in no format that is read{hint}; expected {expected}: export it again, "
        "or leave it out"
    )


def _looks_like(file: AnnotationFile) -> str:
    """What people take for an export."""
    first = file.json[0] if isinstance(file.json, list) and file.json else file.json
    if isinstance(first, dict) and {"shapes", "tracks"} <= first.keys():
        return (
            " (it looks like CVAT's backup or REST answer, whose frames count from the start of the task; "
            "export `CVAT for video 1.1`)"
        )
    return ""
