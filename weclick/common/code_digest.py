"""A digest of the code that a stage runs: edits of what computes change it, edits of words do not.

Modules are read as text and their imports followed; nothing is imported. The digest is taken over the set of
top-level statements, without module names and import lines. So a definition may move to another file.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parents[1]
PROGRESS = "progress_bar"
"""The context manager whose bar only shows what is done."""
BAR = "Bar"
"""The type of such a bar, where a function is given one."""

SHOWING = frozenset(
    [
        "dict",
        "enumerate",
        "float",
        "format",
        "get",
        "int",
        "items",
        "join",
        "keys",
        "len",
        "list",
        "map",
        "max",
        "min",
        "repr",
        "round",
        "set",
        "sorted",
        "str",
        "sum",
        "summary",
        "tolist",
        "tuple",
        "type",
        "values",
        "zip",
    ]
)
"""Functions and methods whose calls change nothing, so that words may be made of them."""


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
    found = imported_modules(*modules, without=without)
    around = {package for module in found for package in _packages_of(module)}
    left_out = tuple(f"{name}." for name in without)
    found |= {package for package in around if not f"{package}.".startswith(left_out)}
    statements = [text for module in found for text in _statements(_source(module))]
    return hashlib.sha256("\n".join(sorted(statements)).encode()).hexdigest()


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
    for node in reversed(_tree(source).body):  # the last one that binds the name
        if name in _defined(node):
            return module
        if isinstance(node, ast.ImportFrom) and _exists(node.module or "") and node.module != module:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _home(node.module or "", alias.name)
    return f"{module}.{name}" if _exists(f"{module}.{name}") else module


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
    return [_name(part) for part in flat] if all(map(_name, flat)) else []


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
    body = [node for node in _Computing().visit(tree).body if _defined(node) != ["__all__"]]
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


class _Computing(ast.NodeTransformer):
    """Takes out of a tree what serves people: words, annotations, prints and progress."""

    def __init__(self) -> None:
        self._bars: set[str] = set()

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        if getattr(node, "body", None) == []:
            node.body = [ast.Pass()]  # type: ignore[attr-defined]
        return node

    def visit_Import(self, node: ast.Import) -> None:
        """Where a name comes from does not count."""

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """As `visit_Import`."""

    def visit_If(self, node: ast.If) -> ast.AST | None:
        return None if _name(node.test) == "TYPE_CHECKING" else self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        words = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if words or self._only_shows(node.value) else self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if _is_error(_callee(node)) or _callee(node) == PROGRESS:
            node.args, node.keywords = [], []
        if _callee(node) == "cast":
            node.args = node.args[1:]
        node.keywords = [word for word in node.keywords if not self._only_shows(word.value)]
        return self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        name = _callee(node.exc) or _name(node.exc)
        return ast.Raise(exc=ast.Name(id=name, ctx=ast.Load()) if name else None, cause=None)

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        node.msg = None
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        if node.value is None:
            return ast.Expr(value=node.target)  # a field of a dataclass
        return self.generic_visit(ast.Assign(targets=[node.target], value=node.value))

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        outside, self._bars = self._bars, self._bars | _bars_of(node)
        node.returns = None
        self.generic_visit(node)
        self._bars = outside
        while _drop_unused_words(node):
            pass
        return node

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self.visit_FunctionDef(node)

    def _only_shows(self, value: ast.expr) -> bool:
        """Whether a value is a print, or a call or method of a progress bar, and nothing in it computes."""
        called = value.func if isinstance(value, ast.Call) else value
        if isinstance(called, ast.Attribute) and _name(called.value) in self._bars:
            return not isinstance(value, ast.Call) or _only_words(*value.args, *value.keywords)
        return isinstance(value, ast.Call) and _name(called) == "print" and _only_words(*value.args)


def _bars_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """The names of progress bars in a function: what `progress_bar` gives, and parameters of the type."""
    items = [item for node in ast.walk(function) if isinstance(node, ast.With) for item in node.items]
    made = {_name(item.optional_vars) for item in items if _callee(item.context_expr) == PROGRESS}
    arguments = function.args
    given = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    return (made | {argument.arg for argument in given if _name(argument.annotation) == BAR}) - {""}


def _drop_unused_words(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Take out assignments of texts that only an error read; whether there were any."""
    nodes = list(ast.walk(function))
    read = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    read |= {name for node in nodes if isinstance(node, ast.Global | ast.Nonlocal) for name in node.names}

    def unused(node: ast.AST) -> bool:
        return (
            isinstance(node, ast.Assign)
            and all(isinstance(target, ast.Name) and target.id not in read for target in node.targets)
            and _is_words(node.value)
        )

    found = False
    for node in nodes:
        for field in ("body", "orelse", "finalbody"):
            body = getattr(node, field, None)
            if isinstance(body, list) and not isinstance(node, ast.ClassDef) and any(map(unused, body)):
                kept = [statement for statement in body if not unused(statement)]
                setattr(node, field, kept or ([ast.Pass()] if field == "body" else []))
                found = True
    return found


def _is_words(value: ast.expr) -> bool:
    """Whether an expression only makes a text, out of literals and values put into them."""
    if isinstance(value, ast.IfExp):
        return _is_words(value.body) and _is_words(value.orelse) and _only_words(value.test)
    if isinstance(value, ast.BinOp):
        return _is_words(value.left) and (_is_words(value.right) or _only_words(value.right))
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
        makes = value.func.attr in ("join", "format") and _is_words(value.func.value)
        return makes and _only_words(*value.args, *value.keywords)
    is_text = isinstance(value, ast.Constant) and isinstance(value.value, str)
    return is_text or (isinstance(value, ast.JoinedStr) and _only_words(value))


def _only_words(*values: ast.AST) -> bool:
    """Whether nothing in these expressions computes: no call but of SHOWING, no assignment, no waiting."""
    nodes = [node for value in values for node in ast.walk(value)]
    acts = (ast.NamedExpr, ast.Await, ast.Yield, ast.YieldFrom)
    return not any(isinstance(node, acts) for node in nodes) and all(
        _callee(node) in SHOWING for node in nodes if isinstance(node, ast.Call)
    )


def _is_error(name: str) -> bool:
    """Whether a name is that of an error's class."""
    return name.endswith("Error") and name[0].isupper()


def _callee(value: ast.expr | None) -> str:
    """Name of the function that an expression calls, without its module; empty if it is no call."""
    if not isinstance(value, ast.Call):
        return ""
    return value.func.attr if isinstance(value.func, ast.Attribute) else _name(value.func)


def _name(value: ast.AST | None) -> str:
    return value.id if isinstance(value, ast.Name) else ""
