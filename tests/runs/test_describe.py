import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from weclick import cli
from weclick.clicks import write_clicks
from weclick.clicks.tags import SourcedTags, make_tags, read_tags, write_tags
from weclick.common.words import count_bytes
from weclick.manifest import write_manifest
from weclick.manifest.people import Origin
from weclick.models import build_model
from weclick.proxy_labels.masks import pack_masks
from weclick.proxy_labels.soft_labels import compute_soft_labels
from weclick.runs.inspect.describe import describe
from weclick.runs.inspect.show import show
from weclick.store import Store, write_index
from weclick.store.model_file import model_bytes


@pytest.fixture(scope="module")
def files(street, tmp_path_factory):
    """The files of a run, and a store with an entry of each kind but models."""
    root = tmp_path_factory.mktemp("files")
    write_manifest(street.train, root / "manifest.json")
    write_clicks(street.clicks, root / "clicks.h5")
    write_index(root / "flow.json", "flow", street.flow)
    model = build_model("deeplabv3plus", "mobilenetv2_compact", street.train.num_classes, channels=16)
    (root / "model.safetensors").write_bytes(model_bytes(model.eval(), street.train.classes))
    labels = compute_soft_labels(
        street.train, root / "model.safetensors", chunk_px=32, store=Store([root / "store"])
    )
    kinds = {"frames": (street.store, street.frames), "flow": (street.store, street.flow)}
    kinds["soft_labels"] = (Store([root / "store"]), labels)
    masks = pack_masks(street.train, chunk_px=32, store=Store([root / "store"]))
    kinds["masks"] = (Store([root / "store"]), masks)
    for kind, (store, keys) in kinds.items():
        (root / kind).symlink_to(store.get(kind, next(iter(keys.values()))).path)
    return root


def test_a_manifest_tells_its_counts(files, street):
    told = describe(files / "manifest.json", street.store)
    assert told.facts["clips"] == "2"
    assert told.facts["targets"] == "4"
    assert told.tables[0].rows[0][1] == "64x96"


def test_clicks_are_counted_per_class(files, street):
    told = describe(files / "clicks.h5", street.store)
    assert [int(row[2]) for row in told.tables[0].rows] == street.clicks.counts().tolist()
    assert told.facts["from"] == f"{len(street.clicks)} mask"


def test_who_clicked_is_told(street, tmp_path):
    name, points = next((name, points) for name, points in street.clicks.frames.items() if len(points) >= 4)
    origins = (Origin("human", "anna"), Origin("ghost"), Origin("human", "ben"), Origin("human", "ben"))
    table = replace(street.clicks, frames={name: points[:4]}, origins={name: origins})
    write_clicks(table, tmp_path / "c.h5")
    assert describe(tmp_path / "c.h5", street.store).facts["from"] == "1 ghost, 3 human (ben 2, anna 1)"


def test_tags_are_counted_per_class_in_frames_and_clips(street, tmp_path):
    rows = {("a", ""): frozenset([1]), ("a", "0"): frozenset([0, 1]), ("b", "0"): frozenset([1])}
    table = SourcedTags(
        ("road", "car", "sky"), True, rows, split="train", sources=dict.fromkeys(rows, "file")
    )
    write_tags(table, tmp_path / "t.h5")
    told = describe(tmp_path / "t.h5", street.store)
    assert told.facts["tagged"] == "2 frames and 1 whole clip, of 2 clips"
    assert told.facts["from"] == "file 3"
    assert told.facts["complete"] == "yes: classes without a tag are absent"
    assert [row[1:] for row in told.tables[0].rows] == [
        ("road", "1", "0", "1"),
        ("car", "2", "1", "2"),
        ("sky", "0", "0", "0"),
    ]
    assert told.tables[1].rows == [("a", "road, car"), ("b", "car")]
    with pytest.raises(ValueError, match=r"t\.h5: holds nothing that can be drawn"):
        show(tmp_path / "t.h5", tmp_path / "x.png", manifests=[], store=street.store)


def test_the_verb_makes_tags_that_inspect_shows(street, tmp_path, verb):
    """From the street's labels: what `weclick tags` writes is what the stage's function makes."""
    write_manifest(street.train, tmp_path / "0.json")
    output = tmp_path / "tags" / "train.h5"
    words = ("--manifest", tmp_path / "0.json", "--output", output, "--json", tmp_path / "tags.json")
    assert verb("tags", *words)[0] == 0
    assert read_tags(output) == make_tags(street.train, street.config["tags"])
    assert len(json.loads((tmp_path / "tags.json").read_text())["tags"]) == 8
    status, said = verb("inspect", output)
    assert status == 0
    assert "8 frames and 0 whole clips, of 2 clips" in said.out
    status, said = verb("tags", *words, "--set", "tags.source=folders")
    assert status == 1
    assert "lies in no folder of a class" in said.err
    assert read_tags(output).sources == dict.fromkeys(read_tags(output).rows, "labels"), "the old file stays"


def test_an_index_finds_its_entries_or_says_which_lack(files, street, tmp_path):
    assert describe(files / "flow.json", street.store).faults == ()
    (fault,) = describe(files / "flow.json", Store([tmp_path])).faults
    assert "2 of 2 entries are in none of the roots" in fault


def test_an_index_of_several_needs_is_listed_by_need(street, tmp_path):
    several = {clip: {"window": key, "chain": "0" * 64} for clip, key in street.flow.items()}
    write_index(tmp_path / "flow.json", "flow", several)
    told = describe(tmp_path / "flow.json", street.store)
    assert told.facts["clips"] == "2"
    assert told.tables[0].columns[0] == "clip, need"
    assert {row[0] for row in told.tables[0].rows} >= {"street_0000, window", "street_0000, chain"}
    assert "2 of 4 entries are in none of the roots" in told.faults[0]


def test_an_entry_whose_file_changed_is_told_with_status_1(street, tmp_path):
    source = street.store.get("frames", next(iter(street.frames.values()))).path
    copy = tmp_path / source.name
    shutil.copytree(source, copy)
    assert CliRunner().invoke(cli.app, ["inspect", str(copy)]).exit_code == 0
    chunk = next(path for path in (copy / "rgb" / "c").rglob("*") if path.is_file())
    chunk.write_bytes(b"damaged")
    told = CliRunner().invoke(cli.app, ["inspect", str(copy)])
    assert told.exit_code == 1
    assert "content differs from what was committed" in told.output


def test_a_checkpoint_tells_its_layers(files, street):
    told = describe(files / "model.safetensors", street.store)
    assert told.facts["backbone"] == "mobilenetv2_compact"
    assert [row[1] for row in told.tables[1].rows] == list(street.train.classes.names)


@pytest.mark.parametrize(
    "name",
    [
        "manifest.json",
        "clicks.h5",
        "flow.json",
        "frames",
        "masks",
        "flow",
        "soft_labels",
        "model.safetensors",
    ],
)
def test_everything_can_be_drawn(files, street, tmp_path, name):
    path = (files / name).resolve()
    show(path, tmp_path / "x.png", manifests=[files / "manifest.json"], store=street.store)
    with Image.open(tmp_path / "x.png") as image:
        assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 10


def test_clicks_without_a_manifest_and_unknown_files_are_refused(files, street, tmp_path):
    with pytest.raises(ValueError, match="name the split's manifests too"):
        show(files / "clicks.h5", tmp_path / "x.png", manifests=[], store=street.store)
    (tmp_path / "metrics.json").write_text(json.dumps({"miou": 1, "clips": 1}))
    with pytest.raises(ValueError, match=r"JSON of another kind; expected a manifest"):
        show(tmp_path / "metrics.json", tmp_path / "x.png", manifests=[], store=street.store)
    (tmp_path / "other.json").write_text(json.dumps([1]))
    with pytest.raises(ValueError, match=r"JSON of another kind; expected a manifest"):
        describe(tmp_path / "other.json", street.store)
    with pytest.raises(FileNotFoundError, match="there is nothing here"):
        describe(tmp_path / "none", street.store)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"kind": [1], "entries": [1]}', '{"kind": "flow", "entries": 3}']
)
def test_what_is_no_index_is_told(street, tmp_path, text):
    (tmp_path / "0.json").write_text(text)
    for look in (describe, lambda path, store: show(path, tmp_path / "x.png", manifests=[], store=store)):
        with pytest.raises(ValueError, match=r"0\.json: is (no JSON|no index of .* entries)"):
            look(tmp_path / "0.json", street.store)


def test_a_card_that_is_none_is_told(files, street, tmp_path):
    shutil.copy(files / "model.safetensors", tmp_path)
    (tmp_path / "model.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"model\.json: holds a list, expected an object"):
        describe(tmp_path / "model.safetensors", street.store)


def test_bytes_for_people():
    assert [count_bytes(n) for n in (0, 1023, 1024, 3 * 2**30)] == ["0 B", "1023 B", "1.0 KiB", "3.0 GiB"]
