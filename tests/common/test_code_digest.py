"""What a digest of code sees: on a package in little, and on a copy of the real one, edit by edit."""

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager

import pytest

from helpers.places import ROOT
from weclick.common import code_digest as digests
from weclick.common.code_digest import code_digest, direct_imports, imported_modules
from weclick.train.network_code import LEFT_OUT
from weclick.train.recipe import TRAINING
from weclick.train.roles import ROLE_NEEDS


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package's shape in little: top imports low, which is edited."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
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
    digests._known_digests.cache_clear()


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


def test_sources_that_are_known_are_not_read_as_code_again(package, monkeypatch):
    before = digest()
    with monkeypatch.context() as patch:
        patch.delattr(digests, "_digest_of")  # computing would raise NameError
        assert digest() == before
        (package / "other.py").write_text("x = 3\n")
        with pytest.raises(NameError):
            digest()
    assert digest() == before


@pytest.mark.parametrize("content", [b"", b"\xff", b"[1]", b'{"sources": 1}'])
def test_a_damaged_memory_is_made_anew(package, content):
    before = digest()
    (memory,) = (package / "__pycache__").iterdir()
    whole = memory.read_bytes()
    memory.write_bytes(content)
    assert digest() == before
    assert memory.read_bytes() == whole


def test_sources_that_change_while_they_are_read_are_not_remembered(package, monkeypatch):
    def edited_meanwhile(*asked):
        (package / "low.py").write_text("def f(x):\n    return x + 3\n")
        return computed(*asked)

    computed = digests._digest_of
    monkeypatch.setattr(digests, "_digest_of", edited_meanwhile)
    digest()
    assert not (package / "__pycache__").exists()


def test_nothing_is_remembered_where_python_writes_no_bytecode(package, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    digest()
    assert not (package / "__pycache__").exists()


def test_flow_and_training_do_not_share_what_the_other_edits():
    assert "weclick.flow.dis" in imported_modules("weclick.flow.stage")
    assert not any(name.startswith("weclick.flow") for name in imported_modules("weclick.train.stage"))
    assert "weclick.losses.gated_crf" in imported_modules("weclick.train.stage")
    assert "weclick.manifest.clips" in direct_imports("weclick.datasets.frames")


def test_what_a_package_passes_on_is_imported_from_its_own_module(package):
    (package / "stage" / "__init__.py").write_text("from weclick.facade import g\n")
    (package / "facade").mkdir()
    (package / "facade" / "__init__.py").write_text(
        "from weclick.facade.one import f as g\nfrom weclick.facade.two import h\n"
    )
    (package / "facade" / "one.py").write_text("def f():\n    return 1\n")
    (package / "facade" / "two.py").write_text("def h():\n    return 2\n")
    forget()
    assert imported_modules("weclick.stage") == {"weclick.stage", "weclick.facade.one"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("print(next(x))", "print(next(iter(x)))"),
        ("print(y := 1)", "print(y := 2)"),
        ("seen = f'{x.pop()}'", "seen = f'{x.pop(0)}'"),
        ("global MODE; MODE = 'a'", "global MODE; MODE = 'b'"),
        ("y = squared_error(1)", "y = squared_error(2)"),
        ("y = squaredError(1)", "y = squaredError(2)"),
        ("class C: kind = 'a'", "class C: kind = 'b'"),
    ],
)
def test_what_computes_counts_also_among_words(package, before, after):
    digests_of = []
    for line in (before, after):
        (package / "low.py").write_text(f"def f(x):\n    {line}\n    return x\n")
        digests_of.append(digest())
    assert digests_of[0] != digests_of[1]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("from typing import cast; x = cast('int', x)", "from typing import cast; x = cast('float', x)"),
        ("told = ', '.join(x.items()); raise ValueError(told)", "told = 'no'; raise ValueError(told)"),
        ("print(len(x), f'{x.items()}')", "print('done')"),
        ("assert x, 'one'", "assert x, 'other'"),
    ],
)
def test_words_do_not_count(package, before, after):
    digests_of = []
    for line in (before, after):
        (package / "low.py").write_text(f"def f(x):\n    {line}\n    return x\n")
        digests_of.append(digest())
    assert digests_of[0] == digests_of[1]


def test_the_order_of_what_is_done_while_loading_counts_and_that_of_definitions_does_not(package):
    def of(*lines):
        (package / "low.py").write_text("R = []\ndef f():\n    pass\n" + "\n".join(lines))
        return digest()

    assert of("R.append(1)", "R.append(2)") != of("R.append(2)", "R.append(1)")
    assert of("R += R") != of("R += R", "R += R")
    assert of("A = 1", "B = 2") == of("B = 2", "A = 1")


def test_imports_only_for_annotations_do_not_count_and_relative_ones_are_refused(package):
    (package / "low.py").write_text("def f(x):\n    return x\n")
    before = digest()
    lines = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import numpy\n"
    (package / "low.py").write_text(f"{lines}def f(x):\n    return x\n")
    assert digest() == before
    (package / "low.py").write_text("from . import other\n")
    with pytest.raises(ValueError, match=r"weclick\.low, line 1: imports by dots"):
        digest()


def test_no_name_has_two_definitions_in_the_code_of_a_network():
    """The digest does not see in which file a definition stands, so two could change places unseen."""
    places: dict[str, list[str]] = {}
    scoring = [module for role in ROLE_NEEDS.values() for module in role.scoring]
    for module in imported_modules(*TRAINING, *scoring, without=LEFT_OUT):
        for node in digests._tree(digests._source(module)).body:
            for name in digests._defined(node):
                places.setdefault(name, []).append(module)
    assert {name: modules for name, modules in places.items() if len(modules) > 1} == {}


@pytest.mark.parametrize("locale", ["C", "de_DE.ISO-8859-1", "C.UTF-8"])
def test_the_digest_is_the_same_under_every_locale(locale):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    code = "from weclick.common.code_digest import code_digest as d; print(d('weclick.train.loop'))"
    words = [sys.executable, "-c", code]
    told = subprocess.run(words, env={**environment, "LC_ALL": locale}, capture_output=True, text=True)
    assert told.stdout.strip() == code_digest("weclick.train.loop"), told.stderr


SAME = {
    "a module's docstring": ("train/loop.py", '"""One training loop', '"""The training loop'),
    "a function's docstring": ("train/optimizer.py", '"""The poly schedule', '"""So called poly schedule'),
    "a constant's docstring": (
        "train/data/sample.py",
        '"""Crops are padded to',
        '"""All crops are padded to',
    ),
    "a comment": ("train/loop.py", "# Change the weights.", "# Let the optimizer change the weights."),
    "an error's wording": ("train/step.py", "a micro-batch holds a single image", "there is a single image"),
    "an error's wording, put together": ("train/step.py", "lower the learning rate", "lower that rate"),
    "words that only an error tells": ("train/step.py", '"there was no checkpoint yet"', '"there is none"'),
    "a digit of the progress bar": ("train/log.py", "loss {self._loss:.3f}", "loss {self._loss:.5f}"),
    "the bar's words": ("train/loop.py", 'f"train {folder.name}", last, "steps"', '"training", last, "step"'),
    "what the bar says": ("train/loop.py", "bar.say(log.summary())", 'bar.say("on it")'),
    "an annotation": ("train/optimizer.py", "step: int) -> None", "step: float) -> None"),
    "an import line": ("train/loop.py", "import torch\n", "import os.path\nimport torch\n"),
    "the ledger": ("store/ledger/reach.py", "\ndef ", "\nUNUSED = 1\n\n\ndef "),
    "the leases": ("store/leases/leases.py", "\ndef ", "\nUNUSED = 1\n\n\ndef "),
    "how clicks are made, which count by content": ("clicks/generate.py", "\ndef ", "\nX = 1\n\n\ndef "),
    "how frames are stored, which count by content": ("datasets/frames.py", "\ndef ", "\nX = 1\n\n\ndef "),
    "a stopwatch": ("train/stopwatch.py", "whole, 1.0), 4)", "whole, 1.0), 5)"),
    "an estimator, where flow is stored": ("flow/dis.py", "\ndef ", "\nX = 1\n\n\ndef "),
}
"""Edits that change no key of a network: what -> (file, text, other text)."""

OTHER = {
    "a loss formula": ("losses/memory_flow.py", "(gap.neg_() if", "(gap.square_().neg_() if"),
    "a term's mean": ("train/terms.py", 'Mean("cells", per="frames")', 'Mean("cells")'),
    "an optimizer's default": ("train/optimizer.py", "momentum=options[", "nesterov=True, momentum=options["),
    "the learning rate's schedule": (
        "train/optimizer.py",
        "(1 - step / options",
        "(1 - 0.5 * step / options",
    ),
    "a network's layer": ("models/layers.py", "nn.ReLU(inplace=True)", "nn.ReLU6(inplace=True)"),
    "a backbone": (
        "models/backbones.py",
        "partial(MobileNetV2Backbone, 9)",
        "partial(MobileNetV2Backbone, 8)",
    ),
    "how crops are drawn": ("train/data/sample.py", "rng.random() < 0.5", "rng.random() < 0.4"),
    "how soft labels are decoded": ("store/codecs.py", "ZERO = 0.25", "ZERO = 0.5"),
    "what a mask asks": ("store/flow_entries.py", '"both": sum(_BITS.values())', '"both": 1'),
    "how first weights are drawn": (
        "train/build.py",
        "torch.manual_seed(seed)",
        "torch.manual_seed(seed + 1)",
    ),
    "how classes are balanced": ("train/build.py", "factors = 1 / np.sqrt(", "factors = 1 / np.cbrt("),
    "which clicks a sample gets": (
        "manifest/click_table.py",
        "np.empty(0, POINT))",
        "np.empty(0, POINT))[:1]",
    ),
    "what a name means": (
        "train/terms.py",
        "import adaptive_avg_pool2d",
        "import adaptive_max_pool2d as adaptive_avg_pool2d",
    ),
    "what a package does when it is loaded": ("losses/__init__.py", "__all__", "setup()\n__all__"),
    "a name that a package binds anew": ("losses/__init__.py", "__all__", "gated_crf = None\n__all__"),
    "a step": ("train/step.py", "fabric.backward(loss)", "fabric.backward(2 * loss)"),
    "a warp": (
        "geometry/warp.py",
        "torch.lerp(upper, lower, weight_y)",
        "torch.lerp(lower, upper, weight_y)",
    ),
}
"""Edits that change it."""


@pytest.fixture(scope="module")
def unedited():
    """The digest of the code as it stands."""
    return network_digest()


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    root = tmp_path_factory.mktemp("copy") / "weclick"
    shutil.copytree(ROOT / "weclick", root, ignore=shutil.ignore_patterns("__pycache__"))
    return root


@pytest.fixture
def real(copied, monkeypatch):
    """A copy of the package, which may be edited."""
    monkeypatch.setattr(digests, "PACKAGE", copied)
    forget()
    yield copied
    forget()


def network_digest() -> str:
    forget()
    return code_digest(*TRAINING, without=LEFT_OUT)


@pytest.mark.parametrize("what", SAME)
def test_no_network_is_another_one_by(real, unedited, what):
    with edited(real, *SAME[what]):
        assert network_digest() == unedited


@pytest.mark.parametrize("what", OTHER)
def test_a_network_is_another_one_by(real, unedited, what):
    with edited(real, *OTHER[what]):
        assert network_digest() != unedited


def test_no_network_is_another_one_by_a_module_that_moved(real, unedited):
    texts = {path: path.read_text(encoding="utf-8") for path in real.rglob("*.py")}
    users = {path: text for path, text in texts.items() if "weclick.train.optimizer" in text}
    assert users
    old, new = real / "train" / "optimizer.py", real / "models" / "descent.py"
    old.rename(new)
    for path, text in users.items():
        path.write_text(text.replace("weclick.train.optimizer", "weclick.models.descent"), encoding="utf-8")
    assert network_digest() == unedited
    new.rename(old)
    for path, text in users.items():
        path.write_text(text, encoding="utf-8")


def test_an_estimators_edit_counts_for_flow_and_for_what_is_trained_online(real):
    def both():
        forget()
        return code_digest("weclick.flow.stage"), code_digest("weclick.train.online", without=LEFT_OUT)

    before = both()
    with edited(real, *SAME["an estimator, where flow is stored"]):
        after = both()
    assert before[0] != after[0]
    assert before[1] != after[1]


@contextmanager
def edited(package, name, text, other):
    """A file of the package with the first such text replaced; put back afterwards."""
    path = package / name
    whole = path.read_text(encoding="utf-8")
    assert text in whole, f"{path.name} has no {text!r} any more; give this case another edit"
    path.write_text(whole.replace(text, other, 1), encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(whole, encoding="utf-8")
