"""Several teachers: the mean of their probabilities, under a key of their contents."""

from pathlib import Path

import numpy as np
import pytest
import torch

from weclick.common.errors import InputError, MissingFileError
from weclick.common.schemas import schema_fault
from weclick.manifest import Classes
from weclick.manifest.read import read_clip
from weclick.models import build_model, normalize
from weclick.proxy_labels import teachers_mean
from weclick.proxy_labels.soft_labels import compute_soft_labels
from weclick.proxy_labels.teachers import Teachers
from weclick.runs.plan.probe import plausible_teacher
from weclick.store import Store, decode_soft_labels
from weclick.store.ledger.reach import reach
from weclick.store.model_file import load_model, model_bytes
from weclick.store.summaries import read_ledger


def write_network(path: Path, street, channels: int, architecture: str = "deeplabv3plus") -> Path:
    """A network of its own for each number of channels, whose predictions vary over the image."""
    options = {**street.config["teacher"], "channels": channels, "architecture": architecture}
    path.write_bytes(plausible_teacher({**street.config, "teacher": options}, street.train))
    return path


@pytest.fixture(scope="module")
def files(street, tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("teachers")
    return [write_network(folder / f"{n}.safetensors", street, n) for n in (16, 24, 32)]


def labels_of(street, paths: list[Path], store: Store, codec: str = "float16"):
    """Key and decoded soft labels (T, K, h, w) of the first clip."""
    keys = compute_soft_labels(street.train, Teachers.of(paths), chunk_px=16, store=store, codec=codec)
    entry = store.get("soft_labels", keys[street.train.clips[0].id])
    array = entry.array("probabilities")
    steps = [
        decode_soft_labels(torch.from_numpy(array[t]), entry.attributes).numpy() for t in range(len(array))
    ]
    return entry, np.stack(steps)


def test_the_labels_are_the_mean_of_the_teachers(street, files, tmp_path):
    store = Store([tmp_path])
    single = [labels_of(street, [path], store)[1] for path in files]
    entry, mean = labels_of(street, files, store)
    np.testing.assert_allclose(mean, np.mean(single, axis=0), atol=1e-3)
    assert np.abs(mean - single[0]).max() > 0.01
    assert entry.attributes["stride_px"] == 4
    assert not schema_fault(dict(entry.attributes), "soft_labels")


def test_neither_order_nor_copies_count_and_one_teacher_is_what_it_was(street, files, tmp_path):
    first, *others = files
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(first.read_bytes())
    clip = street.train.clips[0]
    assert Teachers.of([*others, copy, first]).key_inputs(clip) == Teachers.of(files).key_inputs(clip)
    (digest,) = Teachers.of([first, copy]).files
    assert Teachers.of([copy]).key_inputs(clip) == {"teacher_sha256": digest}
    assert Teachers.of(files).key_inputs(clip) == {"teachers_sha256": sorted(Teachers.of(files).files)}


def test_coarser_labels_are_brought_to_the_finest_grid(street, files, tmp_path):
    coarse = write_network(tmp_path / "coarse.safetensors", street, 16, "pspnet")
    other, clip = load_model(coarse)[0], street.train.clips[0]
    assert other.stride > 4
    entry, mean = labels_of(street, [files[0], coarse], Store([tmp_path / "store"]))
    _, fine = labels_of(street, [files[0]], Store([tmp_path / "store"]))
    assert entry.attributes["stride_px"] == 4
    assert mean.shape == fine.shape
    image = next(read_clip(street.train, clip))
    with torch.inference_mode():
        rgb = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float()
        probabilities = other(normalize(rgb)).softmax(1)
    scale = other.stride // 4
    enlarged = torch.nn.functional.interpolate(probabilities, scale_factor=scale, mode="bilinear")
    np.testing.assert_allclose(2 * mean[0] - fine[0], enlarged[0].numpy(), atol=3e-3)


def test_all_are_loaded_once_for_all_clips(street, files, tmp_path, monkeypatch):
    loaded = []

    def counting(path, *given, **named):
        loaded.append(path)
        return load_model(path, *given, **named)

    monkeypatch.setattr(teachers_mean, "load_model", counting)
    compute_soft_labels(street.train, Teachers.of(files), chunk_px=16, store=Store([tmp_path]))
    assert sorted(loaded) == files


def test_one_of_other_classes_and_one_that_is_not_there_are_told(street, files, tmp_path):
    model = build_model("deeplabv3plus", "mobilenetv2_compact", 2, channels=16)
    other = tmp_path / "other.safetensors"
    other.write_bytes(model_bytes(model, Classes(("cat", "dog"), ((0, 0, 0), (1, 1, 1)))))
    with pytest.raises(InputError, match=r"other\.safetensors: was trained for the classes cat, dog"):
        labels_of(street, [*files, other], Store([tmp_path / "store"]))
    with pytest.raises(MissingFileError, match=r"gone\.safetensors: there is no such file"):
        Teachers.of([*files, tmp_path / "gone.safetensors"])


def test_what_several_teachers_made_reaches_them_and_names_them(street, files, tmp_path):
    store = Store([tmp_path])
    networks = set()
    for digest, path in Teachers.of(files).files.items():
        with store.create("models", {"weights": digest}) as entry:
            entry.write_file("model.safetensors", path.read_bytes())
            entry.attributes["weights_sha256"] = digest
        networks |= {("models", key) for key in store.local.keys("models")}
    entry, _ = labels_of(street, files, store)
    ledger = read_ledger([store.local])
    assert reach(ledger.entries, {("soft_labels", entry.key)}) == {("soft_labels", entry.key)} | networks
    (told,) = {each.made_with for each in ledger.entries if each.kind == "soft_labels"}
    assert told.startswith("3 teachers ")
    assert all(digest[:12] in told for digest in Teachers.of(files).files)
