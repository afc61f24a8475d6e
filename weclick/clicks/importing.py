"""Clicks from the files of other tools: every point is placed, checked and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from weclick.clicks.checks import Click, Units, double_words, near_doubles, pixel
from weclick.clicks.formats import UnknownFormatError, read_marks
from weclick.clicks.formats.marks import Fault, Hint, Left, Point, ReadOptions, check_count
from weclick.clicks.formats.source import AnnotationFile, annotation_files
from weclick.clicks.labels import Labels
from weclick.clicks.placing import NameMap, NoSpot, Spot, Spots
from weclick.manifest.clips import Clip

_LOG = "the log of clicks"

SHOWN = 20
"""So many errors are told one by one; the others are counted."""


@dataclass(frozen=True)
class ImportOptions:
    """What a person says of an import.

    Attributes:
        read: for the importers.
        format: the name of the files' format; empty: they show it.
        clip: the one clip of all files; empty: they tell it.
        classes: label -> class; None leaves the label's points out.
        names: name of an image or video -> clip and frame.
    """

    read: ReadOptions = field(default_factory=ReadOptions)
    format: str = ""
    clip: str = ""
    classes: Mapping[str, str | None] = field(default_factory=dict)
    names: NameMap = field(default_factory=dict)


@dataclass
class Imported:
    """What files gave.

    Attributes:
        clicks: click -> (who made it, the name of the file's format); in the order of the files.
        left: reason of LEFT_OUT -> how many.
        errors: reason of ERRORS -> how many.
        told: the first SHOWN errors, each with its file, frame and label.
        warnings: short name -> sentences.
    """

    clicks: dict[Click, tuple[str, str]] = field(default_factory=dict)
    left: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)
    warnings: dict[str, list[str]] = field(default_factory=dict)

    def report(self) -> dict[str, Any]:
        """The counts, for a JSON file."""
        return {
            "taken": len(self.clicks),
            "skipped": dict(self.left),
            "errors": self.errors.total(),
            "error_reasons": dict(self.errors),
            "warnings": list(self.warnings),
        }

    def fail(self, reason: str, told: str) -> None:
        """Count an error."""
        self.errors[reason] += 1
        if len(self.told) < SHOWN:
            self.told.append(told)


def import_files(
    paths: Sequence[Path],
    clips: Sequence[Clip],
    root: Path,
    class_names: Sequence[str],
    options: ImportOptions,
    *,
    known: Sequence[Click] = (),
) -> Imported:
    """The clicks of annotation files.

    Args:
        paths: of files, zip archives, and folders of them.
        clips: all of the data set.
        root: of the data set.
        class_names: of the data set.
        options: what a person says of the files.
        known: clicks that the data set has already. They do not come again, and must not be contradicted.

    Returns:
        The clicks that are right, and what became of all others. Nothing is written.

    Raises:
        InputError: a file cannot be read at all, or holds more than people make.
    """
    work = _Import(Spots(clips, root, clip=options.clip, names=options.names), class_names, options, known)
    for file in annotation_files(paths):
        work.take(file)
    if work.unknown and not work.files:
        raise work.unknown
    new = set(work.done.clicks)
    pairs = [pair for pair in near_doubles([*known, *work.done.clicks]) if pair[1] in new]
    if told := double_words(pairs):
        work.done.warnings["near_doubles"] = [told]
    return work.done


class _Import:
    def __init__(
        self, spots: Spots, class_names: Sequence[str], options: ImportOptions, known: Iterable[Click]
    ) -> None:
        self.done = Imported()
        self._spots, self._options = spots, options
        self._labels = Labels(class_names, options.classes)
        self._pixels: dict[tuple[str, str, int, int], tuple[str, str]] = {
            click[:4]: (click.class_name, _LOG) for click in known
        }
        self._count = 0
        self.files = 0
        self.unknown: UnknownFormatError | None = None

    def take(self, file: AnnotationFile) -> None:
        """Take the marks of one file. What lies beside annotations, in no format that is read, is told."""
        try:
            kind, marks = read_marks(file, self._options.read, self._options.format)
        except UnknownFormatError as error:
            if file.is_named:
                raise
            self.unknown = self.unknown or error
            self._note(Hint("not_read", str(error)))
            return
        self.files += 1
        units, found = Units(), []
        for mark in marks:
            if isinstance(mark, Point):
                self._count += 1
                check_count(self._count, file.name)
                found.append((mark, self._spot(mark, file.name, units)))
            else:
                self._note(mark)
        if fault := units.fault():
            first = next(point for point, spot in found if spot)
            self._fail("wrong_unit", first, file.name, f"{fault}; expected px: multiply by the frame's sides")
            return
        for point, spot in found:
            if spot:
                self._add(point, spot, file.name, kind)

    def _note(self, mark: Left | Fault | Hint) -> None:
        if isinstance(mark, Left):
            self.done.left[mark.reason] += mark.count
        elif isinstance(mark, Fault):
            self.done.fail(mark.reason, mark.told)
        else:
            self.done.warnings.setdefault(mark.name, []).append(mark.told)

    def _spot(self, point: Point, name: str, units: Units) -> Spot | None:
        """The frame of a point, if it is there and as large as the file tells."""
        spot = self._spots.find(point.place)
        if isinstance(spot, NoSpot):
            self._fail(spot.reason, point, name, spot.told)
            return None
        if point.unit != "percent":
            units.add(point.y, point.x, spot.size)
        told = point.place.size
        if told and told != spot.size:
            sizes = "the file tells {}x{} px (HxW), but the upright frame has {}x{}".format(*told, *spot.size)
            self._fail("size_differs", point, name, f"{sizes}; annotate the frames of the data set")
            return None
        return spot

    def _add(self, point: Point, spot: Spot, name: str, kind: str) -> None:
        class_name, unknown = self._labels.find(point.label, by_id=kind == "csv")
        if unknown:
            self._fail("unknown_class" if point.label else "no_label", point, name, unknown)
            return
        if class_name is None:
            self.done.left["dropped"] += 1
            return
        y, x = (
            pixel(_from_corner(value, point, side), side)
            for value, side in zip((point.y, point.x), spot.size, strict=True)
        )
        if y is None or x is None:
            size = "{}x{} px (HxW)".format(*spot.size)
            told = f"(y {point.y:g}, x {point.x:g}) lies outside the frame of {size}"
            self._fail("out_of_frame", point, name, told)
            return
        click = Click(*spot.key, y, x, class_name)
        other, first = self._pixels.setdefault(click[:4], (class_name, f"{name}, {point.where}"))
        if other != class_name:
            told = f"the pixel (y {y}, x {x}) is {other!r} by {first}; keep one of the two"
            self._fail("two_classes", point, name, told)
        elif first == _LOG or click in self.done.clicks:
            self.done.left["in_the_log" if first == _LOG else "duplicate"] += 1
        else:
            self.done.clicks[click] = (point.who, kind)

    def _fail(self, reason: str, point: Point, name: str, told: str) -> None:
        label = f"label {point.label!r:.80}" if point.label else "no label"
        self.done.fail(reason, f"{name}, {point.where}, {point.place}, {label}: {told}")


def _from_corner(value: float, point: Point, side: int) -> float:
    """A coordinate in px from the corner of the first pixel."""
    if point.unit == "percent":
        return value / 100 * side
    return value + 0.5 if point.unit == "centre" else value
