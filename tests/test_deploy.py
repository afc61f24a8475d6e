"""What deploy/ holds: manifests of Kubernetes, a recipe with our requirements, an image of what is there."""

import json
import os
import re
import subprocess
import tomllib

import pytest
import yaml

from helpers.places import ROOT
from weclick.manifest.manifest_file import write_manifest

DEPLOY = ROOT / "deploy"
CONDA_NAMES = {
    "matplotlib": "matplotlib-base",
    "opencv-python-headless": "py-opencv",
    "snakemake": "snakemake-minimal",
    "torch": "pytorch",
}
"""PyPI -> conda-forge, where they differ."""


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def manifest_of(name: str) -> dict:
    return yaml.safe_load((DEPLOY / "kubernetes" / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["run.yaml", "shards.yaml"])
def test_kubernetes_knows_all_of_a_manifest(name):
    known = pytest.importorskip("kubernetes_validate", reason="it comes with the extra [test]")
    manifest = manifest_of(name)
    known.validate(manifest, "1.33", strict=True)
    manifest["spec"]["completionsMode"] = "Indexed"
    with pytest.raises(known.ValidationError, match="completionsMode"):
        known.validate(manifest, "1.33", strict=True)


def test_each_pod_makes_the_flow_of_its_shard(street, tmp_path):
    """The very command of the manifest, in a folder laid out as the share is."""
    (container,) = manifest_of("shards.yaml")["spec"]["template"]["spec"]["containers"]
    config = {**street.config, "cache": {"roots": [str(tmp_path / "store")]}}
    (tmp_path / "my.yaml").write_text(json.dumps(config), encoding="utf-8")
    for shard in (0, 1):
        listed = tmp_path / f"results/manifest/train/{shard}.json"
        write_manifest(street.train, listed)
    told = os.environ | {"JOB_COMPLETION_INDEX": "1"}
    subprocess.run(container["command"], cwd=tmp_path, env=told, check=True, capture_output=True)
    made = [path.name for path in (tmp_path / "results/flow/train").glob("*.json")]
    assert made == ["1.json"]


def test_the_conda_recipe_asks_for_what_pyproject_does(project):
    recipe = yaml.safe_load((DEPLOY / "conda/recipe.yaml").read_text(encoding="utf-8"))
    assert recipe["context"]["version"] == project["version"]
    wanted = set()
    for requirement in project["dependencies"]:
        name, bound = re.fullmatch(r"([\w.-]+)(>=.+)", requirement).groups()
        wanted.add(f"{CONDA_NAMES.get(name, name)} {bound}")
    assert set(recipe["requirements"]["run"]) == wanted | {f"python {project['requires-python']}"}
    (script,) = project["scripts"].items()
    assert recipe["build"]["python"]["entry_points"] == [" = ".join(script)]


def test_the_image_copies_what_is_there_and_installs_extras_that_exist(project):
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    assert [line.split() for line in text.splitlines() if line.startswith("COPY")] == [["COPY", ".", "."]]
    extras = re.search(r"^ARG EXTRAS=(\S+)$", text, re.M).group(1).split(",")
    assert {*extras, "gpu"} <= project["optional-dependencies"].keys()
    left_out = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    needed = {
        "weclick",
        "data_schema",
        "pipeline",
        "Snakefile",
        "config",
        "pyproject.toml",
        "README.md",
        "LICENSE",
    }
    assert not needed & {line.split("/")[0] for line in left_out}
    command = manifest_of("run.yaml")["spec"]["template"]["spec"]["containers"][0]["command"]
    workdir = re.search(r"^WORKDIR (/opt\S+)$", text, re.M).group(1)
    assert command[command.index("--snakefile") + 1] == f"{workdir}/Snakefile"
