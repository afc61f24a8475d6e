"""What computes in a syntax tree: all but what serves people, such as words, annotations and progress."""

from __future__ import annotations

import ast

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


def what_computes(tree: ast.Module) -> list[ast.stmt]:
    """The top-level statements of a file, reduced to what computes.

    Where it is not sure that something is only words, it stays.

    Args:
        tree: of the file; changed in place.
    """
    return _Computing().visit(tree).body


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
        return None if name_of(node.test) == "TYPE_CHECKING" else self.generic_visit(node)

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
        name = _callee(node.exc) or name_of(node.exc)
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
        if isinstance(called, ast.Attribute) and name_of(called.value) in self._bars:
            return not isinstance(value, ast.Call) or _only_words(*value.args, *value.keywords)
        return isinstance(value, ast.Call) and name_of(called) == "print" and _only_words(*value.args)


def _bars_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """The names of progress bars in a function: what `progress_bar` gives, and parameters of the type."""
    items = [item for node in ast.walk(function) if isinstance(node, ast.With) for item in node.items]
    made = {name_of(item.optional_vars) for item in items if _callee(item.context_expr) == PROGRESS}
    arguments = function.args
    given = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    return (made | {argument.arg for argument in given if name_of(argument.annotation) == BAR}) - {""}


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
    return value.func.attr if isinstance(value.func, ast.Attribute) else name_of(value.func)


def name_of(value: ast.AST | None) -> str:
    """The name that an expression is; empty if it is anything else."""
    return value.id if isinstance(value, ast.Name) else ""
