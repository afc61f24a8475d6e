"""Soft labels of several frames at once, by folded networks and in half precision."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from weclick.common.config import complete_config
from weclick.common.errors import InputError
from weclick.common.schemas import schema_fault
from weclick.manifest import Manifest
from weclick.manifest.read import read_clip
from weclick.models import normalize
from weclick.proxy_labels.soft_labels import compute_soft_labels
from weclick.proxy_labels.teachers import Teachers
from weclick.proxy_labels.teachers_fast import FastTeachers
from weclick.runs.label_source import given_source, label_source, stored_as
from weclick.runs.plan.probe import plausible_teacher
from weclick.runs.wanted import Wanted
from weclick.store import SOFT_LABEL_CODECS, Store, decode_soft_labels
from weclick.store.model_file import load_model, model_bytes

FAST = ("float32_folded", "bfloat16", "float16")


@pytest.fixture(scope="module")
def files(street, tmp_path_factory) -> list[Path]:
    """Two teachers, of strides 4 and 8."""
    folder, found = tmp_path_factory.mktemp("teachers"), []
    for architecture in ("deeplabv3plus", "pspnet"):
        options = {**street.config["teacher"], "architecture": architecture}
        found.append(folder / f"{architecture}.safetensors")
        found[-1].write_bytes(plausible_teacher({**street.config, "teacher": options}, street.train))
    return found


@pytest.fixture
def threads():
    """Sets torch's number of threads."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def at_once(monkeypatch) -> list[int]:
    """How many frames the networks got at once, call by call."""
    counts, predict = [], FastTeachers._predict_some

    def counting(self, images):
        counts.append(len(images))
        return predict(self, images)

    monkeypatch.setattr(FastTeachers, "_predict_some", counting)
    return counts


def codes(
    manifest: Manifest, teachers: Teachers, folder: Path, codec: str = "root6", device: str = "cpu"
) -> dict[str, np.ndarray]:
    """What is stored of each clip, (T, C, h, w)."""
    store = Store([folder])
    keys = compute_soft_labels(manifest, teachers, chunk_px=16, store=store, codec=codec, device=device)
    entries = {clip: store.get("soft_labels", key) for clip, key in keys.items()}
    for entry in entries.values():
        assert not schema_fault(dict(entry.attributes), "soft_labels")
        assert entry.attributes.get("precision", "float32") == teachers.precision
    arrays = {clip: entry.array("probabilities") for clip, entry in entries.items()}
    return {clip: np.stack([array[t] for t in range(len(array))]) for clip, array in arrays.items()}


def probabilities(manifest: Manifest, teachers: Teachers, folder: Path, **given) -> torch.Tensor:
    """(T, K, h, w) of all clips."""
    told = {"codec": "float16", "classes": manifest.classes.names}
    stored = codes(manifest, teachers, folder, "float16", **given)
    return torch.cat([decode_soft_labels(torch.from_numpy(each), told) for each in stored.values()])


def assert_equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for clip, stored in one.items():
        np.testing.assert_array_equal(stored, other[clip], err_msg=clip)


def test_a_precision_has_a_key_of_its_own_and_the_default_keeps_that_of_all_versions(street, files):
    clip = street.train.clips[0]
    usual = Teachers.of(files[:1]).key_inputs(clip)
    assert usual.keys() == {"teacher_sha256"}
    assert Teachers.of(files[:1], "float32", 3).key_inputs(clip) == usual
    for precision in FAST:
        assert Teachers.of(files[:1], precision).key_inputs(clip) == {**usual, "precision": precision}
        assert Teachers.of(files, precision, 2).key_inputs(clip)["precision"] == precision


def test_the_configuration_decides_and_a_plan_asks_for_the_same_keys(street, files, tmp_path):
    changed = {**street.config["soft_labels"], "precision": "bfloat16", "batch_frames": 3}
    config = complete_config({**street.config, "soft_labels": changed})
    source = label_source(config, street.train.classes.names, files[:1])
    assert (source.precision, source.batch_frames) == ("bfloat16", 3)
    assert given_source(config, street.train.classes.names, files[:1], tmp_path / "digests") == source
    store = Store([tmp_path])
    made = compute_soft_labels(street.train, source, store=store, **stored_as(config))
    assert Wanted(config, source).keys("soft_labels", street.train.clips) == made
    usual = label_source(street.config, street.train.classes.names, files[:1])
    assert not {*made.values()} & {
        *Wanted(street.config, usual).keys("soft_labels", street.train.clips).values()
    }


@pytest.mark.parametrize("precision", ["float32_folded", "bfloat16"])
def test_neither_the_size_of_batches_nor_the_number_of_cores_changes_a_bit(
    street, files, tmp_path, threads, precision
):
    threads(1)
    single = codes(street.train, Teachers.of(files, precision, 1), tmp_path / "single")
    for cores, size in ((1, 3), (2, 2), (2, 5), (3, 8)):
        threads(cores)
        folder = tmp_path / f"{cores}_{size}"
        assert_equal(codes(street.train, Teachers.of(files, precision, size), folder), single)


def test_the_default_takes_single_frames_whatever_the_size_of_batches_is(street, files, tmp_path):
    one, five = (
        codes(street.train, Teachers.of(files, "float32", size), tmp_path / str(size)) for size in (1, 5)
    )
    assert_equal(one, five)
    model = load_model(files[0])[0]
    labels = codes(street.train, Teachers.of(files[:1]), tmp_path / "plain", "float16")
    clip = street.train.clips[0]
    for image, stored in zip(read_clip(street.train, clip), labels[clip.id], strict=True):
        rgb = torch.tensor(image).permute(2, 0, 1)[None]
        with torch.inference_mode():
            expected = model(normalize(rgb.float())).softmax(1)[0].numpy()
        np.testing.assert_array_equal(stored, SOFT_LABEL_CODECS["float16"].encode(expected))


@pytest.mark.parametrize(
    ("precision", "largest", "mean"), [("float32_folded", 0.002, 1e-5), ("bfloat16", 0.3, 0.01)]
)
def test_labels_are_those_of_the_default_but_for_rounding(street, files, tmp_path, precision, largest, mean):
    exact = probabilities(street.train, Teachers.of(files), tmp_path / "exact")
    fast = probabilities(street.train, Teachers.of(files, precision, 4), tmp_path / "fast")
    error = (fast - exact).abs()
    assert 0 < float(error.mean()) < mean
    assert float(error.max()) < largest


def test_float16_also_runs_on_a_cpu(street, files, tmp_path):
    one = replace(street.train, clips=(street.train.clips[0].restrict([0, 1]),))
    exact = probabilities(one, Teachers.of(files[:1]), tmp_path / "exact")
    fast = probabilities(one, Teachers.of(files[:1], "float16", 2), tmp_path / "fast")
    assert float((fast - exact).abs().mean()) < 0.002


def test_batches_run_over_the_ends_of_clips(street, files, tmp_path, threads, at_once):
    threads(1)
    frames = sum(len(clip.frames) for clip in street.train.clips)
    codes(street.train, Teachers.of(files[:1], "bfloat16", 3), tmp_path)
    assert at_once == [3] * (frames // 3) + [frames % 3] * bool(frames % 3)
    assert len(street.train.clips[0].frames) % 3, "or no batch runs over an end"


def resized(manifest: Manifest, number: int, size: tuple[int, int], frames: int, folder: Path) -> Manifest:
    """A manifest the last frames of whose clip of a number are scaled to (H, W); its other files stay."""
    clip = manifest.clips[number]
    scaled = list(clip.frames)
    folder.mkdir()
    for t, image in enumerate(read_clip(manifest, clip)):
        if t >= len(scaled) - frames:
            path = folder / f"{t}.png"
            Image.fromarray(image).resize(size[::-1]).save(path)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            scaled[t] = replace(scaled[t], image=str(path), digest=digest)
    height, width = size if frames == len(scaled) else clip.size
    other = replace(clip, frames=tuple(scaled), height_px=height, width_px=width)
    clips = (*manifest.clips[:number], other, *manifest.clips[number + 1 :])
    return replace(manifest, clips=clips)


def test_a_clip_of_another_size_in_the_middle_is_a_batch_of_its_own(
    street, files, tmp_path, threads, at_once
):
    threads(1)
    first, second = street.train.clips
    three = replace(street.train, clips=(first, replace(second, id="middle"), second))
    mixed = resized(three, 1, (37, 51), len(second.frames), tmp_path / "images")
    teachers = Teachers.of(files, "bfloat16", 64)
    together = codes(mixed, teachers, tmp_path / "together")
    assert at_once == [len(first.frames), len(second.frames), len(second.frames)]
    for clip in mixed.clips:
        alone = codes(replace(mixed, clips=(clip,)), teachers, tmp_path / clip.id)
        assert_equal(alone, {clip.id: together[clip.id]})
    assert together["middle"].shape[-2:] == (10, 13)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_frame_of_another_size_in_a_clip_is_named_and_leaves_the_clips_before_it(
    street, files, tmp_path, precision
):
    mixed = resized(street.train, 1, (37, 51), 1, tmp_path / "images")
    store, teachers, before = (
        Store([tmp_path / "store"]),
        Teachers.of(files[:1], precision),
        torch.get_num_threads(),
    )
    with pytest.raises(InputError, match=r"is 37x51 px \(HxW\), but its clip .* began with"):
        compute_soft_labels(mixed, teachers, chunk_px=16, store=store)
    first = replace(street.train, clips=street.train.clips[:1])
    keys = compute_soft_labels(
        first, Teachers.of(files[:1], precision), chunk_px=16, store=Store([tmp_path / "x"])
    )
    assert store.find("soft_labels", keys[street.train.clips[0].id])
    assert torch.get_num_threads() == before


def test_values_beyond_float16_are_refused_with_what_to_do(street, files, tmp_path):
    model, card = load_model(files[0])
    with torch.no_grad():
        model.classifier.weight.mul_(1e8)
    large = tmp_path / "large.safetensors"
    large.write_bytes(model_bytes(model, card.classes))
    one = replace(street.train, clips=(street.train.clips[0].restrict([0]),))
    with pytest.raises(InputError, match=r"not finite; set soft_labels\.precision: bfloat16"):
        codes(one, Teachers.of([large], "float16"), tmp_path / "store")
    assert np.isfinite(codes(one, Teachers.of([large], "bfloat16"), tmp_path / "other")["street_0000"]).all()


def test_a_batch_that_the_memory_does_not_hold_is_halved(
    street, files, tmp_path, threads, at_once, monkeypatch, capsys
):
    threads(1)
    expected = codes(street.train, Teachers.of(files[:1], "bfloat16", 8), tmp_path / "expected")
    predict = FastTeachers._predict_some

    def small(self, images):
        if len(images) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return predict(self, images)

    monkeypatch.setattr(FastTeachers, "_predict_some", small)
    at_once.clear()
    assert_equal(codes(street.train, Teachers.of(files[:1], "bfloat16", 8), tmp_path / "halved"), expected)
    assert max(at_once) == 2
    told = capsys.readouterr().err
    assert "going on with 2 (set soft_labels.batch_frames: 2 to begin so)" in told

    def none(self, images):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(FastTeachers, "_predict_some", none)
    with pytest.raises(InputError, match=r"does not hold a teacher's work on one frame of \d+x\d+ px"):
        codes(street.train, Teachers.of(files[:1], "bfloat16", 8), tmp_path / "none")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(
    ("precision", "mean"), [("float32_folded", 0.001), ("bfloat16", 0.01), ("float16", 0.003)]
)
def test_a_gpu_gives_nearly_the_same(street, files, tmp_path, at_once, precision, mean):
    exact = probabilities(street.train, Teachers.of(files), tmp_path / "exact")
    teachers = Teachers.of(files, precision, 4)
    fast = probabilities(street.train, teachers, tmp_path / "fast", device="cuda")
    assert max(at_once) == 4
    assert float((fast - exact).abs().mean()) < mean
