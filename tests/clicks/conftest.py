"""A small data set without labels, and an importer for it."""

import pytest

from helpers.click_root import Importer, make_root


@pytest.fixture(scope="session")
def click_root(tmp_path_factory):
    return make_root(tmp_path_factory.mktemp("clicked") / "data")


@pytest.fixture
def importer(click_root, tmp_path):
    return Importer(click_root, tmp_path / "given")
