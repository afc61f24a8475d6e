"""The examples in the docstrings of losses, metrics and geometry say what comes out."""

import doctest
import importlib
import inspect

import pytest

from helpers.places import ROOT

LOSSES = sorted(
    f"weclick.losses.{path.stem}"
    for path in (ROOT / "weclick" / "losses").glob("[!_]*.py")
    if path.stem != "gated_crf_triton"  # runs on a GPU alone
)
GEOMETRY = {
    "weclick.geometry.crop": {"sample_crop"},
    "weclick.geometry.grid": {"downsample_flow"},
    "weclick.geometry.warp": {"backward_warp"},
}


def public_names(module) -> set[str]:
    """Functions and classes that a module defines itself."""
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isfunction(value) or inspect.isclass(value))
        and value.__module__ == module.__name__
    }


@pytest.mark.parametrize("name", [*LOSSES, "weclick.metrics", *GEOMETRY])
def test_examples_hold(name):
    module = importlib.import_module(name)
    found = [test for test in doctest.DocTestFinder(exclude_empty=True).find(module) if test.examples]
    with_example = {test.name.removeprefix(f"{name}.").split(".")[0] for test in found}
    missing = GEOMETRY.get(name, public_names(module)) - with_example
    assert not missing, f"no example in the docstring of {sorted(missing)} in {name}"
    told: list[str] = []
    runner = doctest.DocTestRunner(verbose=False)
    for test in found:
        runner.run(test, out=told.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(told)
