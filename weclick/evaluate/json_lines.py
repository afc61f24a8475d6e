"""What predict says of each frame in numbers, as JSON Lines: see data_schema/predictions.schema.json."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from weclick.common.files import written_whole
from weclick.common.rle import area_and_box, encode_masks
from weclick.common.strict_json import strict_json
from weclick.evaluate.answers import Answer
from weclick.evaluate.own_files import JSON_MARK

DIGITS = 6
"""Behind the point, of seconds and scores; shares have 4."""


def json_lines(
    path: Path,
    source: str,
    classes: tuple[str, ...],
    rate: Callable[[], Fraction | None],
    open_files: ExitStack,
) -> Callable[[Answer], None]:
    """A function that takes the answers of one source, in order, and writes a line for each.

    The file begins with the first of them. It appears when `open_files` closes.

    Args:
        path: of the file.
        source: what was predicted, for the first line.
        classes: names.
        rate: tells the frames a second once there is a frame; None for images.
        open_files: closes the file.
    """
    file: BinaryIO | None = None
    number = 0

    def write(answer: Answer) -> None:
        nonlocal file, number
        if file is None:
            file = open_files.enter_context(written_whole(path))
            fps = rate()
            head = {"source": source, "classes": classes, "fps": None if fps is None else float(fps)}
            _line(file, {**JSON_MARK, **head})
        _line(file, frame_record(answer, classes, number))
        number += 1

    return write


def frame_record(answer: Answer, classes: tuple[str, ...], position: int) -> dict[str, Any]:
    """The line of a frame.

    Args:
        answer: of the network.
        classes: names.
        position: of the frame among those of its source, which numbers images.
    """
    frame, pixels = answer.frame, np.bincount(answer.class_ids.ravel(), minlength=256)
    shares = 100 * pixels[: len(classes)] / answer.class_ids.size
    timed = frame.time_s is not None
    record: dict[str, Any] = {
        "name": frame.name,
        "frame": frame.number if timed else position,
        "time_s": None if frame.time_s is None else round(float(frame.time_s), DIGITS),
        "height_px": answer.image.shape[0],
        "width_px": answer.image.shape[1],
        "percent": {name: round(float(share), 4) for name, share in zip(classes, shares, strict=True)},
    }
    if answer.shown is not None:
        record["objects"] = _objects(answer, classes)
    return record


def _objects(answer: Answer, classes: tuple[str, ...]) -> list[dict[str, Any]]:
    assert answer.shown is not None
    masks, class_ids, scores = answer.shown
    numbers = answer.numbers if answer.numbers is not None else [None] * len(masks)
    found = []
    for code, class_id, score, number in zip(encode_masks(masks), class_ids, scores, numbers, strict=True):
        area, box = area_and_box(code)
        found.append(
            {
                "class": classes[int(class_id)],
                "score": round(float(score), DIGITS),
                "track": number,
                "bbox": box,
                "area": area,
                "segmentation": code,
            }
        )
    return found


def _line(file: BinaryIO, record: dict[str, Any]) -> None:
    file.write(f"{strict_json(record)}\n".encode())
