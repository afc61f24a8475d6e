"""The house rules that a machine can see: floors, no circles, one list of dependencies."""

import ast
import tomllib

import pytest
import yaml

from weclick.common.code_digest import PACKAGE, direct_imports

FLOORS = [
    {"cli"},
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


def test_conda_and_pip_install_the_same(repository):
    environment = yaml.safe_load((repository / "environment.yml").read_text(encoding="utf-8"))
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    conda = [item for item in environment["dependencies"] if isinstance(item, str)]
    (pip,) = [item["pip"] for item in environment["dependencies"] if isinstance(item, dict)]
    assert {name.split("=")[0] for name in conda} == {"python", "pip"}, (
        "other packages belong in pyproject.toml"
    )
    assert pip == ["-e ."]
    python = next(name for name in conda if name.startswith("python")).split("=")[1]
    assert project["requires-python"] == f">={python}"


def test_extras_are_there(repository):
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(project["optional-dependencies"]) == {"gpu", "slurm", "s3", "export", "test", "dev"}
    assert project["optional-dependencies"]["gpu"][0].startswith("cupy-cuda13x")
