"""What others wrote and means harm: names that lead elsewhere, promised sizes, deep texts, pickles."""

import dataclasses
import json
import os
import pickle
import re
import resource
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from helpers.cache_entries import ATTRIBUTES, INPUTS, MODEL_ATTRIBUTES, files_of
from helpers.damage import edit_zarr_json, forge, relist
from helpers.oracle import Oracle
from helpers.report_run import make_run
from weclick.common.bounded_json import DEPTH
from weclick.common.errors import InputError
from weclick.common.files import file_inside
from weclick.evaluate.apply import predict_files
from weclick.evaluate.stage import evaluate
from weclick.flow.to_files import export_flow
from weclick.manifest import read_manifest, write_manifest
from weclick.manifest.read import read_clip
from weclick.manifest.video import video_writer
from weclick.models import build_model
from weclick.runs.inspect.show import show
from weclick.runs.plan.probe import plausible_teacher
from weclick.runs.report.gallery import flow_gallery
from weclick.runs.report.results import read_results
from weclick.runs.report.strips import compute_strips
from weclick.store import DamagedEntryError, LocalRoot, Store, copy_entries, entry_key, verify_entry
from weclick.store.flow_entries import allocate_flow, write_flow
from weclick.store.model_file import load_model

ESCAPES = ["../../stolen", "/tmp/stolen", "a/../../../stolen", "..", "", "a\0b"]


def write_entry(root: Path, kind: str, attributes: dict) -> Path:
    """An entry of two steps of 5x7 cells and one file, which says of itself what is given; its folder."""
    with Store([root]).create(kind, INPUTS) as entry:
        array = entry.create_array(
            "flow", shape=(2, 2, 5, 7), chunks=(1, 2, 4, 4), dtype="int16", axes="PDHW"
        )
        array[0] = 1
        entry.write_file("model.safetensors", b"weights")
        entry.attributes.update(attributes)
    return LocalRoot(root).folder(kind, entry_key(kind, INPUTS))


@pytest.mark.parametrize("name", ESCAPES)
@pytest.mark.parametrize("part", ["id", "name", "image", "label", "instances"])
def test_a_manifest_cannot_name_what_lies_outside(street, tmp_path, part, name):
    write_manifest(street.train, tmp_path / "0.json")
    raw = json.loads((tmp_path / "0.json").read_text(encoding="utf-8"))
    clip = raw["clips"][0]
    (clip if part == "id" else clip["frames"][1])[part] = name
    (tmp_path / "0.json").write_text(json.dumps(raw))
    told = "(names '.*', which leads out of the data set's root|is a damaged manifest)"
    with pytest.raises(InputError, match=rf"0\.json: {told}"):
        read_manifest(tmp_path / "0.json")


@pytest.mark.parametrize("part", ["id", "frames", "clips"])
def test_a_manifest_of_other_types_is_refused(street, tmp_path, part):
    write_manifest(street.train, tmp_path / "0.json")
    raw = json.loads((tmp_path / "0.json").read_text(encoding="utf-8"))
    (raw if part == "clips" else raw["clips"][0])[part] = 3
    (tmp_path / "0.json").write_text(json.dumps(raw))
    with pytest.raises(InputError, match=r"0\.json: is a damaged manifest"):
        read_manifest(tmp_path / "0.json")


def test_a_data_set_may_hold_links_to_where_its_files_lie(street, tmp_path):
    """People link data sets into place; what is refused are names, not links of the machine's own user."""
    link = tmp_path / "data"
    link.symlink_to(street.train.root)
    write_manifest(dataclasses.replace(street.train, root=str(link)), tmp_path / "0.json")
    linked = read_manifest(tmp_path / "0.json")
    clip = street.train.clips[0]
    assert next(read_clip(linked, linked.clips[0])).shape == (*clip.size, 3)


@pytest.mark.parametrize("name", ["../../stolen", "/tmp/stolen", "a/../../../stolen", "a\0b"])
@pytest.mark.parametrize("of", ["clip", "target"])
@pytest.mark.parametrize("file_format", ["flo", "kitti"])
def test_exported_flows_stay_in_their_folder(tmp_path, name, of, file_format):
    """Clips are named by an index, frames by the entry, which a colleague may have written."""
    clip, target = (name, "a") if of == "clip" else ("clip", name)
    pairs = {"pairs": [[target, "b"], ["b", target]]}
    entry = write_entry(tmp_path / "store", "flow", {**ATTRIBUTES, **pairs})
    before = files_of(tmp_path)
    with pytest.raises(InputError, match=r"leads out of .*flow, so it is not written"):
        export_flow(
            {clip: entry.name},
            tmp_path / "deep/er/flow",
            store=Store([tmp_path / "store"]),
            file_format=file_format,
        )
    assert files_of(tmp_path) == before
    assert not list(Path("/tmp").glob("stolen*"))


def test_nothing_is_written_through_a_link_out_of_the_folder(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "flow").mkdir()
    (tmp_path / "flow/clip").symlink_to(tmp_path / "elsewhere")
    entry = write_entry(tmp_path / "store", "flow", ATTRIBUTES)
    with pytest.raises(InputError, match=r"flow/clip/a__b\.flo: leads out of .*flow, so it is not written"):
        export_flow({"clip": entry.name}, tmp_path / "flow", store=Store([tmp_path / "store"]))
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_an_output_folder_may_itself_be_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "flow").symlink_to(tmp_path / "disk")
    assert file_inside(tmp_path / "flow", "clip/a.flo") == tmp_path / "flow/clip/a.flo"


def test_a_video_named_dots_predicts_into_its_folder(street, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(plausible_teacher(street.config, street.train))
    with video_writer(tmp_path / "in/...mp4", Fraction(25)) as write:
        write(np.zeros((48, 64, 3), np.uint8))
    options = {"masks": True, "overlay": False, "opacity": 0.5, "device": "cpu"}
    with pytest.raises(InputError, match=r"masks/\.\./00000\.png: leads out of"):
        predict_files(tmp_path / "in/...mp4", tmp_path / "model.safetensors", tmp_path / "out", **options)
    assert files_of(tmp_path / "out") == {}


@pytest.mark.parametrize(
    "lie",
    [{"stride_px": 2**30}, {"image_size": [2**30, 2**30]}, {"stride_px": 2**30, "image_size": [2**30] * 2}],
)
def test_a_flow_that_promises_a_huge_image_takes_no_memory(tmp_path, lie):
    entry = write_entry(tmp_path / "store", "flow", {**ATTRIBUTES, **lie})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DamagedEntryError, match=r"images of .* in cells of .* px; expected cells no larger"):
        export_flow({"a": entry.name}, tmp_path / "out", store=Store([tmp_path / "store"]), full=True)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 2**10  # KiB
    assert files_of(tmp_path / "out") == {}


LIES = {
    "huge cells": ({"stride_px": 10**9}, (8, 16), "in cells of 1000000000 px; expected cells no larger"),
    "one huge cell": ({"stride_px": 10**9}, (1, 1), "in cells of 1000000000 px; expected cells no larger"),
    "smaller cells": (
        {"stride_px": 2},
        (8, 16),
        r"flow is of shape \(1, 2, 8, 16\), but 1 pairs of images",
    ),
    "a text": (
        {"stride_px": "4"},
        (8, 16),
        r"attributes are not .*stride_px: '4' is not of type 'integer'",
    ),
    "more pairs": ({"pairs": [["a", "b"]] * 10**5}, (8, 16), "but 100000 pairs of images of 32x64"),
    "other masks": (
        {"masks": {"photometric": {"bit": 2**40}}},
        (8, 16),
        "attributes are not those of a flow",
    ),
    "no masks": ({"masks": [1]}, (8, 16), r"masks: \[1\] is not of type 'object'"),
}


@pytest.mark.parametrize("reader", ["evaluate", "gallery", "strips", "show"])
@pytest.mark.parametrize("lie", LIES)
def test_a_flow_that_lies_is_refused_by_evaluation_and_report(tmp_path, lie, reader):
    said, cells, told = LIES[lie]
    run = make_run(tmp_path)
    results = read_results(run.folder, run.config)
    ((clip, key),) = results.flow["train"].items()
    entry = run.store.get("flow", key)
    shutil.rmtree(entry.path)
    with run.store.create("flow", entry.meta["inputs"]) as writer:
        arrays = allocate_flow(writer, 1, cells, stride_px=1, with_masks=True)
        write_flow(arrays, 0, np.ones((2, *cells)), np.full(cells, 2, np.uint8), on_overflow="error")
        writer.attributes.update({**entry.attributes, **said})
    model = build_model("deeplabv3plus", "mobilenetv2_compact", 3, channels=16).eval()
    scored = dataclasses.replace(results.train.clips[0], scored=(1,))
    split = dataclasses.replace(results.train, clips=(scored,))
    read = {
        "evaluate": lambda: evaluate(model, split, store=run.store, flow={clip: key}),
        "gallery": lambda: flow_gallery(results, run.store, 1),
        "show": lambda: show(entry.path, tmp_path / "x.png", manifests=[], store=run.store),
        "strips": lambda: compute_strips(results, run.config, run.store, 1),
    }[reader]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DamagedEntryError, match=told):
        read()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 2**10  # KiB


@pytest.mark.parametrize("shape", [[1, 2, 2**40, 16], [2**40, 2, 8, 16]])
def test_an_array_that_promises_a_huge_shape_is_refused_by_the_report(tmp_path, shape):
    run = make_run(tmp_path)
    results = read_results(run.folder, run.config)
    (key,) = results.flow["train"].values()
    edit_zarr_json(run.store.get("flow", key).path, lambda raw: raw.update(shape=shape))
    with pytest.raises(DamagedEntryError, match=r"flow/zarr\.json was refused: its shape is"):
        flow_gallery(results, run.store, 1)


def test_a_flow_of_other_frames_is_told(street):
    strange = {clip.id: key for clip, key in zip(street.val.clips, street.flow.values(), strict=False)}
    frames = sum(len(clip.frames) for clip in street.val.clips)
    oracle = Oracle([np.zeros((64, 96), np.uint8)] * frames)
    with pytest.raises(InputError, match=r"holds the flow of frames that clip .* has not; .*run the flow"):
        evaluate(oracle, street.val, store=street.store, flow=strange)


@pytest.mark.parametrize(
    ("kind", "array", "lie", "told"),
    [
        ("frames", "rgb", {"frames": ["a"] * 99}, "rgb is of . frames, but 99 are named"),
        (
            "soft_labels",
            "probabilities",
            {"frames": ["a"] * 99},
            "probabilities is of . frames, but 99 are named",
        ),
        (
            "soft_labels",
            "probabilities",
            {"classes": ["a"] * 10**6},
            "attributes are not those of a soft_labels",
        ),
        ("frames", "rgb", {"frames": 3}, "frames: 3 is not of type 'array'"),
    ],
)
def test_what_cannot_be_drawn_is_told(tmp_path, kind, array, lie, told):
    run = make_run(tmp_path)
    (key,) = getattr(read_results(run.folder, run.config), kind).values()
    folder = run.store.get(kind, key).path
    forge(folder, lambda meta: meta["attributes"].update(lie))
    with pytest.raises(DamagedEntryError, match=told):
        show(folder, tmp_path / "x.png", manifests=[], store=run.store)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda raw: raw["clips"][0].update(scored=[10**9]), "has . frames, but names one at 1000000000"),
        (lambda raw: raw["clips"][0].update(targets=[-1]), "targets/0: -1 is less than the minimum"),
        (lambda raw: raw["clips"][0].update(height_px="x"), "height_px: 'x' is not of type"),
        (lambda raw: raw.update(shrink=0), "shrink: 0 is less than the minimum"),
        (
            lambda raw: raw["classes"].update(names=["a"] * 10**5, palette=[[1, 2, 3]] * 10**5),
            "100000 classes",
        ),
        (lambda raw: raw["classes"].update(palette=[[1]]), r"palette/0: \[1\] is too short"),
        (lambda raw: raw["classes"]["palette"].append([10**9, 0, 0]), "1000000000 is greater"),
        (lambda raw: raw["classes"]["palette"][0].append(0), "palette/0: .* is too long"),
    ],
)
def test_a_manifest_of_values_that_cannot_be_is_refused(street, tmp_path, change, told):
    write_manifest(street.val, tmp_path / "0.json")
    raw = json.loads((tmp_path / "0.json").read_text(encoding="utf-8"))
    change(raw)
    (tmp_path / "0.json").write_text(json.dumps(raw))
    with pytest.raises(InputError, match=rf"0\.json: is a damaged manifest \(.*{told}"):
        read_manifest(tmp_path / "0.json")


@pytest.mark.parametrize("part", ["attributes", "inputs", "producer", "files"])
@pytest.mark.parametrize("depth", [DEPTH, 300, 990, 100_000])
def test_deep_values_are_refused_by_every_reader(tmp_path, part, depth):
    entry = write_entry(tmp_path / "store", "flow", ATTRIBUTES)
    text = (entry / "entry.json").read_text(encoding="utf-8")
    deep = text.replace(f'"{part}": {{', f'"{part}": {{"x": {"[" * depth + "]" * depth}, ', 1)
    (entry / "entry.json").write_text(deep)
    told = r"no readable entry\.json \(it is nested deeper than 32 levels"
    with pytest.raises(DamagedEntryError, match=told):
        Store([tmp_path / "store"]).find("flow", entry.name)
    assert "levels" in verify_entry(entry)[0]


def test_what_a_training_says_of_its_network_is_checked(tmp_path):
    assert verify_entry(write_entry(tmp_path / "good", "models", MODEL_ATTRIBUTES)) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"role": "spy"}, "role: 'spy' is not one of"),
        (
            {"options": {**MODEL_ATTRIBUTES["options"], "pretrained": "/etc/passwd"}},
            "options: False schema does not allow '/etc/passwd'",
        ),
        (
            {"options": {**MODEL_ATTRIBUTES["options"], "num_classes": 2**40}},
            "options/num_classes: ",
        ),
        ({"steps": "many"}, "steps: 'many' is not of type"),
        ({"weights_sha256": "../x"}, "weights_sha256: .* does not match"),
        ({"run": "rm -r"}, "'run' was unexpected"),
        ({"seed": None}, "seed: None is not of type 'integer'"),
    ],
)
def test_a_network_that_says_something_else_is_told_and_travels_nowhere(tmp_path, change, told):
    entry = write_entry(tmp_path / "team", "models", {**MODEL_ATTRIBUTES, **change})
    (fault,) = verify_entry(entry)
    assert re.search(f"attributes are not those of a models entry.*{told}", fault)
    done = copy_entries(
        [LocalRoot(tmp_path / "team")], LocalRoot(tmp_path / "mine"), [("models", entry.name)]
    )
    assert (done.copied, len(done.faults)) == (0, 1)
    assert files_of(tmp_path / "mine") == {}


class Trap:
    """A pickle that makes a folder when it is loaded."""

    def __init__(self, path: Path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_pickles_in_the_place_of_weights_or_arrays_are_never_loaded(tmp_path):
    sprung = tmp_path / "sprung"
    store = Store([tmp_path / "store"])
    with store.create("models", INPUTS) as writer:
        writer.write_file("model.safetensors", pickle.dumps(Trap(sprung)))
        writer.attributes.update(MODEL_ATTRIBUTES)
    weights = (
        Store([tmp_path / "store"]).get("models", entry_key("models", INPUTS)).path / "model.safetensors"
    )
    with pytest.raises(InputError, match=r"cannot be read as a \.safetensors checkpoint"):
        load_model(weights)
    entry = write_entry(tmp_path / "store", "flow", ATTRIBUTES)
    (entry / "flow/c/0/0/0/0").write_bytes(pickle.dumps(Trap(sprung)))
    forge(entry, lambda meta: relist(entry, meta))
    with pytest.raises(DamagedEntryError, match=r"flow/c/0/0/0/0 has (a chunk|\d+ bytes, too few)"):
        store.get("flow", entry.name).array("flow")[0]
    assert not sprung.exists()
