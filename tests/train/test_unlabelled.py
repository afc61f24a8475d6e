"""Where no soft label is known, nothing is taught: 255 in a class map is as if the cell were not there."""

from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.batches import make_batch
from weclick.common.config import complete_config
from weclick.geometry import Crop, crop_sampling_positions, sample_crop, sample_together
from weclick.geometry.resample import taps_at
from weclick.losses import knowledge_distillation
from weclick.manifest.read import read_label
from weclick.manifest.window import Window
from weclick.proxy_labels.soft_labels import compute_soft_labels
from weclick.runs.label_source import label_source
from weclick.store import SOFT_LABEL_CODECS, Store, decode_soft_labels
from weclick.train.counts import warp_neighbours
from weclick.train.data.stream import Caches, Stream
from weclick.train.objective import Objective

CPU = torch.device("cpu")
OFF = {"weight": 0.0}


def label(street, folder, unknown, codec: str):
    """Keys of soft labels from the street's masks, with 255 where `unknown` (64, 96) says so."""
    for clip in street.train.clips:
        (folder / "masks" / clip.id).mkdir(parents=True)
        for frame in clip.frames:
            ids = np.where(unknown, 255, read_label(street.train, frame)).astype(np.uint8)
            Image.fromarray(ids).save(folder / "masks" / clip.id / f"{frame.name}.png")
    section = {"source": "folder", "folder": {"path": str(folder / "masks")}}
    source = label_source(complete_config({"soft_labels": section}), street.train.classes.names, ())
    store = Store([*street.store.roots, folder / "store"])
    return store, compute_soft_labels(street.train, source, chunk_px=16, store=store, codec=codec)


def batch_of(street, folder, unknown, codec: str = "root6", **options):
    store, keys = label(street, folder, unknown, codec)
    stream = Stream(
        street.train,
        street.clicks,
        Caches(store, street.frames, street.flow, keys),
        window=Window(**street.config["window"]),
        options={**street.config["student"], "crop": [64, 96], "scale": [1.0, 1.0], "flip": False, **options},
        stride_px=4,
        occlusion="none",
        seed=0,
    )
    return next(stream.batches(0, 1, CPU))


@pytest.fixture
def right() -> np.ndarray:
    """The right half of the image."""
    unknown = np.zeros((64, 96), bool)
    unknown[:, 48:] = True
    return unknown


def objective(direction: str = "teacher_student", **sections):
    kd = {"weight": 1.0, "direction": direction, "temperature": 1.0}
    return Objective({"kd": kd, **sections}, steps=1, class_weights=None)


def gradient(made, batch) -> tuple[dict, torch.Tensor]:
    logits = torch.randn(len(batch.images), 9, 16, 24, generator=torch.Generator().manual_seed(0))
    terms = made(logits.requires_grad_(), batch, 0)
    sum(terms.values()).backward()
    return {name: term.item() for name, term in terms.items()}, logits.grad


@pytest.mark.parametrize("direction", ["teacher_student", "student_teacher"])
@pytest.mark.parametrize("codec", SOFT_LABEL_CODECS)
def test_cells_of_255_teach_nothing_and_do_not_count(street, tmp_path, right, codec, direction):
    batch = batch_of(street, tmp_path, right, codec)
    assert not batch.teacher_known[..., 12:].any()
    assert batch.teacher_known[..., :12].all()
    assert batch.teacher[..., :12].sum(1).numpy() == pytest.approx(1, abs=1e-5)
    terms, grad = gradient(objective(direction), batch)
    assert not grad[..., 12:].any()
    assert grad[..., :12].abs().amin() > 0
    logits = torch.randn(len(batch.images), 9, 16, 24, generator=torch.Generator().manual_seed(0))
    half = knowledge_distillation(logits[..., :12], batch.teacher[..., :12], direction=direction)
    per_target = len(batch.images) / batch.targets
    assert terms["knowledge_distillation"] == pytest.approx(float(half) * per_target, rel=1e-5)
    (shares,) = objective(direction).shares([batch])
    assert float(shares["knowledge_distillation"]) == 1


def test_a_whole_map_of_255_leaves_the_student_alone(street, tmp_path):
    terms, grad = gradient(objective(), batch_of(street, tmp_path, np.ones((64, 96), bool)))
    assert terms == {"knowledge_distillation": 0}
    assert not grad.any()


def test_memory_flow_is_off_where_the_target_has_no_label(street, tmp_path, right):
    some, all_ = (
        batch_of(street, tmp_path / name, unknown) for name, unknown in (("a", right), ("b", right & False))
    )
    assert all_.teacher_known.all()
    on, whole = warp_neighbours(some)[1], warp_neighbours(all_)[1]
    assert not on[..., 12:].any()
    assert torch.equal(on[..., :12], whole[..., :12])
    mfd = {**street.config["mfd"], "weight": 1.0}
    _, grad = gradient(objective(mfd=mfd), some)
    assert not grad[: some.targets, ..., 12:].any()


def test_a_crop_between_cells_takes_what_is_mostly_known(street, tmp_path, right):
    batch = batch_of(street, tmp_path, right, crop=[64, 96], scale=[1.7, 1.7], flip=True)
    known = batch.teacher_known & batch.inside
    assert 0 < known.float().mean() < 1
    sums = batch.teacher.sum(1, keepdim=True)
    torch.testing.assert_close(sums[known], torch.ones_like(sums[known]))
    assert not sums[~batch.teacher_known].any()


@pytest.mark.parametrize("codec", SOFT_LABEL_CODECS)
def test_the_gathers_of_a_gpu_find_the_same_gaps(codec):
    rng = np.random.default_rng(0)
    known = rng.dirichlet(np.ones(6), (9, 11)).transpose(2, 0, 1) * (rng.random((9, 11)) < 0.6)
    stored = torch.from_numpy(SOFT_LABEL_CODECS[codec].encode(known))
    attributes = {"codec": codec, "classes": list("abcdef"), "partial": True}
    decode = partial(decode_soft_labels, attributes=attributes)
    crop = Crop(3.0, 5.0, 1.3, True, (24, 32))
    given = {"image_size": (36, 44), "stride": 4, "source_stride": 4}
    ours, _ = sample_crop([stored], [crop], decode=decode, **given)
    positions = crop_sampling_positions(crop, stride=4)
    taps = [taps_at(at, cells, 4) for at, cells in zip(positions, (9, 11), strict=True)]
    torch.testing.assert_close(sample_together([stored], [taps], decode=decode), ours)
    assert 0 < (ours.sum(1) < 0.5).float().mean() < 1


def test_labels_of_a_teacher_carry_no_mask():
    batch = make_batch()
    assert batch.teacher_known is None
    assert batch.taught is batch.inside
