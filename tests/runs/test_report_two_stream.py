"""The page about a run of two streams: what it learned from, its targets, its stacks of flow."""

import re

import numpy as np
import pytest

from helpers.html_pages import alts, part, told
from helpers.report_run import CLASSES, Run
from helpers.two_stream_run import copied, make_two_stream_run, write_student
from weclick.common.sections import Config
from weclick.runs.inspect.describe import describe
from weclick.runs.report.pictures import OPACITY, tinted
from weclick.runs.report.results import read_results
from weclick.runs.report.targets import read_targets

TARGET = "00001"


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Run:
    """Not to be changed."""
    return make_two_stream_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def page(whole) -> str:
    return whole.page()


def links(page: str) -> list[str]:
    return re.findall('<a href="#([^"]+)">', page)


def targets_of(run: Run, config: Config | None = None):
    config = config or run.config
    return read_targets(read_results(run.folder, config), config, run.store, 4)


def test_the_contents_name_every_part_that_is_there(page):
    assert sorted(links(page)) == sorted(re.findall('<section id="([^"]+)">', page))
    assert {"tags", "flow", "cams", "targets"} <= {*links(page)}
    assert not {"strips", "paper", "proxies"} & {*links(page)}
    assert all(alt.strip() for alt in alts(page))
    assert "nan" not in told(page).lower()
    assert not re.search(r'(src|href)="(?!data:|#)', page)


def test_it_tells_that_tags_and_maps_were_learned_from_and_no_clicks(page):
    text = told(page)
    assert "Learned from the tags of 1 frame and from class activation maps, scored on 2 frames" in text
    assert (
        "The networks learn which classes occur from the tags of 1 frame, and where they are from class "
        "activation maps, not from clicks." in text
    )
    for absent in ("Clicks of each class", "No click on", "Distillation", "proxy label"):
        assert absent not in text


def test_the_terms_of_the_loss_have_curves(page):
    for title in ("Tags", "Heatmaps", "Constrain to boundaries"):
        assert f'aria-label="{title} over training steps"' in part(page, "training")


def test_a_target_stands_beside_where_its_classes_are_seen_and_its_flow(page):
    section = part(page, "targets")
    drawn = [alt for alt in alts(section) if "Colour wheel" not in alt]
    assert drawn[0] == f"Target {TARGET} of street"
    assert re.match(rf"Where classes are seen in {TARGET} of street: (road|car) \d+ %", drawn[1])
    assert drawn[2:] == [
        f"The stack's flow from frame {steps}, around {TARGET} of street" for steps in ("-1 to 0", "0 to +1")
    ]
    text = told(section)
    assert "A class is seen where its map exceeds 0.2 of its maximum in the frame." in text
    assert "A cell that stays grey belongs to no class." in text, "class 0 of this data set is no background"
    assert "looks at 2 flows, from frame -1 to +1; 4 px are 1, 10 px the most" in text


def test_models_and_configuration_tell_the_motion(page):
    rows = [told(row) for row in re.findall("<tr>.*?</tr>", part(page, "run"), re.DOTALL)]
    assert any(row.startswith("Looks at 2 flows, from frame -1 to +1") for row in rows)
    assert "Fusion of the streams early, score maps joined by sum" in rows


def test_targets_are_those_that_a_step_trains_on(whole):
    (target,) = targets_of(whole)
    assert target.clip.frames[target.position].name == TARGET
    assert target.flows.shape == (2, 2, 32, 64)
    np.testing.assert_allclose(target.flows[:, 0], 4, atol=1e-5)  # one cell of 4 px to the right
    np.testing.assert_allclose(target.flows[:, 1], 0, atol=1e-5)
    assert target.seen.shape == (3, 4, 8)
    assert target.seen[:2].any((1, 2)).any()
    assert not target.seen[2].any(), "no lamp is tagged"
    assert target.seen_pixels().shape == (3, 32, 64)


def test_a_higher_threshold_is_seen_in_fewer_cells(whole, tmp_path):
    strict = copied(whole, tmp_path, heatmap_loss={"threshold": 0.9})
    (few,), (many,) = targets_of(strict), targets_of(whole)
    assert (few.seen <= many.seen).all()
    assert few.seen.sum() < many.seen.sum()


def test_without_maps_and_motion_no_part_is_empty(whole, tmp_path):
    changed = {"student": {"architecture": "two_stream", "fusion": "none"}, "heatmap_loss": {"weight": 0}}
    run = copied(whole, tmp_path, **changed)
    write_student(run, fusion="none")
    page = run.page()
    assert not {"cams", "targets"} & {*links(page)}
    assert sorted(links(page)) == sorted(re.findall('<section id="([^"]+)">', page))
    text = told(page)
    assert "Learned from the tags of 1 frame, scored on" in text
    assert "The networks learn which classes occur from the tags of 1 frame, not from clicks." in text
    assert "Looks at" not in text


def test_without_maps_targets_show_flow_alone(whole, tmp_path):
    section = part(copied(whole, tmp_path, heatmap_loss={"weight": 0}).page(), "targets")
    assert "A class is seen" not in told(section)
    assert not [alt for alt in alts(section) if alt.startswith("Where classes are seen")]
    assert len([alt for alt in alts(section) if alt.startswith("The stack's flow")]) == 2


def test_inspect_tells_what_the_student_looks_at(whole):
    facts = describe(whole.folder / "student" / "model.safetensors", whole.store).facts
    assert facts["looks at"].startswith("2 flows, from frame -1 to +1")
    assert facts["flow learned from"] == '{"name": "by hand"}, kept on a grid of 4 px'


def test_colours_of_several_classes_mix():
    image, masks = np.full((1, 4, 3), 100, np.uint8), np.zeros((3, 1, 4), bool)
    masks[0, 0, 0] = masks[1, 0, :2] = True
    drawn = tinted(image, masks, CLASSES.palette)
    road, car = np.array(CLASSES.palette[:2], float)
    grey = (1 - OPACITY) * 100
    np.testing.assert_array_equal(drawn[0, 0], np.rint(grey + OPACITY * (road + car) / 2))
    np.testing.assert_array_equal(drawn[0, 1], np.rint(grey + OPACITY * car))
    assert (drawn[0, 2:] == 100).all(), "no class is there"
