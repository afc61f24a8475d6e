"""Writes the table of docs/licences.md: what pyproject.toml declares, and under which licence.

    python .ci/licences.py            # prints the table
    python .ci/licences.py --write    # puts it into the page

tests/test_licences.py compares the page with pyproject.toml.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "licences.md"
BEGIN, END = "<!-- table: python .ci/licences.py --write -->", "<!-- end of the table -->"

READ = {
    "boto3": "Apache-2.0",
    "connected-components-3d": "LGPL-3.0-or-later",
    "cupy-cuda13x": "MIT",
    "google-crc32c": "Apache-2.0",
    "hatchling": "MIT",
    "jinja2": "BSD-3-Clause",
    "kubernetes-validate": "Apache-2.0",
    "lightning-fabric": "Apache-2.0",
    "matplotlib": "Matplotlib's own, of the kind of the PSF's",
    "mlflow-skinny": "Apache-2.0",
    "moto": "Apache-2.0",
    "onnxruntime": "MIT",
    "onnxscript": "MIT",
    "opencv-python-headless": "Apache-2.0 (OpenCV), MIT (the package)",
    "openvino": "Apache-2.0",
    "pre-commit": "MIT",
    "pycocotools": "BSD-2-Clause",
    "pydensecrf2": "MIT",
    "pytest-cov": "MIT",
    "pyyaml": "MIT",
    "rich": "MIT",
    "safetensors": "Apache-2.0",
    "scikit-image": "BSD-3-Clause",
    "scipy": "BSD-3-Clause",
    "snakemake-executor-plugin-slurm": "MIT",
    "sqlalchemy": "MIT",
    "tensorboard": "Apache-2.0",
    "timm": "Apache-2.0",
    "torchvision": "BSD-3-Clause",
    "transformers": "Apache-2.0",
    "wandb": "MIT",
}
"""Licences of packages whose metadata has no SPDX expression, as their licence files say."""


class Row(NamedTuple):
    """A line of the table: a package, its licence, and what installs it."""

    package: str
    licence: str
    installed_by: str


def declared() -> dict[str, list[str]]:
    """Package -> what of pyproject.toml installs it: "always", or the names of extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found: dict[str, list[str]] = {}
    for installer, requirements in {
        "always": project["dependencies"],
        **{f"`[{extra}]`": listed for extra, listed in project["optional-dependencies"].items()},
    }.items():
        for requirement in requirements:
            name = re.match(r"[\w.-]+", requirement)[0].lower()
            found.setdefault(name, []).append(installer)
    return found


def licence_of(package: str) -> str:
    """The SPDX expression of an installed package, or what its licence file says."""
    try:
        stated = metadata(package).get("License-Expression")
    except PackageNotFoundError:
        stated = None
    licence = stated or READ.get(package)
    if not licence:
        raise SystemExit(
            f"{package}: its metadata has no licence expression; read its licence and add it to READ in "
            f"{Path(__file__).name}"
        )
    return str(licence)


def rows() -> Iterator[Row]:
    """The lines of the table, by name."""
    for package, installers in sorted(declared().items()):
        yield Row(package, licence_of(package), ", ".join(installers))


def table() -> str:
    """The table in Markdown."""
    lines = ["| package | licence | installed by |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows())])


def listed() -> list[Row]:
    """The lines of the table as the page has them."""
    text = PAGE.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0]
    return [Row(*line.strip("| ").split(" | ")) for line in text.strip().splitlines()[2:]]


def main() -> None:
    """Print the table, or put it into the page."""
    if sys.argv[1:] == ["--write"]:
        text = PAGE.read_text(encoding="utf-8")
        before, after = text.split(BEGIN)[0], text.split(END)[1]
        PAGE.write_text(f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}", encoding="utf-8")
    else:
        print(table())


if __name__ == "__main__":
    main()
