"""docs/licences.md tells of every package that pyproject.toml declares, and of no other."""

import importlib.util
import re
from importlib.metadata import PackageNotFoundError, metadata

import pytest

from helpers.places import ROOT

ASKING = re.compile(r"\b(AGPL|LGPL|GPL|MPL|EPL|CDDL|SSPL)\b|Proprietary|Non-?Commercial", re.I)
"""Licences that ask for more than a notice."""


@pytest.fixture(scope="module")
def licences():
    spec = importlib.util.spec_from_file_location("licences", ROOT / ".ci/licences.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_lists_what_is_declared_and_what_installs_it(licences):
    declared = [(name, ", ".join(by)) for name, by in sorted(licences.declared().items())]
    listed = [(row.package, row.installed_by) for row in licences.listed()]
    assert listed == declared, "run: python .ci/licences.py --write"
    assert all(row.licence for row in licences.listed())


def test_a_package_that_is_declared_anew_is_missed(licences, tmp_path, monkeypatch):
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    more = text.replace("\ndependencies = [", '\ndependencies = ["pandas>=2",')
    (tmp_path / "pyproject.toml").write_text(more, "utf-8")
    monkeypatch.setattr(licences, "ROOT", tmp_path)
    assert set(licences.declared()) - {row.package for row in licences.listed()} == {"pandas"}
    monkeypatch.setattr(licences, "declared", lambda: {"no-such-package": ["always"]})
    with pytest.raises(SystemExit, match="no-such-package: its metadata has no licence expression"):
        licences.table()


def asks_for(package: str) -> set[str]:
    """The families of licences with obligations that an installed package states."""
    try:
        told = metadata(package)
    except PackageNotFoundError:
        return set()
    field = told.get("License") or ""
    stated = [told.get("License-Expression") or "", field if len(field) < 60 else ""]
    stated += [kind for kind in told.get_all("Classifier", []) if kind.startswith("License")]
    return {match.group(0).upper() for text in stated for match in ASKING.finditer(text)}


def test_no_package_asks_for_more_than_the_page_says(licences):
    hidden = {
        row.package: missing
        for row in licences.listed()
        if (missing := asks_for(row.package) - {m.group(0).upper() for m in ASKING.finditer(row.licence)})
    }
    assert not hidden, f"{hidden}: name it in docs/licences.md, or take another package"
    assert "LGPL" in asks_for("connected-components-3d")
