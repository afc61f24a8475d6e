"""What code a stage runs, as a digest: an edit reruns it, a comment or a docstring does not.

Modules are read as text and their imports followed statically; nothing is imported.
"""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def code_digest(*modules: str, without: str = "") -> str:
    """SHA-256 (hex) over the syntax trees of `modules` and of every weclick module they import.

    Args:
        modules: dotted names such as "weclick.flow".
        without: a package that does not count unless it is named, nor what it alone imports.

    Raises:
        ValueError: a name is no module of weclick.
    """
    digest = hashlib.sha256()
    for module in sorted(imported_modules(*modules, without=without)):
        digest.update(f"{module}\n{_syntax(_source(module))}\n".encode())
    return digest.hexdigest()


def imported_modules(*modules: str, without: str = "") -> set[str]:
    """`modules` and all weclick modules that they import, directly or not, also inside functions.

    Args:
        modules: dotted names.
        without: a package that is not followed into.
    """
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            names = direct_imports(module)
            waiting += [name for name in names if not (without and f"{name}.".startswith(f"{without}."))]
    return found


@cache
def direct_imports(module: str) -> tuple[str, ...]:
    """The weclick modules that one module's import statements name."""
    names: list[str] = []
    for node in ast.walk(ast.parse(_source(module).read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            members = [f"{node.module}.{alias.name}" for alias in node.names]
            names += [node.module, *(member for member in members if _exists(member))]
    return tuple(name for name in names if name.startswith("weclick.") and _exists(name))


def _source(module: str) -> Path:
    path = PACKAGE.joinpath(*module.split(".")[1:])
    for candidate in (path / "__init__.py", path.with_suffix(".py")):
        if module.split(".")[0] == "weclick" and candidate.is_file():
            return candidate
    raise ValueError(f"{module} is no module of weclick below {PACKAGE}")


def _exists(module: str) -> bool:
    path = PACKAGE.joinpath(*module.split(".")[1:])
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


@cache
def _syntax(path: Path) -> str:
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and body:
            first = body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = body[1:] or [ast.Pass()]
    return ast.dump(tree)
