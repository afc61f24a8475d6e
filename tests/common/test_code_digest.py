import pytest

from weclick.common import code_digest as digests
from weclick.common.code_digest import code_digest, direct_imports, imported_modules


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package's shape in little: top imports low, which is edited."""
    root = tmp_path / "weclick"
    (root / "stage").mkdir(parents=True)
    (root / "__init__.py").write_text("")
    (root / "stage" / "__init__.py").write_text("from weclick.low import f\n")
    (root / "low.py").write_text('"""Doc."""\n\n\ndef f(x):\n    """Doc."""\n    return x + 1\n')
    (root / "other.py").write_text("x = 1\n")
    monkeypatch.setattr(digests, "PACKAGE", root)
    forget()
    yield root
    forget()


def forget() -> None:
    digests._tree.cache_clear()
    digests._statements.cache_clear()
    digests.direct_imports.cache_clear()


def digest() -> str:
    forget()
    return code_digest("weclick.stage")


def test_comments_and_docstrings_do_not_count(package):
    before = digest()
    (package / "low.py").write_text(
        '"""Other."""\n# why\ndef f(x):\n    """Else."""\n    return x + 1  # so\n'
    )
    assert digest() == before


def test_an_edit_of_an_imported_module_counts(package):
    before = digest()
    (package / "low.py").write_text("def f(x):\n    return x + 2\n")
    assert digest() != before


def test_an_edit_elsewhere_does_not_count(package):
    before = digest()
    (package / "other.py").write_text("x = 2\n")
    assert digest() == before


def test_imports_inside_functions_are_followed(package):
    (package / "low.py").write_text("def f(x):\n    from weclick import other\n    return other.x\n")
    forget()
    assert "weclick.other" in imported_modules("weclick.stage")


def test_an_unknown_module_is_an_error(package):
    with pytest.raises(ValueError, match=r"weclick\.none is no module"):
        code_digest("weclick.none")


def test_flow_and_training_do_not_share_what_the_other_edits():
    assert "weclick.flow.dis" in imported_modules("weclick.flow.stage")
    assert not any(name.startswith("weclick.flow") for name in imported_modules("weclick.train.stage"))
    assert "weclick.losses.gated_crf" in imported_modules("weclick.train.stage")
    assert "weclick.manifest.clips" in direct_imports("weclick.datasets.frames")
