"""`weclick cache audit`: entries that are whole but wrong are found, and the store is only read."""

import json
import shutil
from pathlib import Path

import boto3
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from helpers.cache_entries import files_of
from helpers.damage import forge
from helpers.s3_server import s3_server
from weclick.cli import app
from weclick.common.config import complete_config
from weclick.common.errors import InputError
from weclick.common.stages import INDEXED, taken_by
from weclick.datasets.frames import pack_frames
from weclick.flow.stage import compute_flow, compute_needs
from weclick.manifest import write_manifest
from weclick.manifest.read import read_label
from weclick.proxy_labels.fuse import Fuse
from weclick.proxy_labels.masks import pack_masks
from weclick.proxy_labels.soft_labels import compute_soft_labels
from weclick.proxy_labels.teachers import Teachers
from weclick.runs.audit import CLOSE, DIFFERS, EQUAL, audit, draw, entries_of_run
from weclick.runs.label_source import label_source, stored_as
from weclick.runs.plan.probe import plausible_teacher
from weclick.runs.wanted import Wanted
from weclick.store import LocalRoot, S3Root, Store, copy_entries, write_index
from weclick.store.pins import content_digest

HELD = tuple(stage.kind for stage in taken_by({"supervision": "both"}, INDEXED))
"""Kinds of the entries of the run that is audited here."""


def config_of(street) -> dict:
    return {**street.config, "frames": {**street.config["frames"], "chunk_px": 32}, "supervision": "both"}


def run_stages(street, folder: Path) -> None:
    """Leave results and a store as the stages do."""
    results, store, config = folder / "results", Store([folder / "store"]), config_of(street)
    for split, manifest in (("train", street.train), ("val", street.val)):
        write_manifest(manifest, results / f"manifest/{split}/0.json")
        flow = compute_flow(manifest, Wanted(config).pairs, options=config["flow"], store=store)
        write_index(results / f"flow/{split}/0.json", "flow", flow)
    frames = pack_frames(street.train, store=store, **config["frames"])
    write_index(results / "frames/train/0.json", "frames", frames)
    masks = pack_masks(street.train, store=store, **config["masks"])
    write_index(results / "masks/train/0.json", "masks", masks)
    teacher = results / "teacher/model.safetensors"
    teacher.parent.mkdir()
    teacher.write_bytes(plausible_teacher(config, street.train))
    labels = compute_soft_labels(street.train, teacher, store=store, **stored_as(config))
    write_index(results / "soft_labels/train/0.json", "soft_labels", labels)


class Audited:
    """A run whose store may be changed."""

    def __init__(self, street, folder: Path):
        self.results, self.root = folder / "results", LocalRoot(folder / "store")
        self.config, self.store = config_of(street), Store([self.root.path])
        self.keys = {
            kind: json.loads((self.results / kind / "train/0.json").read_text(encoding="utf-8"))["entries"]
            for kind in HELD
        }

    def entries(self, *kinds: str):
        return entries_of_run(self.results, self.config, kinds or HELD)

    def find(self, *kinds: str, store: Store | None = None):
        return audit(self.entries(*kinds), self.results, self.config, store or self.store)

    def change(self, kind: str, array: str, edit) -> str:
        """Rewrite one array of one entry, whole, with an entry.json that fits it. Returns the key."""
        key = next(iter(self.keys[kind].values()))
        folder = self.root.folder(kind, key)
        entry = self.store.get(kind, key)
        other = Store([folder.parents[4] / "other"])
        with other.create(kind, entry.meta["inputs"]) as new:
            for name in sorted({path.split("/")[0] for path in entry.meta["files"] if "/" in path}):
                old = entry.array(name)
                chunks = (1, *old.shape[1:])
                made = new.create_array(
                    name, shape=old.shape, chunks=chunks, dtype=old.dtype, axes=old.attrs["axes"]
                )
                for step in range(len(old)):
                    made[step] = edit(old[step].copy()) if name == array else old[step]
            new.attributes.update(entry.attributes)
        shutil.rmtree(folder)
        shutil.move(other.local.folder(kind, key), folder)
        assert self.root.faults(kind, key) == [], "as whole as any other"
        return key


@pytest.fixture(scope="module")
def made(street, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("audited")
    run_stages(street, folder)
    return folder


@pytest.fixture
def audited(street, tmp_path, made) -> Audited:
    for name in ("results", "store"):
        shutil.copytree(made / name, tmp_path / name)
    return Audited(street, tmp_path)


def test_what_a_run_computed_comes_out_equal_and_the_store_is_only_read(audited):
    before = files_of(audited.root.path)
    times = {path: path.lstat().st_mtime_ns for path in audited.root.path.rglob("*")}
    findings = audited.find()
    assert {each.drawn.kind for each in findings} == set(HELD)
    assert {each.verdict for each in findings} == {EQUAL}, [each.told for each in findings]
    assert files_of(audited.root.path) == before
    assert {path: path.lstat().st_mtime_ns for path in audited.root.path.rglob("*")} == times


def test_what_is_computed_twice_has_the_same_digest_of_content(street, made, tmp_path):
    run_stages(street, tmp_path)
    one, other = LocalRoot(made / "store"), LocalRoot(tmp_path / "store")
    for kind in HELD:
        keys = list(one.keys(kind))
        assert keys == list(other.keys(kind))
        for key in keys:
            assert content_digest(one.find_meta(kind, key)) == content_digest(other.find_meta(kind, key))


def one_pixel(rgb: np.ndarray) -> np.ndarray:
    rgb[0, 0, 0] ^= 1
    return rgb


def one_class(classes: np.ndarray) -> np.ndarray:
    classes[0, 0] ^= 1
    return classes


def a_corner(flow: np.ndarray) -> np.ndarray:
    flow[:, :4, :4] += 5 * 64
    return flow


def no_mask(valid: np.ndarray) -> np.ndarray:
    return np.full_like(valid, valid.max() | 1)


def two_classes_swapped(labels: np.ndarray) -> np.ndarray:
    labels[[0, 1]] = labels[[1, 0]]
    return labels


@pytest.mark.parametrize(
    ("kind", "array", "edit"),
    [
        ("frames", "rgb", one_pixel),
        ("masks", "classes", one_class),
        ("flow", "flow", a_corner),
        ("flow", "flow", lambda flow: -flow),
        ("flow", "valid", no_mask),
        ("soft_labels", "probabilities", two_classes_swapped),
    ],
)
def test_wrong_entries_whose_digests_fit_are_named_with_their_root(audited, kind, array, edit):
    key = audited.change(kind, array, edit)
    wrong = [each for each in audited.find(kind) if each.verdict == DIFFERS]
    assert [(each.root, each.drawn.key) for each in wrong] == [(str(audited.root), key)]
    assert wrong[0].told.startswith(f"{array}[")


def test_small_differences_are_told_and_are_no_fault(audited):
    key = audited.change("flow", "flow", lambda flow: flow + 3)
    (found,) = (each for each in audited.find("flow") if each.drawn.key == key)
    assert found.verdict == CLOSE
    assert "differs at most by 0.0469 px of the grid" in found.told


def test_attributes_and_damage_are_found(audited):
    key = next(iter(audited.keys["soft_labels"].values()))
    folder = audited.root.folder("soft_labels", key)
    forge(folder, lambda meta: meta["attributes"]["classes"].reverse())
    (found,) = (each for each in audited.find("soft_labels") if each.drawn.key == key)
    assert found.verdict == DIFFERS
    assert found.told.startswith("its attribute classes is ")
    (folder / "entry.json").write_bytes(b"{}")
    (found,) = (each for each in audited.find("soft_labels") if each.drawn.key == key)
    assert "entry layout" in found.told or "damaged" in found.told


def test_every_root_is_looked_at_and_the_bucket_is_only_read(audited, tmp_path):
    key = next(iter(audited.keys["flow"].values()))
    shutil.copytree(audited.root.path, tmp_path / "good")
    audited.change("flow", "flow", a_corner)
    with s3_server():
        boto3.client("s3").create_bucket(Bucket="audited")
        far = S3Root("s3://audited/weclick")
        copy_entries([audited.root], far, [("flow", key)])
        store = Store([tmp_path / "good", str(far), audited.root.path, tmp_path / "mine"])
        entries = [each for each in audited.entries("flow") if each.key == key]
        found = {e.root: e.verdict for e in audit(entries, audited.results, audited.config, store)}
    assert found == {
        str(tmp_path / "good"): EQUAL,
        str(far): DIFFERS,
        str(audited.root): DIFFERS,
    }
    assert not (tmp_path / "mine").exists()


def test_a_draw_follows_from_its_seed_alone(audited):
    entries = audited.entries()
    drawn = draw(entries, "50%", 7)
    assert {each.key for each in draw(list(reversed(entries)), "50%", 7)} == {each.key for each in drawn}
    assert {each.kind for each in draw(entries, "1%", 7)} == set(HELD), "at least one of each kind"
    assert len(draw(entries, "100%", 7)) == len(entries)
    assert len(draw(entries, "1", 7)) == len(HELD)
    assert len({draw(entries, "1", seed)[1].key for seed in range(20)}) > 1


@pytest.mark.parametrize("sample", ["0%", "101%", "-3", "0", "1.5", "many", "", "%", "nan", "inf%", "1e400"])
def test_what_is_no_sample(audited, sample):
    with pytest.raises(InputError, match=r"the sample is .* expected a percentage such as 5%"):
        draw(audited.entries("flow"), sample, 0)


def run(audited: Audited, *words: object, exit_code: int = 0) -> str:
    given = ["cache", "audit", str(audited.results), *map(str, words), "--config", json.dumps(audited.config)]
    ended = CliRunner().invoke(app, given, catch_exceptions=False)
    assert ended.exit_code == exit_code, ended.output
    return ended.output


def test_the_verb_names_what_differs_and_ends_with_a_status_of_its_own(audited, monkeypatch):
    monkeypatch.setenv("WECLICK_CACHE", str(audited.root))
    told = run(audited, "--sample", "100%", "--device", "cpu")
    assert "0 within the bound, 0 differ" in told
    key = audited.change("flow", "flow", a_corner)
    told = run(audited, "--sample", "100%", "--kind", "flow", "--seed", 3, exit_code=4)
    assert f"differs: {audited.root}: flow entry {key} (clip " in told
    assert "drawn with --seed 3" in told
    assert "1 differ\n" in told


def test_what_the_verb_refuses(audited, monkeypatch, tmp_path):
    monkeypatch.setenv("WECLICK_CACHE", str(tmp_path / "empty"))
    told = run(audited, "--sample", "1", "--kind", "frames", exit_code=1)
    assert "1 of the drawn entries are in no root" in told
    with pytest.raises(InputError, match="--kind is 'models', expected one of frames, masks, flow"):
        run(audited, "--kind", "models")
    audited.config["flow"] = {**audited.config["flow"], "stride_px": 8}
    with pytest.raises(InputError, match=r"names another flow entry of clip .* give --config and --set"):
        run(audited)
    shutil.rmtree(audited.results)
    audited.results.mkdir()
    with pytest.raises(InputError, match="holds no indexes of frames, masks, flow, "):
        run(audited)


def test_fused_soft_labels_of_files_are_audited_along_the_flow_of_the_roots(audited, street, tmp_path):
    for clip in street.train.clips:
        (tmp_path / "masks" / clip.id).mkdir(parents=True)
        for frame in clip.frames:
            mask = Image.fromarray(read_label(street.train, frame))
            mask.save(tmp_path / "masks" / clip.id / f"{frame.name}.png")
    flow = {**street.config["flow"], "masks": ["forward_backward"]}
    section = {"folder": {"path": str(tmp_path / "masks")}, "source": "folder", "fuse": {"neighbours": 2}}
    audited.config = complete_config({**config_of(street), "flow": flow, "soft_labels": section})
    config, store = audited.config, audited.store
    for split, manifest in (("train", street.train), ("val", street.val)):
        keys = compute_flow(manifest, Wanted(config).pairs, options=flow, store=store)
        write_index(audited.results / f"flow/{split}/0.json", "flow", keys)
    source = label_source(config, street.train.classes.names, ())
    fuse = Fuse(config["soft_labels"]["fuse"], Wanted(config).keys("flow", street.train.clips), store)
    labels = compute_soft_labels(street.train, source, store=store, fuse=fuse, **stored_as(config))
    write_index(audited.results / "soft_labels/train/0.json", "soft_labels", labels)
    findings = audited.find("soft_labels")
    assert {each.drawn.key for each in findings} == set(labels.values())
    assert {each.verdict for each in findings} == {EQUAL}, [each.told for each in findings]
    mask.save(tmp_path / "masks" / clip.id / f"{clip.frames[0].name}.png")
    with pytest.raises(InputError, match="names another soft_labels entry of clip"):
        audited.find("soft_labels")


def test_a_run_of_several_teachers_needs_them_all(audited, street):
    soft_labels = {**audited.config["soft_labels"], "teachers": [0, 5]}
    audited.config = {**audited.config, "soft_labels": soft_labels}
    with pytest.raises(InputError, match="names another soft_labels entry"):
        audited.find("soft_labels")
    other = {**audited.config["teacher"], "channels": 24}
    path = audited.results / "teachers/5/model.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(plausible_teacher({**audited.config, "teacher": other}, street.train))
    both = [audited.results / "teacher/model.safetensors", path]
    stored = stored_as(audited.config)
    labels = compute_soft_labels(street.train, Teachers.of(both), store=audited.store, **stored)
    write_index(audited.results / "soft_labels/train/0.json", "soft_labels", labels)
    assert {each.verdict for each in audited.find("soft_labels")} == {EQUAL}


def test_flow_of_every_need_is_audited(street, tmp_path):
    config = {**config_of(street), "serves": ["weclick", "f2f"]}
    store, results, needs = Store([tmp_path / "store"]), tmp_path / "results", Wanted(config).needs
    write_manifest(street.train, results / "manifest/train/0.json")
    made = compute_needs(street.train, needs.functions, options=config["flow"], store=store)
    write_index(results / "flow/train/0.json", "flow", made)
    drawn = entries_of_run(results, config, ["flow"])
    assert {(each.need, each.key) for each in drawn} == {
        (need, key) for keys in made.values() for need, key in keys.items()
    }
    assert {found.verdict for found in audit(drawn, results, config, store)} == {EQUAL}
    with pytest.raises(InputError, match="names another flow entry of clip 'street_0000' than this config"):
        entries_of_run(results, config_of(street), ["flow"])
