"""A run whose proxy labels are masks of SAM 2: what it is given, when it runs again, and its verb."""

import dataclasses
import json

import numpy as np
import pytest

from helpers.tiny_sam2 import write_tiny_sam2
from weclick.clicks import write_clicks
from weclick.common.config import ConfigError, complete_config
from weclick.common.config_checks import check_proxy_labels
from weclick.common.errors import InputError
from weclick.datasets.digests import file_digests
from weclick.manifest import write_manifest
from weclick.proxy_labels.proxy_labels import read_proxy_labels
from weclick.runs.audit import EQUAL, audit, entries_of_run
from weclick.runs.layout import Layout
from weclick.runs.proxy_source import Given, given_to, proxies_of_run, proxy_listing, proxy_source
from weclick.store import Store, read_index

pytest.importorskip("transformers", reason="needs weclick[sam2]")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_sam2(tmp_path_factory.mktemp("sam2"))


def config_of(model, base=None, **more):
    section = {"source": "sam2", "sam2": {"model": model if model is None else str(model)}, "chunk_px": 32}
    return complete_config({**(base or {}), "supervision": "proxies", "proxy_labels": section, **more})


@pytest.mark.parametrize("method", ["weclick", "f2f"])
def test_it_is_given_clicks(tmp_path, model, method):
    config = config_of(model, method=method)
    check_proxy_labels(config)
    assert given_to(config) == ("clicks",)
    layout = Layout(tmp_path)
    assert Given.of_run(config, layout) == Given(clicks=layout.clicks("train"))


def test_a_model_that_is_not_there_is_told_beforehand(tmp_path):
    with pytest.raises(
        ConfigError, match=r"source is 'sam2', but proxy_labels\.sam2\.model is null; name the"
    ):
        check_proxy_labels(config_of(None))
    with pytest.raises(ConfigError, match=r"none', and there is no such folder"):
        check_proxy_labels(config_of(tmp_path / "none"))
    check_proxy_labels(config_of("hub:facebook/sam2.1-hiera-tiny"))


def test_the_listing_follows_the_weights(tmp_path):
    (tmp_path / "sam2").mkdir()
    weights = tmp_path / "sam2" / "model.safetensors"
    weights.write_bytes(b"1")
    config, memory = config_of(tmp_path / "sam2"), tmp_path / "memory.sqlite"
    file_digests([weights.resolve()], memory)
    first = proxy_listing(config, memory)
    weights.write_bytes(b"22")
    assert proxy_listing(config, memory) != first
    assert proxy_listing(config_of("hub:facebook/sam2.1-hiera-tiny"), memory) == ""


@pytest.fixture
def run(street, model, tmp_path, verb):
    """Runs the verb on a clip of the street; gives configuration, results folder and arguments."""
    cache = {"roots": [str(tmp_path / "store")]}
    config, results = config_of(model, street.config, cache=cache), tmp_path / "results"
    one = dataclasses.replace(street.train, clips=street.train.clips[:1])
    write_manifest(one, results / "manifest/train/0.json")
    write_clicks(street.clicks, Layout(results).clicks("train"))
    words = ["proxy-labels", "--config", json.dumps(config)]
    words += ["--manifest", results / "manifest/train/0.json"]
    words += ["--output", results / "proxy_labels/train/0.json"]
    status, said = verb(*words, "--clicks", Layout(results).clicks("train"), "--device", "cpu")
    assert status == 0, said.err
    return config, results, words


def test_the_verb_labels_every_frame_of_a_clip_with_clicks(run, street):
    config, results, _ = run
    keys = read_index([results / "proxy_labels/train/0.json"], "proxy_labels")
    store = Store(config["cache"]["roots"])
    clip, classes = street.train.clips[0], len(street.train.classes.names)
    labels = dict(read_proxy_labels(store.get("proxy_labels", keys[clip.id]), clip))
    assert list(labels) == [*range(len(clip.frames))]
    values = np.unique(np.stack([*labels.values()]))
    assert len(values) > 1
    assert {*values.tolist()} <= {*range(classes), 255}


def test_the_verb_asks_for_clicks_and_refuses_what_it_does_not_read(run, verb, tmp_path):
    _, results, words = run
    status, said = verb(*words)
    assert status == 1
    assert "the stage clicks makes, but that is not given; name its file with --clicks" in said.err
    more = ["--clicks", Layout(results).clicks("train"), "--tags", tmp_path / "tags.h5"]
    status, said = verb(*words, *more)
    assert status == 1
    assert "does not read what the stage tags makes" in said.err


def test_an_audit_makes_them_again(run):
    config, results, _ = run
    drawn = entries_of_run(results, config, ["proxy_labels"])
    verdicts = {each.verdict for each in audit(drawn, results, config, Store(config["cache"]["roots"]))}
    assert verdicts == {EQUAL}


def test_the_source_of_a_run_has_the_keys_of_its_stage(run, street):
    config, results, _ = run
    store = Store(config["cache"]["roots"])
    source = proxies_of_run(config, street.train, Layout(results), store)
    assert source.name == "sam2"
    Layout(results).clicks("train").unlink()
    assert proxies_of_run(config, street.train, Layout(results), store) is None
    given = Given(clicks=Layout(results).clicks("train"))
    with pytest.raises(InputError, match="no such click table"):
        proxy_source(config, street.train, given, store=store, remember=None)
