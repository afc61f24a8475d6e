"""What files of results name: nothing that tells of entries is passed over."""

import pytest

from weclick.common.config import complete_config
from weclick.common.errors import InputError
from weclick.runs.listed import files_of, wanted_of
from weclick.store import write_index


def test_indexes_and_cards_are_found_at_any_depth(tmp_path):
    paths = [tmp_path / name for name in ("a/flow/train/0.json", "a/teacher/model.json", "a/report.json")]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    assert files_of(tmp_path) == paths[:2]


@pytest.mark.parametrize("name", ["flow/train/0.json", "student/model.json"])
def test_a_folder_in_the_place_of_a_file_that_names_entries_is_told(tmp_path, name):
    """Otherwise a garbage collection would take the entries of that file for unneeded."""
    (tmp_path / name).mkdir(parents=True)
    with pytest.raises(InputError, match=rf"{name}: is a folder, but a file of that name tells what"):
        files_of(tmp_path)


def test_an_index_of_several_needs_names_all_of_its_entries(tmp_path):
    path = tmp_path / "flow/train/0.json"
    write_index(path, "flow", {"a": {"window": "1" * 64, "chain": "2" * 64}, "b": {"chain": "3" * 64}})
    named = {key for _, key in wanted_of([tmp_path], complete_config({}))}
    assert named == {digit * 64 for digit in "123"}
