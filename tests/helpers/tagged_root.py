"""A folder of frames whose only annotations are tags."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from weclick.common.config import complete_config
from weclick.common.sections import Config
from weclick.datasets import Dataset, open_dataset

CLASSES = "classes:\n  - {name: background, color: [0, 0, 0]}\n  - {name: dog, color: [9, 9, 9]}\n"


class TaggedRoot:
    """A folder of tiny frames in the making."""

    def __init__(self, path: Path):
        self.path = path
        (path / "classes.yaml").write_text(CLASSES)

    def image(self, name: str, value: int = 0) -> None:
        path = self.path / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 10), value, np.uint8)).save(path)

    def clip(self, name: str, frames: int = 4) -> None:
        for t in range(frames):
            self.image(f"frames/{name}/{t:03d}", t)

    def write(self, name: str, text: str) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def config(self, source: str, file: str | None = None, **data) -> Config:
        given = {"name": "folder", "root": str(self.path), "held_out": "other_frames", **data}
        tags = {"source": source, "file": file}
        return complete_config({"method": "f2f", "data": given, "tags": tags})

    def dataset(self, source: str, file: str | None = None, **data) -> Dataset:
        config = self.config(source, file, **data)
        return open_dataset(config["data"], config["clicks"]["mix"], config["tags"])

    def targets(self, source: str, **data) -> dict[str, tuple[int, ...]]:
        return {clip.id: clip.targets for clip in self.dataset(source, **data).clips("train")}
