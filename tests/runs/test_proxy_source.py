"""What makes the proxy labels of a configuration, what it has to be given, and when the stage runs again."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.cam_entries import DOG, SIZE, cell, clip_of, manifest_of, write_cams, write_chain
from weclick.common.config import SECTIONS, ConfigError, complete_config, select
from weclick.common.config_checks import check_masks, check_proxy_labels
from weclick.common.errors import InputError, MissingFileError
from weclick.common.stages import MADE_FOR, taken_by
from weclick.datasets.digests import file_digests
from weclick.manifest import write_manifest
from weclick.manifest.read import read_label
from weclick.proxy_labels.class_map_folder import ClassMapFolder
from weclick.runs.audit import EQUAL, audit, entries_of_run
from weclick.runs.layout import Layout
from weclick.runs.proxy_source import Given, given_to, proxies_of_run, proxy_listing, proxy_source
from weclick.store import Store, read_index, write_index

F2F = {"method": "f2f"}


def of_folder(path, **more):
    section = {"source": "folder", "folder": {"path": str(path)}}
    return complete_config({"supervision": "proxies", "proxy_labels": section, **more})


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "maps" / "park").mkdir(parents=True)
    Image.fromarray(np.zeros(SIZE, np.uint8)).save(tmp_path / "maps" / "park" / "00002.png")
    return tmp_path / "maps"


def test_what_each_source_is_given():
    assert given_to(complete_config(F2F)) == ("tags", "cams", "flow")
    assert given_to(complete_config({**F2F, "proxy_labels": {"frames": 1}})) == ("tags", "cams")
    still = {"frames": 1, "background": "motion"}
    assert given_to(complete_config({**F2F, "proxy_labels": still})) == ("tags", "cams", "flow")
    assert given_to(of_folder("maps")) == ()


def test_a_run_s_files_are_those_of_its_stages():
    config = complete_config({**F2F, "data": {"shards": 2}})
    given = Given.of_run(config, Layout(Path("results")))
    assert given.tags == Path("results/tags/train.h5")
    assert given.cams == [Path(f"results/cams/train/{shard}.json") for shard in (0, 1)]
    assert given.flow == [Path(f"results/flow/train/{shard}.json") for shard in (0, 1)]
    assert Given.of_run(of_folder("maps"), Layout(Path("results"))) == Given()


@pytest.mark.parametrize(
    ("config", "given", "told"),
    [
        (F2F, Given(), r"reads what the stage tags makes, but that is not given; name its file with --tags"),
        (F2F, Given(Path("t.h5"), [Path("c.json")]), "--flow"),
        (
            {**F2F, "proxy_labels": {"frames": 1}},
            Given(Path("t.h5"), [Path("c")], [Path("f")]),
            "leave --flow",
        ),
    ],
)
def test_what_is_missing_or_too_much_is_told(tmp_path, config, given, told):
    with pytest.raises(InputError, match=told):
        proxy_source(
            complete_config(config), manifest_of(), given, store=Store([tmp_path / "store"]), remember=None
        )


def test_a_folder_is_given_nothing(folder, tmp_path):
    store = Store([tmp_path / "store"])
    source = proxy_source(of_folder(folder), manifest_of(), Given(), store=store, remember=None)
    assert isinstance(source, ClassMapFolder)
    with pytest.raises(InputError, match="does not read what the stage cams makes, but that is given"):
        proxy_source(of_folder(folder), manifest_of(), Given(cams=[folder]), store=store, remember=None)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"supervision": "proxies"},
            "is 'f2f', but method weclick takes no stage that makes its maps",
        ),
        (
            {"supervision": "proxies", "proxy_labels": {"source": "folder"}},
            r"proxy_labels\.folder\.path is null; name the folder",
        ),
        (
            {**F2F, "proxy_labels": {"source": "folder", "folder": {"path": "nowhere"}}},
            "'nowhere', and there is no such folder",
        ),
        (
            {**F2F, "proxy_labels": {"background": "saliency_file"}},
            r"background is 'saliency_file', but proxy_labels\.saliency is null",
        ),
    ],
)
def test_what_cannot_be_made_is_told_beforehand(change, told):
    with pytest.raises(ConfigError, match=told):
        check_proxy_labels(complete_config(change))


@pytest.mark.parametrize("supervision", ["clicks", "masks", "both"])
def test_what_a_run_does_not_take_is_not_checked(supervision):
    check_proxy_labels(complete_config({"supervision": supervision, "proxy_labels": {"source": "folder"}}))
    check_proxy_labels(complete_config({"supervision": supervision}))


def test_a_mask_that_the_flow_lacks_is_told():
    lacking = {**F2F, "flow": {"masks": ["photometric"]}, "mfd": {"weight": 0}}
    asked = {**lacking, "proxy_labels": {"occlusion": "forward_backward"}}
    with pytest.raises(ConfigError, match=r"proxy_labels\.occlusion is 'forward_backward', but flow\.masks"):
        check_masks(complete_config(asked))
    check_masks(complete_config(lacking))
    check_masks(complete_config({**asked, "method": "weclick"}))


@pytest.mark.parametrize(
    ("change", "stages"),
    [
        ({"frames": 3}, {"proxy_labels"}),
        ({"threshold": 0.3}, {"proxy_labels"}),
        ({"gap_frames": 2}, {"proxy_labels", "flow"}),
        ({"target": "middle"}, {"proxy_labels", "flow"}),
    ],
)
def test_an_option_reruns_what_reads_it_alone(change, stages):
    """Beside trainings, which come after."""
    before, after = complete_config(F2F), complete_config({**F2F, "proxy_labels": change})
    data = [stage.name for stage in taken_by(before) if stage.sharded or stage.name in ("clicks", "tags")]
    assert {name for name in data if select(before, name) != select(after, name)} == stages
    assert set(data) <= SECTIONS.keys()


def test_stages_for_maps_are_not_taken_where_a_folder_gives_labels(folder):
    by_maps = {stage.name for stage in taken_by(complete_config(F2F))}
    by_folder = {stage.name for stage in taken_by({**of_folder(folder), **F2F})}
    assert "proxy_labels" in by_maps & by_folder
    assert not by_folder & MADE_FOR.keys()
    assert by_maps - by_folder == MADE_FOR.keys() & by_maps


def test_the_listing_follows_names_and_edits(folder, tmp_path):
    config, memory = of_folder(folder), tmp_path / "memory.sqlite"
    path = folder / "park" / "00002.png"
    file_digests([path.resolve()], memory)
    first = proxy_listing(config, memory)
    Image.fromarray(np.ones(SIZE, np.uint8)).save(path)
    second = proxy_listing(config, memory)
    path.rename(path.with_name("00003.png"))
    assert len({first, second, proxy_listing(config, memory)}) == 3
    path.with_name("00003.png").unlink()
    with pytest.raises(MissingFileError, match=r"proxy_labels\.folder\.path is .*no file that ends in \.png"):
        proxy_listing(config, memory)


def test_the_listing_of_saliency_and_of_nothing(folder, tmp_path):
    saliency = {"background": "saliency_file", "saliency": str(folder)}
    assert proxy_listing(complete_config({"proxy_labels": saliency}), tmp_path / "memory.sqlite")
    assert proxy_listing(complete_config(F2F), tmp_path / "memory.sqlite") == ""


@pytest.fixture
def street_maps(street, tmp_path) -> Path:
    """The true label of one frame of each clip, and nothing of the others."""
    for clip in street.train.clips:
        (tmp_path / "maps" / clip.id).mkdir(parents=True)
        label = read_label(street.train, clip.frames[2])
        Image.fromarray(label).save(tmp_path / "maps" / clip.id / f"{clip.frames[2].name}.png")
    return tmp_path / "maps"


def config_of(street, path: Path, tmp_path: Path):
    section = {"source": "folder", "folder": {"path": str(path)}, "chunk_px": 32}
    cache = {"roots": [str(tmp_path / "store")]}
    return complete_config(
        {**street.config, "supervision": "proxies", "proxy_labels": section, "cache": cache}
    )


@pytest.fixture
def run(street, street_maps, tmp_path, verb):
    """Runs the verb on the street; gives the configuration and the results folder."""
    config, results = config_of(street, street_maps, tmp_path), tmp_path / "results"
    write_manifest(street.train, results / "manifest/train/0.json")
    index = results / "proxy_labels/train/0.json"
    words = ["--config", json.dumps(config), "--manifest", results / "manifest/train/0.json"]
    assert verb("proxy-labels", *words, "--output", index)[0] == 0
    return config, results


def test_the_verb_leaves_index_cost_and_quality(run, street):
    config, results = run
    index = results / "proxy_labels/train/0.json"
    keys = read_index([index], "proxy_labels")
    assert keys.keys() == {clip.id for clip in street.train.clips}
    entry = Store(config["cache"]["roots"]).get("proxy_labels", keys[street.train.clips[0].id])
    assert entry.attributes["frames"] == [street.train.clips[0].frames[2].name]
    lines = [json.loads(line) for line in index.with_suffix(".quality.jsonl").read_text().splitlines()]
    assert {line["iou"] for line in lines} == {1}
    assert {line["frames"] for line in lines} == {len(street.train.clips)}
    assert index.with_suffix(".cost.jsonl").is_file()
    assert Layout(results).found("proxy_labels", "train") == [index]


def test_the_verb_refuses_a_split_that_is_scored(run, street, tmp_path, verb):
    config, results = run
    shard, index = results / "manifest/val/0.json", results / "proxy_labels/val/0.json"
    write_manifest(street.val, shard)
    for clip in street.val.clips:
        (tmp_path / "maps" / clip.id).mkdir()
        label = read_label(street.val, clip.frames[0])
        Image.fromarray(label).save(tmp_path / "maps" / clip.id / f"{clip.frames[0].name}.png")
    words = ["--config", json.dumps(config), "--manifest", shard, "--output", index]
    status, said = verb("proxy-labels", *words)
    assert status == 1
    assert "have frames that are scored" in said.err
    assert verb("proxy-labels", *words, "--allow-val")[0] == 0


def test_an_audit_makes_them_again(run):
    config, results = run
    store = Store(config["cache"]["roots"])
    drawn = entries_of_run(results, config, ["proxy_labels"])
    assert {finding.verdict for finding in audit(drawn, results, config, store)} == {EQUAL}
    assert len(drawn) == 2


def test_explain_finds_them(run, street, verb, tmp_path):
    config, results = run
    text = json.dumps({**config, "results": str(results)})
    status, said = verb("cache", "explain", street.train.clips[0].id, "--config", text)
    assert status == 0
    assert "proxy_labels: found, " in said.out


def test_a_run_without_its_maps_has_no_source_yet(tmp_path):
    config, store = complete_config(F2F), Store([tmp_path / "store"])
    assert proxies_of_run(config, manifest_of(clip_of()), Layout(tmp_path / "results"), store) is None


def test_a_run_with_all_files_has_the_source_of_the_stage(tmp_path):
    from weclick.clicks.tags import SourcedTags, write_tags
    from weclick.proxy_labels.proxy_labels import make_proxy_labels

    store, clip, layout = Store([tmp_path / "store"]), clip_of(), Layout(tmp_path / "results")
    config = complete_config({**F2F, "proxy_labels": {"frames": 2}})
    manifest = manifest_of(clip)
    rows = {("park", ""): frozenset({DOG})}
    tags = SourcedTags(manifest.classes.names, True, rows, split="train", sources={("park", ""): "folders"})
    write_tags(tags, layout.of("tags") / "train.h5")
    cams = write_cams(store, clip, {DOG: [cell(2, 1 + t) for t in range(6)]})
    write_index(layout.shards("cams", "train", 1)[0], "cams", {"park": cams})
    chain = {"park": {"window": "0" * 64, "chain": write_chain(store, clip)}}
    write_index(layout.shards("flow", "train", 1)[0], "flow", chain)
    source = proxies_of_run(config, manifest, layout, store)
    assert source.name == "f2f"
    assert make_proxy_labels(manifest, source, chunk_px=32, store=store).keys() == {"park"}
