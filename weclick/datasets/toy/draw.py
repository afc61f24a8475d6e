"""toy: a synthetic street with exact labels, instances and optical flow, drawn from a seed.

Nine Cityscapes classes in the Cityscapes colours and folder layout. A clip is a function of its parameters
alone. So the data set needs no download, and grows without a change of existing clips.
"""

from __future__ import annotations

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from weclick.common.disk import read_plain
from weclick.common.errors import UnreadableError, room_to_write
from weclick.common.files import alone
from weclick.common.progress import progress_bar
from weclick.datasets.toy.classes import CLASSES, INSTANCE_CLASSES, PALETTE
from weclick.datasets.toy.clip import Clip, check_parameters, render_clip

__all__ = ["CLASSES", "INSTANCE_CLASSES", "PALETTE", "Clip", "clip_name", "generate", "render_clip"]

FORMAT_VERSION = 1  # raise it when the same parameters begin to give other files
KINDS = ("leftImg8bit", "gtFine", "flow")

_MARK = "clip.json"  # written last; a clip without it, or with other parameters, is rendered again


def generate(
    root: Path,
    *,
    seed: int,
    height: int,
    width: int,
    clips: dict[str, int],
    frames: int,
    absent: float = 0.0,
) -> dict[str, list[str]]:
    """Write the data set, or the part of it that is missing.

    Layout; flow is on the first frame's grid, in KITTI's 16-bit PNG (third channel 1 where the second frame
    shows the point):

        leftImg8bit/{split}/{clip}/{clip}_{frame:06d}_leftImg8bit.png
        gtFine/{split}/{clip}/{clip}_{frame:06d}_gtFine_labelIds.png and _gtFine_instanceIds.png
        flow/{split}/{clip}/{clip}_{frame:06d}_to_{frame:06d}.png

    Existing clips with the same parameters are kept. Clips of the same split are replaced or removed if they
    have other parameters, are half-written, or exceed the number asked for. Other files are left alone.

    Args:
        root: folder of the data set, made if missing.
        seed: of the data set, 0 or more.
        height: rows, at least 32.
        width: columns, at least 32.
        clips: number of clips of each split, for example {"train": 12, "val": 4}.
        frames: length of each clip, at least 1.
        absent: share of the clips that show nobody, and of those without a car, 0 to below 1.

    Returns:
        The clip names of each split.

    Raises:
        ValueError: a number is below its least value, or no split is asked for.
    """
    counts = {f"clips[{split!r}]": (count, 0) for split, count in clips.items()}
    check_parameters(seed=(seed, 0), height=(height, 32), width=(width, 32), frames=(frames, 1), **counts)
    if not clips:
        raise ValueError(
            "toy data set: clips is empty, expected a number for each split, such as {'train': 12}"
        )
    names = {split: [clip_name(split, index) for index in range(count)] for split, count in clips.items()}
    _remove_surplus(Path(root), names)
    size: dict[str, float] = {"height": height, "width": width, "frames": frames}
    size |= {"absent": absent} if absent else {}  # so that clips drawn before have the same mark
    recipes = [
        {"format_version": FORMAT_VERSION, "seed": seed, "split": split, "clip_index": index, **size}
        for split, count in clips.items()
        for index in range(count)
    ]
    missing = [recipe for recipe in recipes if not _is_complete(Path(root), recipe)]
    if missing:
        with alone(Path(root) / ".lock", f"{root}: another process draws here, waiting for it"):
            _draw(Path(root), recipes)
    return names


def _draw(root: Path, recipes: list[dict]) -> None:
    """Render the clips that are missing by now."""
    missing = [recipe for recipe in recipes if not _is_complete(root, recipe)]
    bar = progress_bar("toy street", len(recipes), "clip", done=len(recipes) - len(missing))
    with bar as running, ThreadPoolExecutor(os.cpu_count()) as pool:
        for done in as_completed([pool.submit(_write_clip, root, recipe) for recipe in missing]):
            done.result()
            running.advance()


def clip_name(split: str, clip_index: int) -> str:
    """Name of a clip, unique over splits: street_0000 in train, street_val_0000 in val."""
    return f"street_{clip_index:04d}" if split == "train" else f"street_{split}_{clip_index:04d}"


def _write_clip(root: Path, recipe: dict) -> None:
    """Render and write one clip; its folders appear whole, the one with the mark last."""
    split, name = recipe["split"], clip_name(recipe["split"], recipe["clip_index"])
    temporary = {kind: root / kind / split / f".{name}.tmp" for kind in KINDS}
    with room_to_write(root / KINDS[0] / split / name):
        try:
            _fill(temporary, name, recipe)
            for kind in reversed(KINDS):  # the marked folder is the first to go and the last to come
                shutil.rmtree(root / kind / split / name, ignore_errors=True)
            for kind in KINDS:
                temporary[kind].rename(root / kind / split / name)
        finally:
            for folder in temporary.values():
                shutil.rmtree(folder, ignore_errors=True)


def _fill(temporary: dict[str, Path], name: str, recipe: dict) -> None:
    """Render a clip into its three folders."""
    clip = render_clip(**{key: value for key, value in recipe.items() if key != "format_version"})
    for folder in temporary.values():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    for t in range(len(clip.images)):
        stem = f"{name}_{t:06d}"
        Image.fromarray(clip.images[t]).save(temporary["leftImg8bit"] / f"{stem}_leftImg8bit.png")
        _write_labels(temporary["gtFine"] / f"{stem}_gtFine_labelIds.png", clip.labels[t])
        instances = clip.instances[t].astype(np.uint16)
        Image.fromarray(instances).save(temporary["gtFine"] / f"{stem}_gtFine_instanceIds.png")
        for s in (t - 1, t + 1):
            if 0 <= s < len(clip.images):
                _write_flow(temporary["flow"] / f"{stem}_to_{s:06d}.png", *clip.flow(t, s))
    (temporary[KINDS[-1]] / _MARK).write_text(json.dumps(recipe, sort_keys=True) + "\n", encoding="utf-8")


def _is_complete(root: Path, recipe: dict) -> bool:
    """Whether the clip of a recipe is on disk, whole."""
    folders = [
        root / kind / recipe["split"] / clip_name(recipe["split"], recipe["clip_index"]) for kind in KINDS
    ]
    counts = (recipe["frames"], 2 * recipe["frames"], 2 * recipe["frames"] - 2)
    whole = all(
        len(list(folder.glob("*.png"))) == count for folder, count in zip(folders, counts, strict=True)
    )
    return whole and _read_mark(folders[-1]) == recipe


def _read_mark(folder: Path) -> dict | None:
    """The recipe of a clip; None without a readable mark."""
    try:
        return json.loads(read_plain(folder / _MARK))
    except UnreadableError:  # the clip may be whole
        raise
    except (OSError, ValueError):
        return None


def _remove_surplus(root: Path, names: dict[str, list[str]]) -> None:
    """Remove clips that an earlier, larger data set left in these splits; their mark tells them."""
    for split, wanted in names.items():
        for mark in (root / KINDS[-1] / split).glob(f"*/{_MARK}"):
            if mark.parent.name not in wanted:
                for kind in reversed(KINDS):
                    shutil.rmtree(root / kind / split / mark.parent.name, ignore_errors=True)


def _write_labels(path: Path, labels: np.ndarray) -> None:
    """A palette PNG of class ids."""
    image = Image.fromarray(labels)
    image.putpalette([value for colour in PALETTE for value in colour])
    image.save(path)


def _write_flow(path: Path, flow: np.ndarray, visible: np.ndarray) -> None:
    """KITTI's flow PNG: u * 64 + 2^15, v * 64 + 2^15, valid (development kit of KITTI 2015)."""
    stored = np.clip(np.rint(flow * 64.0) + 2**15, 0, 2**16 - 1).astype(np.uint16)
    u, v = stored[..., 0], stored[..., 1]
    made, content = cv2.imencode(".png", cv2.merge([visible.astype(np.uint16), v, u]))
    assert made
    path.write_bytes(content.tobytes())  # cv2.imwrite would not report a full disk
