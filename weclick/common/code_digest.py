"""A digest of the code that a stage runs: edits of what computes change it, edits of words do not.

Modules are read as text and their imports followed; nothing is imported. The digest is taken over the set of
top-level statements, without module names and import lines. So a definition may move to another file.

Reading all modules takes seconds, so digests are remembered beside Python's own compiled files, for the very
bytes of all modules.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import sys
from collections.abc import Collection, Iterator
from contextlib import suppress
from functools import cache
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any

from weclick.common.computing import name_of, what_computes
from weclick.common.files import write_text

PACKAGE = Path(__file__).resolve().parents[1]
SOURCES = "sources"


def code_digest(*modules: str, without: Collection[str] = ()) -> str:
    """SHA-256 (hex) over what computes in `modules` and in every weclick module that they import.

    These do not count: docstrings, comments, annotations, import lines, the wording of errors, prints and
    progress bars. An import counts where it gives a thing another name (`import a as b`), since that decides
    what the name means. Of statements that define no name, the order within a file counts.

    Args:
        modules: dotted names such as "weclick.flow".
        without: packages and modules that do not count unless `modules` names them. What they alone import
            does not count either.

    Raises:
        ValueError: a name is no module of weclick.
    """
    known = _known_digests(PACKAGE)
    asked = f"{' '.join(modules)} without {' '.join(without)}"
    if asked not in known:
        known[asked] = _digest_of(modules, without)
        _remember(known)
    return known[asked]


def _digest_of(modules: Collection[str], without: Collection[str]) -> str:
    found = imported_modules(*modules, without=without)
    around = {package for module in found for package in _packages_of(module)}
    left_out = tuple(f"{name}." for name in without)
    found |= {package for package in around if not f"{package}.".startswith(left_out)}
    statements = [text for module in found for text in _statements(_source(module))]
    return hashlib.sha256("\n".join(sorted(statements)).encode()).hexdigest()


@cache
def _known_digests(package: Path) -> dict[str, str]:
    """What is remembered of all calls of `code_digest` for these very sources, whose digest is in it too."""
    sources = _digest_of_sources(package)
    try:
        known = json.loads(_memory(package).read_bytes())
    except (OSError, ValueError):  # not there, or not whole
        known = None
    return known if isinstance(known, dict) and known.get(SOURCES) == sources else {SOURCES: sources}


def _remember(known: dict[str, str]) -> None:
    """Write what is known, unless a source has changed meanwhile."""
    if not sys.dont_write_bytecode and known[SOURCES] == _digest_of_sources(PACKAGE):
        with suppress(OSError):  # where the folder is read-only, each process computes them
            write_text(_memory(PACKAGE), json.dumps(known))


def _digest_of_sources(package: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted([*package.rglob("*.py"), Path(__file__)]):
        content = path.read_bytes()
        digest.update(f"{os.path.relpath(path, package)} {len(content)} ".encode() + content)
    return digest.hexdigest()


def _memory(package: Path) -> Path:
    """The file of the digests, in the folder of compiled files; its name holds Python's version."""
    return Path(cache_from_source(str(package / "code_digests.py"))).with_suffix(".json")


def imported_modules(*modules: str, without: Collection[str] = ()) -> set[str]:
    """`modules` and all weclick modules that they import, directly or not, also inside functions.

    Args:
        modules: dotted names.
        without: packages and modules that are left out unless `modules` names them.
    """
    left_out = tuple(f"{name}." for name in without)
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += [name for name in direct_imports(module) if not f"{name}.".startswith(left_out)]
    return found


@cache
def direct_imports(module: str) -> tuple[str, ...]:
    """The weclick modules that one module imports.

    A name that a package's `__init__` passes on counts as imported from the module that defines it.

    Raises:
        ValueError: an import is relative.
    """
    names: list[str] = []
    for node in ast.walk(_tree(_source(module))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names if _exists(alias.name)]
        elif isinstance(node, ast.ImportFrom) and node.level:
            raise ValueError(f"{module}, line {node.lineno}: imports by dots; name weclick's module in full")
        elif isinstance(node, ast.ImportFrom) and _exists(node.module or ""):
            names += [_home(node.module or "", alias.name) for alias in node.names]
    return tuple(dict.fromkeys(name for name in names if name != "weclick"))


def _home(module: str, name: str) -> str:
    """The module that `from module import name` reaches."""
    source = _source(module)
    if source.name != "__init__.py":
        return module
    tree = _tree(source)
    for node in reversed([*tree.body, *_seen_by_readers(tree)]):  # the last one that binds the name
        if name in _defined(node):
            return module
        if isinstance(node, ast.ImportFrom) and _exists(node.module or "") and node.module != module:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _home(node.module or "", alias.name)
    return f"{module}.{name}" if _exists(f"{module}.{name}") else module


def _seen_by_readers(tree: ast.Module) -> list[ast.stmt]:
    """What stands under `if TYPE_CHECKING:`, where packages list the names that they load when asked."""
    found = [node for node in tree.body if isinstance(node, ast.If) and name_of(node.test) == "TYPE_CHECKING"]
    return [each for node in found for each in node.body]


def _packages_of(module: str) -> list[str]:
    """The packages around a module, whose `__init__` runs first, without weclick, which says its version."""
    parts = module.split(".")
    return [".".join(parts[:end]) for end in range(2, len(parts))]


def _defined(node: ast.stmt) -> list[str]:
    """The names that a statement defines by itself; none for one that does anything else."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    if not isinstance(node, ast.Assign | ast.AnnAssign):
        return []
    flat = [part for target in targets for part in getattr(target, "elts", [target])]
    return [name_of(part) for part in flat] if all(map(name_of, flat)) else []


def _source(module: str) -> Path:
    path = PACKAGE.joinpath(*module.split(".")[1:])
    for candidate in (path / "__init__.py", path.with_suffix(".py")):
        if module.split(".")[0] == "weclick" and candidate.is_file():
            return candidate
    raise ValueError(f"{module} is no module of weclick below {PACKAGE}")


def _exists(module: str) -> bool:
    path = PACKAGE.joinpath(*module.split(".")[1:])
    is_ours = module.split(".")[0] == "weclick"
    return is_ours and (path.with_suffix(".py").is_file() or (path / "__init__.py").is_file())


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def _statements(path: Path) -> tuple[str, ...]:
    """The top-level statements of a file, reduced to what computes, each as a text.

    Definitions stand alone, so that they may move. All that defines no name is one text, in its order.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))  # its own tree, since the visitor changes it
    aliases = sorted(_aliases(tree))
    body = [node for node in what_computes(tree) if _defined(node) != ["__all__"]]
    others = [_spell(node) for node in body if not _defined(node) and not isinstance(node, ast.Pass)]
    return (*(_spell(node) for node in body if _defined(node)), *aliases, *filter(None, ["; ".join(others)]))


def _aliases(tree: ast.Module) -> Iterator[str]:
    """`name as other` of all imports that rename, with the module of third parties; ours may move."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None) or ""
            for alias in node.names:
                if alias.asname and alias.asname != alias.name:
                    ours = (module or alias.name).split(".")[0] == "weclick"
                    name = alias.name.rpartition(".")[2] if ours else f"{module}:{alias.name}"
                    yield f"{name} as {alias.asname}"


def _spell(value: Any) -> str:
    """A syntax tree as text, the same under every version of Python, since empty parts are left out."""
    if isinstance(value, ast.AST):
        fields = [(name, part) for name, part in ast.iter_fields(value) if name != "ctx"]
        told = [f"{name}={_spell(part)}" for name, part in fields if part is not None and part != []]
        return f"{type(value).__name__}({', '.join(told)})"
    if isinstance(value, list):
        return f"[{', '.join(map(_spell, value))}]"
    return repr(value)
