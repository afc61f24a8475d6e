"""A browser without network opens the pages: no error, every picture there, every table filled."""

import json
import re
import shutil
import subprocess
from dataclasses import dataclass, replace
from html import escape, unescape
from pathlib import Path
from typing import Any

import pytest

from helpers.experiment_summary import make_summary
from helpers.instance_run import make_instance_run
from helpers.report_run import make_run, write_ablation
from weclick.runs.experiment.compare import write_experiments
from weclick.runs.experiment.page import write_page
from weclick.runs.report import write_comparison

BROWSER = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="neither chromium nor google-chrome is installed")

FRAME = """<!doctype html><pre id="seen"></pre>
<iframe style="border: 0" width="{width_px}" height="1000" srcdoc="{page}"></iframe>"""
"""Around a page, since a headless window is never narrower than 500 px."""

PROBE = """<script>
addEventListener("load", () => {
  const all = (selector) => [...document.querySelectorAll(selector)];
  parent.document.getElementById("seen").textContent = JSON.stringify({
    pictures: all("img").map((image) => image.complete ? image.naturalWidth : 0),
    charts: all("svg").map((chart) => chart.getBoundingClientRect().width),
    tables: all("table").map((table) => [...table.tBodies[0].rows].map((row) => row.innerText.trim())),
    fetched: performance.getEntriesByType("resource").map((entry) => entry.name.slice(0, 40)),
    widths: [innerWidth, document.documentElement.scrollWidth],
    touching: all("th:first-child:not(:last-child)").filter((cell) => {
      const text = document.createRange();
      text.selectNodeContents(cell);
      return text.getBoundingClientRect().right > cell.getBoundingClientRect().right - 4;
    }).map((cell) => cell.innerText),
    ground: getComputedStyle(document.body).backgroundColor,
  });
});
</script></body>"""


@dataclass(frozen=True)
class Seen:
    """What the browser made of a page, and what it complained of."""

    dom: dict[str, Any]
    complaints: list[str]


def look(page: Path, *, width_px: int = 1400, dark: bool = False) -> Seen:
    """Open a copy of the page that tells what a browser sees of it."""
    probed = page.with_name(f"probed_{page.name}")
    content = escape(page.read_text(encoding="utf-8").replace("</body>", PROBE))
    probed.write_text(FRAME.format(width_px=width_px, page=content))
    command = [
        str(BROWSER),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={page.parent / 'profile'}",
        f"--blink-settings=preferredColorScheme={0 if dark else 1}",
        "--hide-scrollbars",
        "--enable-logging=stderr",
        "--dump-dom",
        probed.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    found = re.search('<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stdout[-500:] + done.stderr[-2000:]
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return Seen(json.loads(unescape(found[1])), complaints)


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("run")
    run = make_run(root)
    teacher = {**run.config["teacher"], "head_learning_rate_factor": 5.0}  # a long name in the page
    run = replace(run, config={**run.config, "teacher": teacher})
    write_ablation(run.folder)
    run.page()
    shutil.copy(root / "report.json", run.folder)
    shutil.copytree(run.folder, root / "other")
    write_comparison(root / "compare.html", runs=[str(run.folder), str(root / "other")])
    write_page(root / "experiment.html", make_summary())
    for name in ("one", "two"):
        (root / f"{name}.json").write_text(json.dumps(make_summary(name)))
    write_experiments(root / "experiments.html", [str(root / "one.json"), str(root / "two.json")])
    detected = tmp_path_factory.mktemp("detected")
    make_instance_run(detected).page()
    names = ("report", "compare", "experiment", "experiments")
    return {name: root / f"{name}.html" for name in names} | {"detected": detected / "report.html"}


@pytest.mark.parametrize(
    ("name", "pictures", "charts"),
    [("report", 19, 4), ("compare", 4, 4), ("experiment", 0, 4), ("experiments", 0, 1), ("detected", 39, 4)],
)
def test_pictures_charts_and_tables_are_there(pages, name, pictures, charts):
    seen = look(pages[name])
    assert seen.complaints == []
    assert seen.dom["fetched"] == []
    assert len(seen.dom["pictures"]) == pictures
    assert all(width > 0 for width in seen.dom["pictures"])
    assert len(seen.dom["charts"]) >= charts
    assert min(seen.dom["charts"]) > 100
    assert len(seen.dom["tables"]) >= min(charts + 2, 4)
    for rows in seen.dom["tables"]:
        assert rows
        assert all(re.search(r"\S\s+\S", row) for row in rows), rows


@pytest.mark.parametrize("name", ["report", "compare", "experiment", "experiments", "detected"])
def test_nothing_is_cut_off_on_a_narrow_screen(pages, name):
    assert look(pages[name], width_px=420).dom["widths"] == [420, 420]


@pytest.mark.parametrize("name", ["report", "compare", "experiments"])
def test_names_do_not_touch_their_values_on_a_narrow_screen(pages, name):
    assert look(pages[name], width_px=420).dom["touching"] == []


def test_dark_and_light_differ(pages):
    light, dark = (look(pages["report"], dark=dark).dom["ground"] for dark in (False, True))
    assert light == "rgb(251, 250, 248)"
    assert dark == "rgb(20, 22, 26)"


def test_a_broken_page_would_be_seen(tmp_path):
    page = tmp_path / "broken.html"
    broken = "<img src='data:image/png;base64,AAAA'><img src='https://example.org/a.png'><script>nothing()</script>"
    page.write_text(f"<!doctype html><body>{broken}</body>")
    seen = look(page)
    assert seen.dom["pictures"] == [0, 0]
    assert seen.dom["fetched"]
    assert any("nothing is not defined" in line for line in seen.complaints)
