"""The documentation is true: links lead somewhere, examples run, keys and messages exist."""

import importlib.util
import json
import pkgutil
import re
import subprocess
import sys
from pathlib import PurePosixPath

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from helpers.example_term import example_term
from helpers.places import ROOT
from weclick.clicks.formats.marks import ReadOptions
from weclick.clicks.formats.source import AnnotationFile
from weclick.common.config import complete_config
from weclick.common.schemas import load_schema
from weclick.datasets import build_manifest
from weclick.train import terms

PAGES = sorted([*(ROOT / "docs").glob("*.md"), *ROOT.glob("*.md")])
TODAY = [page for page in PAGES if page.name != "CHANGELOG.md"]
"""Pages that tell what is. The changelog also names what was."""
LINK = re.compile(r"\]\((?!https?:)([^)\s]+)\)")
FOLDERS = "weclick|tests|pipeline|docs|config|data_schema|benchmarks"
PLACE = re.compile(rf"`(?:python )?((?:{FOLDERS})/[^`\s]*)[^`]*`")
DOTTED = re.compile(r"`(weclick(?:\.\w+)+)`")


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.S)


def anchors(page):
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@pytest.fixture(scope="module")
def hooks():
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs/hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name} links to {link}"
        assert not anchor or anchor in anchors(target), f"{page.name} links to {link}"


def test_the_afternoon_has_the_five_lines_of_the_readme():
    """`tests/test_afternoon.py` runs those of the README."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8").split("## Your own videos", 1)[1]
    lines = [line.partition("#")[0].rstrip() for line in re.findall(r"^    .+", readme, re.M)[:5]]
    page = (ROOT / "docs" / "afternoon.md").read_text(encoding="utf-8")
    assert re.findall(r"^    .+", page, re.M)[:5] == lines


def test_every_page_is_in_the_navigation():
    listed = re.findall(r"([\w-]+\.md)", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(page.name for page in (ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize(
    "text", [block for page in PAGES for block in blocks(page, "yaml")], ids=lambda text: text.split()[0]
)
def test_examples_in_yaml_are_configurations(text):
    example = yaml.safe_load(text)
    if "classes" not in example:
        complete_config(example)


def test_the_reference_tells_every_key(hooks):
    text = hooks.configuration()

    def keys(schema):
        for key, part in schema["properties"].items():
            yield key
            if "properties" in part:
                yield from keys(part)

    for key in keys(load_schema("config")):
        assert re.search(rf"`(\w+\.)*{key}`|^## {key}$", text, re.M), key
    assert "| `steps` | integer, ≥ 1 |" in text


def test_the_reference_tells_every_verb(hooks):
    text = hooks.verbs()
    for verb in ("predict", "soft-labels", "doctor", "compare"):
        assert f"## `weclick {verb}`" in text


def test_files_named_on_the_pages_exist():
    named = [place for page in TODAY for place in PLACE.findall(page.read_text(encoding="utf-8"))]
    assert len(named) > 40
    assert [place for place in named if not (ROOT / place).exists()] == []


def test_the_configuration_page_names_every_configuration():
    text = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    for path in (ROOT / "config").glob("*.yaml"):
        assert path.name.endswith("_classes.yaml") or f"`{path.name}`" in text, path.name


def test_modules_and_what_they_hold_exist_as_the_pages_name_them():
    named = {name for page in TODAY for name in DOTTED.findall(page.read_text(encoding="utf-8"))}
    assert len(named) > 5
    for name in named:
        pkgutil.resolve_name(name)  # an error says which part is missing


def test_keys_named_on_the_pages_exist():
    schema = load_schema("config")
    sections = {
        name: part["properties"] for name, part in schema["properties"].items() if "properties" in part
    }
    for page in TODAY:
        for section, key in re.findall(r"`(\w+)\.(\w+)(?::[^`]*)?`", page.read_text(encoding="utf-8")):
            if section in sections and key not in ("yaml", "py", "smk", "jsonl", "csv"):
                assert key in sections[section], f"{page.name} names {section}.{key}"


def test_messages_of_the_troubleshooting_page_are_in_the_code():
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "weclick").rglob("*.py"))
    source = re.sub(r'"\s*\n\s*f?"', "", source)  # join texts that are broken over lines
    table = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8").split("## It is slow")[0]
    messages = re.findall(r"^\| `(.+?)`(?:, `(.+?)`)? \|", table, re.M)
    library = ("is not of type", "less than the minimum")  # jsonschema's words
    assert len(messages) > 15
    for message in (text for row in messages for text in row if text):
        pieces = re.split(r"\.\.\.|'[^']*'|\d+(?:x\d+)?|\[[^\]]*\]|0\.\.K-1|resnet\d+|\(|\)", message)
        for piece in (piece.strip(" ,:;?") for piece in pieces):
            assert len(piece) < 8 or piece in source or piece in library, f"{message!r}: {piece!r}"


def test_the_example_of_a_data_set_runs(tmp_path):
    space = {}
    exec(blocks(ROOT / "docs/extending.md", "python")[0], space)
    for split in ("train", "val"):
        folder = tmp_path / split / "lake"
        folder.mkdir(parents=True)
        for i in range(3):
            Image.fromarray(np.full((8, 8, 3), i, np.uint8)).save(folder / f"{i:03}.jpg")
        Image.fromarray(np.ones((8, 8), np.uint8)).save(folder / "001.png")
    manifest = build_manifest(space["open_swans"](tmp_path, {}), "train", 0, 1, reach_frames=2)
    (clip,) = manifest.clips
    assert (len(clip.frames), clip.targets, clip.scored) == (3, (1,), ())


def test_the_example_of_an_estimator_runs():
    space = {}
    exec(blocks(ROOT / "docs/extending.md", "python")[1], space)
    rng = np.random.default_rng(0)
    wide = torch.from_numpy(rng.integers(0, 256, (24, 32), np.uint8)).repeat_interleave(4, 0)
    wide = wide.repeat_interleave(4, 1).expand(1, 3, 96, 128)
    flow = space["Median"]().estimate(wide[..., :-8], wide[..., 8:])
    assert flow.unique().numel() == 2
    assert abs(flow[0, 0, 0, 0] + 8) < 1
    assert space["Median"].describe()["of"]["name"] == "dis"


def test_the_example_of_a_loss_runs():
    space = {}
    exec(blocks(ROOT / "docs/extending.md", "python")[2], space)
    probs = torch.full((1, 4, 2, 2), 0.25)
    probs[..., 0] = torch.tensor([1.0, 0, 0, 0])[:, None]
    valid = torch.tensor([[[[False, True], [False, True]]]])
    assert space["entropy"](probs, valid) == pytest.approx(np.log(4))
    assert space["entropy"](probs, ~valid) == pytest.approx(0, abs=1e-6)


def test_the_example_of_a_term_follows_the_loss():
    term = example_term()
    assert (term.name, term.section) == ("entropy", "entropy")
    assert term not in terms.TERMS


def test_the_example_of_a_format_of_clicks_runs():
    space = {}
    exec(blocks(ROOT / "docs/extending.md", "python")[4], space)
    pins = [{"image": "park/00012.png", "at": [3, 4.5], "kind": "car"}, {"image": "park/00012.png"}]
    file = AnnotationFile("pins.json", PurePosixPath("pins.json"), json.dumps({"pins": pins}).encode())
    point, left = space["read_pins"](file, ReadOptions())
    assert (point.place.image, point.x, point.y, point.label) == ("park/00012.png", 3, 4.5, "car")
    assert left.reason == "not_points"
    other = AnnotationFile("other.json", PurePosixPath("other.json"), b"{}")
    assert space["read_pins"](other, ReadOptions()) is None


def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("material", reason="the site is built with the extra [dev]")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"],
        cwd=ROOT,
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "site/configuration/index.html").read_text(encoding="utf-8")
    assert "max_gap_frames" in page
    assert "unpkg.com" not in page


def test_the_page_of_speed_shows_the_last_run_of_all_claims():
    command = [sys.executable, "-m", "benchmarks", "--markdown"]
    table = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
    assert len(table.splitlines()) > 10
    assert table in (ROOT / "docs/speed.md").read_text(encoding="utf-8")
