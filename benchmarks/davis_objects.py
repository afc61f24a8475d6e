"""DAVIS 2016 as clips of single objects: its masks tell what is an object, and each clip shows one.

Writes a folder that the data set `folder` reads: images as they are, the class of each pixel, and files that
tell objects apart (class id * 1000, as in Cityscapes). `config/maskconsist_davis.yaml` takes it.

    python benchmarks/davis_objects.py --data ../shared/data/davis --output data/davis_objects
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
import yaml
from f2f_union import HERE, SHARED
from PIL import Image

from weclick.clicks.components import FIRST_INSTANCE
from weclick.manifest.images import read_ids

CLASSES = HERE.parent / "config" / "davis_classes.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, default=SHARED / "data" / "davis", help="folder with frames/ and labels/")
    add("--output", type=Path, default=HERE.parent / "data" / "davis_objects", help="folder to write")
    options = parser.parse_args()
    if options.output.exists():
        parser.error(f"{options.output} is there already; delete it, or name another folder")
    write_objects(options.data, options.output)
    print(f"written to {options.output}")


def write_objects(data: Path, output: Path) -> None:
    """Copy images and labels, and write instances/ beside them and the classes that have some."""
    for kind in ("frames", "labels"):
        shutil.copytree(data / kind, output / kind)
    classes = yaml.safe_load(CLASSES.read_text(encoding="utf-8"))
    objects = [entry["name"] for entry in classes["classes"][1:]]
    told = yaml.safe_dump({**classes, "instance_classes": objects}, sort_keys=False)
    (output / "classes.yaml").write_text(told, encoding="utf-8")
    for label in sorted((output / "labels").glob("*/*.png")):
        ids = read_ids(label).astype(np.uint16)
        file = output / "instances" / label.relative_to(output / "labels")
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.where(ids > 0, ids * FIRST_INSTANCE, 0).astype(np.uint16)).save(file)


if __name__ == "__main__":
    main()
