"""Folders that link to themselves."""

from __future__ import annotations

import json
from pathlib import Path

from weclick.common.walk import walk_once
from weclick.runs.listed import files_of


def test_each_folder_comes_once_however_many_links_lead_to_it(tmp_path):
    for name in ("a", "b/c", "d"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").touch()
    for link in ("a/up", "a/again", "b/up", "b/c/up", "d/up"):
        (tmp_path / link).symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "itself").symlink_to("itself")
    found = [folder / name for folder, names in walk_once(tmp_path) for name in names]
    assert len({path.resolve() for path in found if path.exists()}) == 3
    assert len(found) == 4, "three files, and the link to nothing"


def test_a_results_folder_that_holds_itself_lists_its_indexes_once(tmp_path):
    (tmp_path / "flow/train").mkdir(parents=True)
    (tmp_path / "flow/train/0.json").write_text(json.dumps({"kind": "flow", "entries": {}}))
    for link in ("flow/up", "flow/train/up", "flow/other"):
        (tmp_path / link).symlink_to(tmp_path, target_is_directory=True)
    assert [Path(file).resolve() for file in files_of(tmp_path)] == [tmp_path / "flow/train/0.json"]
