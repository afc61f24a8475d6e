"""The house rules that a machine can see: floors, no circles, sizes, one list of dependencies."""

import ast
import importlib
import re
import statistics
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from weclick.common.code_digest import PACKAGE, direct_imports, imported_modules

FLOORS = [
    {"__main__", "cli"},
    {"runs"},
    {"evaluate", "train"},
    {"clicks", "datasets", "flow", "proxy_labels"},
    {"store"},
    {"manifest"},
    {"geometry", "losses", "metrics", "models"},
    {"common"},
]
"""Each room imports from its own floor or from a lower one."""

STAGES = {"clicks", "datasets", "flow", "proxy_labels"}
FLOOR = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}

IMPORTED_AS = {
    "connected-components-3d": "cc3d",
    "cupy-cuda13x": "cupy",
    "mlflow-skinny": "mlflow",
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "scikit-image": "skimage",
    "tensorboard": "torch.utils.tensorboard",  # which writes with it; nothing else imports it
}
"""Distribution -> the module that its use is seen by, where that is not its name with underscores."""

COMES_WITH = {"botocore": "boto3", "huggingface_hub": "timm", "triton": "torch"}
"""Module -> the declared distribution that brings it."""

RUN_TIME_EXTRAS = (
    "gpu",
    "slurm",
    "s3",
    "sign",
    "export",
    "openvino",
    "timm",
    "click",
    "sam2",
    "wandb",
    "mlflow",
)

MAX_FILE_LINES, MAX_FUNCTION_LINES = 400, 80
LONG = "# Long because "
"""A comment line at the head of a file, or right above a function or in its first lines, that says why."""


def modules() -> list[str]:
    files = (p for p in PACKAGE.rglob("*.py") if p.name != "__init__.py" or p.parent != PACKAGE)
    return sorted(".".join(("weclick", *p.relative_to(PACKAGE).with_suffix("").parts)) for p in files)


def room(module: str) -> str:
    return module.split(".")[1]


@pytest.mark.parametrize("module", modules())
def test_imports_point_downwards(module):
    module = module.removesuffix(".__init__")
    for imported in direct_imports(module):
        if room(imported) != room(module):
            assert FLOOR[room(imported)] >= FLOOR[room(module)], f"{module} imports {imported} from above"
            assert not {room(imported), room(module)} <= STAGES, f"stages {module} and {imported} are tied"


def test_no_circle_of_imports():
    graph = {m.removesuffix(".__init__"): set() for m in modules()}
    for module in graph:
        graph[module] = {name for name in direct_imports(module) if name in graph and name != module}

    def packages_apart(module):  # a package's __init__ gathers its own modules, which may name the package
        return {name for name in graph[module] if not module.startswith(f"{name}.")}

    done: set[str] = set()

    def walk(module, path):
        assert module not in path, " -> ".join([*path, module])
        if module not in done:
            for imported in sorted(packages_apart(module)):
                walk(imported, [*path, module])
            done.add(module)

    for module in graph:
        walk(module, [])


@pytest.mark.parametrize("module", modules())
def test_no_star_imports_and_no_snakemake(module):
    path = PACKAGE.parent.joinpath(*module.split(".")).with_suffix(".py")
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert all(alias.name != "*" for alias in node.names)
            assert not (node.module or "").startswith("snakemake")
        if isinstance(node, ast.Import):
            assert all(not alias.name.startswith("snakemake") for alias in node.names)


@pytest.mark.parametrize("floor", ["losses", "models", "geometry"])
def test_the_ground_floor_knows_nothing_of_the_rest(floor):
    for module in modules():
        if room(module) == floor:
            assert {room(name) for name in direct_imports(module.removesuffix(".__init__"))} <= {floor}


@pytest.fixture(scope="module")
def project(repository) -> dict:
    return tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_conda_and_pip_install_the_same(repository, project):
    environment = yaml.safe_load((repository / "environment.yml").read_text(encoding="utf-8"))
    conda = [item for item in environment["dependencies"] if isinstance(item, str)]
    (pip,) = [item["pip"] for item in environment["dependencies"] if isinstance(item, dict)]
    assert {name.split("=")[0] for name in conda} == {"python", "pip"}, (
        "other packages belong in pyproject.toml"
    )
    assert pip == ["-e ."]
    python = next(name for name in conda if name.startswith("python")).split("=")[1]
    assert project["requires-python"] == f">={python}"


def test_extras_are_there(project):
    extras = {
        "gpu",
        "slurm",
        "s3",
        "sign",
        "export",
        "openvino",
        "timm",
        "click",
        "sam2",
        "crf",
        "wandb",
        "mlflow",
    }
    assert set(project["optional-dependencies"]) == extras | {"test", "dev"}
    assert project["optional-dependencies"]["gpu"][0].startswith("cupy-cuda13x")


def module_of(requirement: str) -> str:
    """What "pillow>=11" is imported as: PIL."""
    name = re.match(r"[\w.-]+", requirement)[0].lower()
    return IMPORTED_AS.get(name, name.replace("-", "_"))


def imports_in(path: Path) -> set[str]:
    """Dotted names that a Python or Snakemake file imports, also inside functions."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":  # Snakemake's own words are no Python
        return set(re.findall(r"^\s*(?:from|import)\s+([\w.]+)", text, re.MULTILINE))
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module)
    return found


def test_every_declared_dependency_is_imported(repository, project):
    files = [*PACKAGE.rglob("*.py"), repository / "Snakefile"]
    files += [path for path in (repository / "pipeline").rglob("*") if path.suffix in (".py", ".smk")]
    imported = set().union(*map(imports_in, files))
    idle = [
        requirement
        for requirement in project["dependencies"]
        if not any(f"{name}.".startswith(f"{module_of(requirement)}.") for name in imported)
    ]
    assert not idle, f"pyproject.toml declares {idle}, which nothing imports: use them or take them out"


def test_every_import_of_a_third_party_is_declared(project):
    declared = [*project["dependencies"]]
    for extra in RUN_TIME_EXTRAS:
        declared += project["optional-dependencies"][extra]
    known = {module_of(requirement).split(".")[0] for requirement in declared}
    known |= {module for module, bringer in COMES_WITH.items() if bringer in known}
    known |= sys.stdlib_module_names | {"weclick"}
    unknown = {
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path in PACKAGE.rglob("*.py")
        for name in imports_in(path)
        if name.split(".")[0] not in known
    }
    assert not unknown, f"{sorted(unknown)}: declare it in pyproject.toml"


def test_the_entrance_is_small():
    """A reader takes in the top of the package at a glance."""
    top = [path.name for path in PACKAGE.iterdir() if path.name not in ("__init__.py", "__pycache__")]
    top = [name for name in top if name != "shipped"]  # beside the modules where it is installed
    assert len(top) <= 17, sorted(top)


def python_files() -> list[tuple[Path, list[str]]]:
    return [(path, path.read_text(encoding="utf-8").splitlines()) for path in sorted(PACKAGE.rglob("*.py"))]


def lines_of_code(function: ast.FunctionDef, lines: list[str]) -> int:
    """Lines of a function's body without docstring, blank lines and lines of comment alone."""
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        if len(function.body) == 1:
            return 0
        first = function.body[1]
    body = lines[first.lineno - 1 : function.end_lineno]
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in body)


def functions_in(lines: list[str]) -> list[ast.FunctionDef]:
    tree = ast.parse("\n".join(lines))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def says_why(lines: list[str]) -> bool:
    return any(line.strip().startswith(LONG) for line in lines)


def test_no_file_and_no_function_is_long_without_a_reason():
    too_long = []
    for path, lines in python_files():
        if len(lines) > MAX_FILE_LINES and not says_why(lines[:10]):
            too_long.append(f"{path.relative_to(PACKAGE)} has {len(lines)} lines")
        for function in functions_in(lines):
            head = lines[max(0, function.lineno - 2) : function.body[0].end_lineno + 1]
            count = lines_of_code(function, lines)
            if count > MAX_FUNCTION_LINES and not says_why(head):
                too_long.append(f"{path.relative_to(PACKAGE)}: {function.name} has {count} lines of code")
    assert not too_long, f"{too_long}: divide them, or say why with a line `{LONG}...`"


def test_files_and_functions_are_short_as_a_rule():
    files = python_files()
    counts = [lines_of_code(function, lines) for _, lines in files for function in functions_in(lines)]
    assert statistics.median(len(lines) for _, lines in files) <= 130
    assert statistics.median(counts) <= 8


def test_a_training_walks_through_few_rooms():
    """The rooms at the top of the package that hold something which `train_recipe` needs."""
    needed = imported_modules("weclick.train.stage")
    rooms = {room(module) for module in needed if (PACKAGE / room(module)).is_dir()}
    assert len(rooms) <= 10, sorted(rooms)
    assert not rooms & {"cli", "runs", "flow", "proxy_labels"}


def test_benchmarks_import_what_there_is():
    """They run seldom, so nobody sees for long that something has moved."""
    lost = []
    for path in sorted((PACKAGE.parent / "benchmarks").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("weclick"):
                module = importlib.import_module(node.module)
                names = {name.name for name in node.names if not hasattr(module, name.name)}
                if hasattr(module, "__path__"):
                    names = {name for name in names if not find_spec(f"{node.module}.{name}")}
                lost += [f"{path.name}: {name} of {node.module}" for name in sorted(names)]
    assert not lost
