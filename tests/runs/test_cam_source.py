"""What makes the class activation maps of a run, and what asks for them: explain, audit."""

import shutil

import pytest
import torch

from weclick.clicks.tags import make_tags, write_tags
from weclick.common.config import ConfigError, complete_config
from weclick.common.config_checks import check_cams
from weclick.common.errors import InputError, MissingFileError
from weclick.datasets.digests import file_digests
from weclick.manifest import write_manifest
from weclick.models import build_classifier
from weclick.proxy_labels.cam_classifier import OfClassifier
from weclick.proxy_labels.cam_imagenet import OfImageNet
from weclick.proxy_labels.cams import compute_cams
from weclick.runs.audit import CLOSE, EQUAL, audit, entries_of_run
from weclick.runs.cam_source import cam_source, iconic_listing, maps_of_run
from weclick.runs.explain.explain import answer, clip_questions
from weclick.runs.wanted import Wanted
from weclick.store import Store, write_index
from weclick.store.model_file import model_bytes


@pytest.fixture(scope="module")
def run(street, tmp_path_factory):
    """Results, store and configuration of a run that has made its maps."""
    results = tmp_path_factory.mktemp("run") / "results"
    config = complete_config({"data": street.config["data"], "method": "f2f", "cams": {"scales": [1]}})
    store, weights = Store([results.parent / "store"]), results / "classifier/model.safetensors"
    for split, manifest in (("train", street.train), ("val", street.val)):
        write_manifest(manifest, results / f"manifest/{split}/0.json")
    assert maps_of_run(config, street.train.classes.names, results) is None
    tags = make_tags(street.train, config["tags"])
    write_tags(tags, results / "tags/train.h5")
    assert maps_of_run(config, street.train.classes.names, results) is None, "no classifier yet"
    torch.manual_seed(0)
    weights.parent.mkdir()
    model = build_classifier("mobilenetv2_compact", len(street.train.classes.names), output_stride=8)
    weights.write_bytes(model_bytes(model, street.train.classes))
    keys = compute_cams(street.train, OfClassifier.of(weights), tags, options=config["cams"], store=store)
    write_index(results / "cams/train/0.json", "cams", keys)
    return results, store, config, keys


def test_a_run_asks_for_the_maps_that_the_stage_made(run, street):
    results, _, config, keys = run
    maps = maps_of_run(config, street.train.classes.names, results)
    assert Wanted(config, maps=maps).keys("cams", street.train.clips) == keys
    assert Wanted(config).keys("cams", street.train.clips) == {}


def test_explain_finds_them_or_tells_what_lacks(run, street, tmp_path):
    results, store, config, keys = run
    clip = street.train.clips[0].id

    def asked(folder):
        questions = clip_questions(clip, [street.train], config, [], folder, store)
        (found,) = (each for each in answer(questions, store) if each.question.kind == "cams")
        return found

    assert (asked(results).key, bool(asked(results).found)) == (keys[clip], True)
    assert "tags or classifier are not there" in asked(tmp_path).question.why_not


def test_they_come_out_equal_when_they_are_computed_again(run):
    results, store, config, keys = run
    drawn = entries_of_run(results, config, ["cams"])
    assert {each.key for each in drawn} == set(keys.values())
    found = audit(drawn, results, config, store)
    assert {each.verdict for each in found} <= {EQUAL, CLOSE}, [each.told for each in found]


def test_the_source_is_what_the_configuration_says(run, street, tmp_path):
    results, _, config, _ = run
    names, weights = street.train.classes.names, results / "classifier/model.safetensors"
    assert cam_source(config, names, weights) == OfClassifier.of(weights)
    section = {**config["cams"], "source": "imagenet", "mapping": {"car": [817]}}
    assert isinstance(cam_source({"cams": section}, names, None), OfImageNet)
    with pytest.raises(InputError, match="no classifier is given; name its"):
        cam_source(config, names, None)
    with pytest.raises(InputError, match="is given as a classifier; leave --classifier out"):
        cam_source({"cams": section}, names, weights)
    some = {"cams": {**section, "sources": {"sky": "tags"}}}
    assert set(cam_source(some, names, weights).parts) == {"imagenet", "tags"}
    with pytest.raises(InputError, match=r"cams.sources {'sky': 'tags'}, but no classifier is given"):
        cam_source(some, names, None)


def test_a_folder_of_iconic_images_has_to_be_there(tmp_path):
    section = {**complete_config({})["cams"], "source": "iconic"}
    for iconic, told in ((None, "null"), (str(tmp_path / "none"), "there is no such folder")):
        config = {"method": "f2f", "cams": {**section, "iconic": iconic}}
        with pytest.raises(ConfigError, match=rf"iconic images make class maps, but cams.iconic is .*{told}"):
            check_cams(config)
        check_cams({**config, "method": "weclick"})
    check_cams({"method": "f2f", "cams": {**section, "iconic": str(tmp_path)}})


def test_what_the_folder_holds_decides_whether_the_stage_runs_again(tmp_path):
    def listing(**changes):
        section = {"source": "iconic", "iconic": str(tmp_path / "iconic"), **changes}
        config = complete_config({"method": "f2f", "cams": section})
        return iconic_listing(config, tmp_path / "memory.sqlite")

    (tmp_path / "iconic/car").mkdir(parents=True)
    with pytest.raises(MissingFileError, match="but there is no file that ends in"):
        listing()
    image = tmp_path / "iconic/car/a.png"
    image.write_bytes(b"1")
    file_digests([image], tmp_path / "memory.sqlite")
    first = listing()
    assert first == listing()
    (tmp_path / "iconic/car/notes.txt").write_text("no image")
    assert first == listing()
    image.write_bytes(b"2")
    edited = listing()
    shutil.copy(image, image.with_name("b.png"))
    assert len({first, edited, listing()}) == 3
    assert listing(source="tags") == ""
