"""How good proxy labels are where frames have true labels. Nothing is trained or chosen by it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from weclick.common.files import read_lines, write_text
from weclick.common.strict_json import strict_json
from weclick.manifest import IGNORE, Manifest
from weclick.manifest.read import read_label_of
from weclick.proxy_labels.proxy_labels import read_proxy_labels
from weclick.store import Store

SUFFIX = ".quality.jsonl"
"""`0.json`, an index, gets `0.quality.jsonl` beside it: a line for each class."""

COUNTS = ("frames", "true_px", "found_px", "hit_px", "unlabelled_px")


def proxy_quality(manifest: Manifest, keys: Mapping[str, str], store: Store) -> list[dict[str, Any]]:
    """Compare the proxy labels of clips with the true labels of their frames, pixel by pixel.

    Args:
        manifest: with true labels of some frames; others are left out.
        keys: clip id -> key of its proxy labels.
        store: holds them.

    Returns:
        A row of each class that occurs, see `rated`; none if no frame has both labels.

    Raises:
        InputError: a label cannot be read, or an entry is of other frames.
        DamagedEntryError: an entry is not as it was committed.
    """
    classes = manifest.num_classes
    matrix = np.zeros((classes, classes + 1), np.int64)  # true by found; the last column is unlabelled
    frames = 0
    for clip in manifest.clips:
        for t, found in read_proxy_labels(store.get("proxy_labels", keys[clip.id]), clip):
            if clip.frames[t].label:
                truth = read_label_of(manifest, clip, clip.frames[t])
                known, frames = truth != IGNORE, frames + 1
                cells = truth[known].astype(np.int64) * (classes + 1) + np.minimum(found[known], classes)
                matrix += np.bincount(cells, minlength=matrix.size).reshape(matrix.shape)
    labelled = matrix[:, :classes]
    return [
        rated(
            {
                "class": name,
                "frames": frames,
                "true_px": int(labelled[k].sum()),
                "found_px": int(labelled[:, k].sum()),
                "hit_px": int(labelled[k, k]),
                "unlabelled_px": int(matrix[k, classes]),
            }
        )
        for k, name in enumerate(manifest.classes.names)
        if matrix[k].any() or labelled[:, k].any()
    ]


def rated(counts: Mapping[str, Any]) -> dict[str, Any]:
    """The counts of a class, with its scores.

    Args:
        counts: class, its name; frames that have both labels; and of their pixels with a known truth:
            true_px and found_px, those of the class by truth and by label; hit_px, by both; all three only
            where there is a label; unlabelled_px, those of the class that have none.

    Returns:
        The same, and of labelled pixels iou, precision and recall in 0..1; None where nothing is divided by.
    """
    true_px, found_px, hit_px = counts["true_px"], counts["found_px"], counts["hit_px"]
    wholes = {"iou": true_px + found_px - hit_px, "precision": found_px, "recall": true_px}
    return {**counts, **{name: hit_px / whole if whole else None for name, whole in wholes.items()}}


def write_quality(index: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write the rows of `proxy_quality` beside the index of the entries; without any, no file stays there."""
    path, lines = index.with_suffix(SUFFIX), [f"{strict_json(row)}\n" for row in rows]
    if lines:
        write_text(path, "".join(lines))
    else:
        path.unlink(missing_ok=True)


def read_quality(indexes: Iterable[Path]) -> list[dict[str, Any]]:
    """The quality of all shards together, as `proxy_quality` gives it; none if no shard has any.

    Args:
        indexes: of the entries; what lies beside them is read.

    Raises:
        InputError: a file is not as `write_quality` writes it.
    """
    total: dict[str, dict[str, Any]] = {}
    beside = (index.with_suffix(SUFFIX) for index in indexes)
    for path in (path for path in beside if path.is_file()):
        for row in read_lines(path, "proxy_labels", SUFFIX.strip(".")):
            counts = total.setdefault(row["class"], {"class": row["class"], **dict.fromkeys(COUNTS, 0)})
            counts |= {name: counts[name] + row[name] for name in COUNTS}
    return [rated(counts) for counts in total.values()]
