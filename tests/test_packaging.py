"""What a wheel holds, and what it says of itself: licence, notices, types, citation."""

import re
import tomllib
import zipfile

import pytest
import yaml
from packaging.requirements import Requirement

import weclick
from helpers.places import ROOT
from weclick.common.stages import METHODS

LICENCE = "Apache-2.0"
PYTHONS = ["3.11", "3.12", "3.13"]


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def citation() -> dict:
    return yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))


def test_the_licence_is_whole_and_one_everywhere(project, citation):
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License\n                           Version 2.0, January 2004" in text
    for section in range(1, 10):
        assert re.search(rf"^   {section}\. [A-Z]", text, re.M), section
    assert "END OF TERMS AND CONDITIONS" in text
    assert project["license"] == citation["license"] == LICENCE
    assert project["license-files"] == ["LICENSE", "NOTICE"]
    assert "Licensed under the Apache License" in (ROOT / "NOTICE").read_text(encoding="utf-8")


def test_no_pyav_is_asked_for_with_which_videos_cannot_be_read(project):
    """PyAV 17 to 19 are tried. 19, for Python 3.12 and newer, gives side data in another way than 18."""
    (av,) = [Requirement(each) for each in project["dependencies"] if each.startswith("av")]
    assert list(av.specifier.filter(["16.1", "17.0.0", "18.1.0", "19.0.2", "20.0"])) == [
        "17.0.0",
        "18.1.0",
        "19.0.2",
    ]


def test_the_versions_of_python_are_told_alike(project):
    told = [each.rpartition(" ")[2] for each in project["classifiers"] if re.search(r":: 3\.\d+$", each)]
    assert told == PYTHONS
    assert project["requires-python"] == f">={PYTHONS[0]}"
    for page in ("README.md", "docs/index.md"):
        assert f"Python {PYTHONS[0]} to {PYTHONS[-1]}" in (ROOT / page).read_text(encoding="utf-8")


def test_an_extra_that_cannot_be_built_is_left_out_there(project):
    (crf,) = map(Requirement, project["optional-dependencies"]["crf"])
    assert {v: crf.marker.evaluate({"python_version": v}) for v in PYTHONS} == {
        "3.11": True,
        "3.12": True,
        "3.13": False,
    }


def test_the_version_is_one_everywhere(project, citation):
    assert project["version"] == citation["version"] == weclick.__version__


def test_the_citation_has_what_its_format_asks_for(citation):
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "type"} <= citation.keys()
    for reference in citation["references"]:
        assert {"type", "title", "authors", "conference", "year", "url"} <= reference.keys()
        assert reference["type"] == "conference-paper"
        assert reference["conference"].keys() == {"name"}
        assert 2017 <= reference["year"] <= 2021
        assert all(author.keys() == {"family-names", "given-names"} for author in reference["authors"])
        assert re.fullmatch(r"https://arxiv\.org/abs/\d{4}\.\d{5}", reference["url"])


def test_every_method_has_its_paper_and_authors_are_the_same_everywhere(project, citation):
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    by_method = {entry["notes"].removeprefix("method: "): entry for entry in citation["references"]}
    assert list(by_method) == list(METHODS)
    for entry in by_method.values():
        names = ", ".join(author["family-names"] for author in entry["authors"])
        assert names in notice
        assert entry["url"] in project["urls"].values()
    readme, method = ((ROOT / page).read_text(encoding="utf-8") for page in ("README.md", "docs/method.md"))
    first = by_method["weclick"]
    people = [(author["family-names"], author["given-names"]) for author in first["authors"]]
    assert " and ".join(f"{family}, {given}" for family, given in people) in readme
    assert f"WeClick ({', '.join(family for family, _ in people)}; ACM MM 2021)" in method
    assert first["url"].rpartition("/")[2] in readme


def test_types_are_shipped():
    marker = ROOT / "weclick" / "py.typed"
    assert marker.is_file()
    assert marker.read_bytes() == b""
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]
    assert build["targets"]["wheel"]["packages"] == ["weclick"]
    assert "exclude" not in build["targets"]["wheel"]


def test_a_wheel_holds_licence_notices_types_and_schemas(tmp_path, project):
    wheel = pytest.importorskip("hatchling.builders.wheel", reason="it comes with the extra [test]")
    (path,) = wheel.WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        info = f"weclick-{project['version']}.dist-info"
        told = archive.read(f"{info}/METADATA").decode()
        assert archive.read(f"{info}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert "weclick/py.typed" in names
    for name in ("Snakefile", "config", "data_schema", "pipeline", "profiles"):
        files = [ROOT / name] if (ROOT / name).is_file() else (ROOT / name).rglob("*.*")
        assert {f"weclick/shipped/{path.relative_to(ROOT)}" for path in files} <= names, name
    assert f"{info}/licenses/NOTICE" in names
    assert f"License-Expression: {LICENCE}\n" in told
    for name in ("LICENSE", "NOTICE"):
        assert f"License-File: {name}\n" in told
    assert "Classifier: Typing :: Typed\n" in told
    assert "Project-URL: Paper: WeClick, https://arxiv.org/abs/2107.03088\n" in told
    assert not [name for name in names if name.startswith(("tests/", "docs/", "config/"))]
