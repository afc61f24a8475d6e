"""The soft_labels stage: what its entries hold, what their keys depend on, and that nothing is done twice."""

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from jsonschema import validate

from weclick.common.errors import InputError
from weclick.common.schemas import load_schema
from weclick.manifest import write_manifest
from weclick.manifest.read import read_clip
from weclick.models import normalize
from weclick.proxy_labels import clip_images, teachers_mean
from weclick.proxy_labels.soft_labels import compute_soft_labels, soft_labels_inputs
from weclick.proxy_labels.teachers import Teachers
from weclick.runs.plan.probe import plausible_teacher
from weclick.store import Store, decode_soft_labels, entry_key, file_digest, list_entries, verify_entry
from weclick.store.model_file import load_model


@pytest.fixture(scope="module")
def teacher(street, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("teacher") / "model.safetensors"
    path.write_bytes(plausible_teacher(street.config, street.train))
    return path


@pytest.fixture(scope="module")
def made(street, teacher, tmp_path_factory) -> tuple[Store, dict[str, str]]:
    """The street's soft labels by the default codec, in a store of their own."""
    store = Store([tmp_path_factory.mktemp("store")])
    return store, compute_soft_labels(street.train, teacher, chunk_px=16, store=store)


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """Ids of the clips whose frames were read, in order."""
    clips = []

    def counting(manifest, clip):
        clips.append(clip.id)
        return read_clip(manifest, clip)

    monkeypatch.setattr(clip_images, "read_clip", counting)
    return clips


def soft_labels_key(clip, teacher_sha256: str, chunk_px: int, codec: str = "root6") -> str:
    inputs = soft_labels_inputs(clip, {"teacher_sha256": teacher_sha256}, chunk_px, codec)
    return entry_key("soft_labels", inputs)


def leftovers(root: Path) -> list[Path]:
    """Temporary folders, and signed leases."""
    leases = [path for path in (root / "leases").rglob("*") if path.is_file() and path.stat().st_size]
    return [*root.rglob("*.tmp"), *leases]


class TestEntries:
    @pytest.mark.parametrize(
        ("codec", "largest_error"), [("float16", 0.003), ("log8", 0.03), ("root8", 0.005), ("root6", 0.02)]
    )
    def test_they_hold_the_teacher_s_probabilities(self, street, teacher, tmp_path, codec, largest_error):
        store, model = Store([tmp_path]), load_model(teacher)[0]
        keys = compute_soft_labels(street.train, teacher, chunk_px=16, store=store, codec=codec)
        assert keys.keys() == {clip.id for clip in street.train.clips}
        for clip in street.train.clips:
            entry = store.get("soft_labels", keys[clip.id])
            array = entry.array("probabilities")
            assert len(array) == len(clip.frames)
            for t, image in enumerate(read_clip(street.train, clip)):
                rgb = torch.from_numpy(image.copy()).permute(2, 0, 1)[None]
                with torch.inference_mode():
                    expected = model(normalize(rgb.float())).softmax(1)[0]
                stored = decode_soft_labels(torch.from_numpy(array[t]), entry.attributes)
                assert stored.shape == expected.shape
                assert float((stored - expected).abs().max()) < largest_error
                assert stored.sum(0).numpy() == pytest.approx(1, abs=1e-5)

    def test_what_they_say_of_themselves_fits_their_schema(self, street, teacher, made):
        store, keys = made
        clip = street.train.clips[1]
        entry = store.get("soft_labels", keys[clip.id])
        validate(dict(entry.attributes), load_schema("soft_labels"))
        assert entry.attributes["frames"] == [frame.name for frame in clip.frames]
        assert entry.attributes["classes"] == list(street.train.classes.names)
        assert entry.attributes["teacher_sha256"] == file_digest(teacher)
        assert (entry.attributes["stride_px"], entry.attributes["codec"]) == (4, "root6")
        assert verify_entry(entry.path) == []

    @pytest.mark.parametrize(
        ("codec", "dtype", "shuffle"),
        [("root6", np.uint8, "noshuffle"), ("float16", np.float16, "bitshuffle")],
    )
    def test_bytes_are_compressed_without_shuffling_their_bits(
        self, street, teacher, tmp_path, codec, dtype, shuffle
    ):
        store = Store([tmp_path])
        keys = compute_soft_labels(street.train, teacher, chunk_px=16, store=store, codec=codec)
        for key in keys.values():
            entry = store.get("soft_labels", key)
            assert entry.array("probabilities").dtype == dtype
            raw = json.loads((entry.path / "probabilities" / "zarr.json").read_text(encoding="utf-8"))
            codecs = raw["codecs"][0]["configuration"]["codecs"]
            (blosc,) = (part["configuration"] for part in codecs if part["name"] == "blosc")
            assert (blosc["cname"], blosc["shuffle"]) == ("zstd", shuffle)


class TestKeys:
    def test_where_nothing_is_missing_no_network_is_loaded_and_no_frame_read(
        self, street, teacher, made, monkeypatch
    ):
        def refuse(*_, **__):
            raise AssertionError("nothing was missing")

        monkeypatch.setattr(teachers_mean, "load_model", refuse)
        monkeypatch.setattr(clip_images, "read_clip", refuse)
        store, keys = made
        assert compute_soft_labels(street.train, teacher, chunk_px=16, store=store) == keys

    def test_one_new_clip_is_one_clip_of_work(self, street, teacher, tmp_path, decoded):
        store, (first, second) = Store([tmp_path]), street.train.clips
        compute_soft_labels(replace(street.train, clips=(first,)), teacher, chunk_px=16, store=store)
        compute_soft_labels(street.train, teacher, chunk_px=16, store=store)
        assert decoded == [first.id, second.id]

    def test_the_network_is_loaded_once_for_all_clips(self, street, teacher, tmp_path, monkeypatch):
        loaded = []

        def counting(path, *given, **named):
            loaded.append(path)
            return load_model(path, *given, **named)

        monkeypatch.setattr(teachers_mean, "load_model", counting)
        compute_soft_labels(street.train, teacher, chunk_px=16, store=Store([tmp_path]))
        assert loaded == [teacher]

    def test_a_colleague_s_entries_serve_whatever_the_places_are_called(
        self, street, teacher, made, tmp_path, decoded
    ):
        (tmp_path / "copied").write_bytes(teacher.read_bytes())
        store, keys = made
        moved = replace(street.train, root=street.train.root + "/.")
        mine = Store([store.roots[0], tmp_path / "mine"])
        assert compute_soft_labels(moved, tmp_path / "copied", chunk_px=16, store=mine) == keys
        assert decoded == []
        assert not list(list_entries(tmp_path / "mine", "soft_labels"))

    def test_what_changes_the_data_changes_the_key(self, street, teacher, made):
        clip, digest = street.train.clips[0], file_digest(teacher)
        other = replace(clip, frames=(replace(clip.frames[0], digest="0" * 64), *clip.frames[1:]))
        keys = {
            soft_labels_key(clip, digest, 16),
            soft_labels_key(other, digest, 16),
            soft_labels_key(clip, "0" * 64, 16),
            soft_labels_key(clip, digest, 32),
            soft_labels_key(clip, digest, 16, "root8"),
        }
        assert len(keys) == 5
        assert made[1][clip.id] in keys


class TestErrors:
    def test_a_teacher_of_other_classes_is_refused(self, street, teacher, tmp_path):
        classes = replace(street.train.classes, names=tuple("abcdefghi"))
        with pytest.raises(ValueError, match="was trained for the classes road"):
            compute_soft_labels(
                replace(street.train, classes=classes), teacher, chunk_px=16, store=Store([tmp_path])
            )
        assert not list(list_entries(tmp_path, "soft_labels"))
        assert leftovers(tmp_path) == []

    @pytest.mark.parametrize("gone", [0, 2])
    @pytest.mark.parametrize("precision", ["float32", "bfloat16"])
    def test_a_frame_that_is_missing_leaves_the_clips_before_it(
        self, street, teacher, tmp_path, precision, gone
    ):
        teachers = Teachers.of([teacher], precision)
        store, (first, second) = Store([tmp_path]), street.train.clips
        frames = [*second.frames]
        frames[gone] = replace(frames[gone], image="gone.png")
        broken = replace(street.train, clips=(first, replace(second, frames=tuple(frames))))
        with pytest.raises(ValueError, match=r"gone\.png"):
            compute_soft_labels(broken, teachers, chunk_px=16, store=store)
        kept = soft_labels_inputs(first, teachers.key_inputs(first), 16)
        assert [path.name for path in list_entries(tmp_path, "soft_labels")] == [
            entry_key("soft_labels", kept)
        ]
        assert leftovers(tmp_path) == []


KILLED = """
import sys
import time
from pathlib import Path
from weclick.manifest import read_manifest
from weclick.manifest.read import read_clip
from weclick.proxy_labels import clip_images, soft_labels
from weclick.proxy_labels.teachers import Teachers
from weclick.store import Store, list_entries

manifest = read_manifest(Path(sys.argv[1]))

def stopping(manifest_, clip):
    for t, image in enumerate(read_clip(manifest_, clip)):
        if clip.id == manifest.clips[1].id and t == 2:
            while not [*list_entries(Path(sys.argv[3]), "soft_labels")]:
                time.sleep(0.01)  # frames are decoded ahead of their labels
            print("half way", flush=True)
            sys.stdin.read()
        yield image

clip_images.read_clip = stopping
teachers = Teachers.of([Path(sys.argv[2])], sys.argv[4], batch_frames=2)
soft_labels.compute_soft_labels(manifest, teachers, chunk_px=16, store=Store([sys.argv[3]]))
"""


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_run_that_is_killed_half_way_leaves_no_half_entry_and_the_next_one_goes_on(
    street, teacher, tmp_path, decoded, precision
):
    write_manifest(street.train, tmp_path / "manifest.json")
    first, second = street.train.clips
    teachers, whole, root = Teachers.of([teacher], precision), Store([tmp_path / "whole"]), tmp_path / "store"
    expected = compute_soft_labels(street.train, teachers, chunk_px=16, store=whole)
    words = [sys.executable, "-c", KILLED, tmp_path / "manifest.json", teacher, root, precision]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, **pipes) as run:
        assert run.stdout.readline() == "half way\n"
        run.send_signal(signal.SIGKILL)
    assert [path.name for path in list_entries(root, "soft_labels")] == [expected[first.id]]
    assert Store([root]).find("soft_labels", expected[second.id]) is None
    assert leftovers(root), "of the killed run, or this test shows nothing"
    decoded.clear()
    assert compute_soft_labels(street.train, teachers, chunk_px=16, store=Store([root])) == expected
    assert decoded == [second.id]
    assert [verify_entry(path) for path in list_entries(root, "soft_labels")] == [[], []]
    assert leftovers(root) == []
    for clip, key in expected.items():
        one, other = (store.get("soft_labels", key).meta["files"] for store in (whole, Store([root])))
        assert one == other, f"bytes of {clip} differ"


def test_a_frame_exchanged_after_the_manifest_leaves_no_entry(street, teacher, tmp_path):
    shutil.copytree(street.train.root, tmp_path / "data")
    moved = replace(street.train, root=str(tmp_path / "data"))
    path = moved.path(moved.clips[0].frames[-1].image)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(InputError, match=rf"{path.name}: changed since its digest was taken"):
        compute_soft_labels(moved, teacher, chunk_px=16, store=Store([tmp_path / "store"]))
    assert not [*list_entries(tmp_path / "store", "soft_labels")]


def test_a_teacher_that_changes_while_it_is_loaded_leaves_no_entry(street, teacher, tmp_path, monkeypatch):
    mine = tmp_path / "model.safetensors"
    mine.write_bytes(teacher.read_bytes())

    def exchange(*given, **named):
        loaded = load_model(*given, **named)
        mine.write_bytes(teacher.read_bytes() + b"\0")
        return loaded

    monkeypatch.setattr(teachers_mean, "load_model", exchange)
    with pytest.raises(InputError, match=r"model\.safetensors: changed since .* run this again"):
        compute_soft_labels(street.train, mine, chunk_px=16, store=Store([tmp_path / "store"]))
    assert not [*list_entries(tmp_path / "store", "soft_labels")]
