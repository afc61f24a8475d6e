"""A data set without labels, for tests of clicks: clips of images and of videos, all of 48x64 px (HxW)."""

from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from weclick.clicks.formats.marks import ReadOptions
from weclick.clicks.importing import Imported, ImportOptions, import_files
from weclick.datasets.folder_clips import list_clips
from weclick.manifest.video import video_writer

CLASSES = ("background", "car", "tree", "Bäume")
HEIGHT, WIDTH, FRAMES, RATE = 48, 64, 12, 30
VIDEOS = ("drive", "walk")
IMAGES = {"park": ("00001", "00002"), "Fußweg 1": ("00001", "00003")}


def make_root(root: Path) -> Path:
    """frames/park, frames/Fußweg 1, videos/drive.mp4 and videos/walk.mp4."""
    lines = [f"  - {{name: {name}, color: [{i}, 0, 0]}}" for i, name in enumerate(CLASSES)]
    root.mkdir(parents=True, exist_ok=True)
    (root / "classes.yaml").write_text("\n".join(["classes:", *lines, ""]), encoding="utf-8")
    blank = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for clip, names in IMAGES.items():
        folder = root / "frames" / clip
        folder.mkdir(parents=True)
        for name in names:
            Image.fromarray(blank).save(folder / f"{name}.png")
    for clip in VIDEOS:
        with video_writer(root / "videos" / f"{clip}.mp4", Fraction(RATE)) as write:
            for _ in range(FRAMES):
                write(blank)
    return root


class Importer:
    """Imports files that a test writes into a folder."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.root, self.folder = root, folder
        self.clips = list_clips(root)

    def file(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def take(self, name: str, content: str | bytes, *, label_key="", annotator="", **options) -> Imported:
        """What one file gives."""
        return self.take_paths(
            [self.file(name, content)], label_key=label_key, annotator=annotator, **options
        )

    def take_paths(self, paths, *, label_key="", annotator="", **options) -> Imported:
        chosen = ImportOptions(read=ReadOptions(label_key, annotator), **options)
        return import_files(paths, self.clips, self.root, CLASSES, chosen)


def rows(found: Imported) -> list[tuple[str, str, int, int, str]]:
    """The clicks, sorted."""
    return sorted(tuple(click) for click in found.clicks)
