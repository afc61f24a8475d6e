"""What others wrote and means harm: names that lead elsewhere, promised sizes, deep texts, pickles."""

import dataclasses
import json
import os
import pickle
import re
import resource
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from cache_entries import ATTRIBUTES, INPUTS, MODEL_ATTRIBUTES, files_of
from test_cache_damage import forge, relist

from weclick.checkpoint import load_model
from weclick.errors import InputError
from weclick.flow.exported import export_flow
from weclick.manifest import file_inside, read_manifest, write_manifest
from weclick.media import read_clip
from weclick.plan_probe import plausible_teacher
from weclick.predict import predict_files, video_writer
from weclick.store import DamagedEntryError, LocalRoot, Store, copy_entries, entry_key, verify_entry
from weclick.store.meta import DEPTH

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
    raw = json.loads((tmp_path / "0.json").read_text())
    clip = raw["clips"][0]
    (clip if part == "id" else clip["frames"][1])[part] = name
    (tmp_path / "0.json").write_text(json.dumps(raw))
    with pytest.raises(InputError, match=r"0\.json: names '.*', which leads out of the data set's root"):
        read_manifest(tmp_path / "0.json")


@pytest.mark.parametrize("part", ["id", "frames", "clips"])
def test_a_manifest_of_other_types_is_refused(street, tmp_path, part):
    write_manifest(street.train, tmp_path / "0.json")
    raw = json.loads((tmp_path / "0.json").read_text())
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
    with pytest.raises(DamagedEntryError, match=r"it says that images are .* px, but its flow has 5x7 cells"):
        export_flow({"a": entry.name}, tmp_path / "out", store=Store([tmp_path / "store"]), full=True)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 2**10  # KiB
    assert files_of(tmp_path / "out") == {}


@pytest.mark.parametrize("part", ["attributes", "inputs", "producer", "files"])
@pytest.mark.parametrize("depth", [DEPTH, 300, 990, 100_000])
def test_deep_values_are_refused_by_every_reader(tmp_path, part, depth):
    entry = write_entry(tmp_path / "store", "flow", ATTRIBUTES)
    text = (entry / "entry.json").read_text()
    deep = text.replace(f'"{part}": {{', f'"{part}": {{"x": {"[" * depth + "]" * depth}, ', 1)
    (entry / "entry.json").write_text(deep)
    told = r"nested deeper than 32 levels|no readable entry\.json \(maximum recursion"
    with pytest.raises(DamagedEntryError, match=told):
        Store([tmp_path / "store"]).find("flow", entry.name)
    assert "levels" in verify_entry(entry)[0] or "recursion" in verify_entry(entry)[0]


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
    with pytest.raises(DamagedEntryError, match=r"flow\[0\] cannot be decoded"):
        store.get("flow", entry.name).array("flow")[0]
    assert not sprung.exists()
