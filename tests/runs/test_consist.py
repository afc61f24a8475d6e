"""Labels of a batch that MaskConsist changes within a step, with made-up detections."""

from dataclasses import replace

import pytest
import torch

from helpers.batches import make_batch
from helpers.consist_run import MASKCONSIST
from weclick.common.errors import InputError
from weclick.models.detector import Found
from weclick.runs.consist import Consist

SIZE = (32, 40)


def box(y0, x0, y1, x1):
    mask = torch.zeros(SIZE, dtype=torch.bool)
    mask[y0:y1, x0:x1] = True
    return mask


def labels(*masks, class_id=1):
    stacked = torch.stack(masks) if masks else torch.zeros((0, *SIZE), dtype=torch.bool)
    return stacked, torch.full((len(masks),), class_id)


def found(*masks, class_id=1, score=0.9):
    stacked, classes = labels(*masks, class_id=class_id)
    return Found(stacked, classes, torch.full((len(masks),), score), torch.zeros(len(masks), 4))


def pair(*given, alone=()):
    """A batch of one pair, of which everything moves by 8 px to the right; then targets without a partner."""
    batch = make_batch(targets=1 + len(alone), neighbours=1)
    flow = torch.zeros(1, 2, 8, 10)
    flow[:, 0] = 2.0
    own, other = given
    return replace(batch, flow=flow, flow_back=-flow, instances=(own, *alone, other))


def completes(steps=10, **changed):
    made = Consist({**MASKCONSIST, **changed}, steps)
    return made.start(classes=(), stride_px=4, occlusion=None, device="cpu")


A, A_LATER, B = box(5, 4, 17, 16), box(5, 12, 17, 24), box(20, 20, 30, 30)


def test_a_label_of_one_frame_becomes_one_of_the_other():
    complete = completes()
    batch = complete(pair(labels(A), labels(B)), 3)
    mine, other = batch.relabel([found(A), found(A_LATER)])
    assert torch.equal(mine[0], A[None]), "a label that stays keeps its own mask, finer than the grid"
    assert torch.equal(other[0][0], B)
    assert len(other[0]) == 2
    assert (other[0][1] ^ A_LATER).sum() < 0.3 * A_LATER.sum()
    assert other[1].tolist() == [1, 1]
    assert complete.figures() == {"labels_given": 1.0, "labels_used": 1.5}


def test_at_image_size_masks_are_exact():
    complete = Consist({**MASKCONSIST, "grid_px": 1}, 10).start(
        classes=(), stride_px=1, occlusion=None, device="cpu"
    )
    batch = pair(labels(A), labels())
    flow = torch.zeros(1, 2, *SIZE)
    flow[:, 0] = 8
    fine = replace(batch, flow=flow, flow_back=-flow, inside=torch.ones(2, 1, *SIZE, dtype=torch.bool))
    _, (masks, _) = complete(fine, 0).relabel([found(A), found(A_LATER)])
    assert torch.equal(masks, A_LATER[None])


def test_nothing_comes_in_the_padding():
    batch = pair(labels(A), labels())
    batch.inside[1, :, :, 4:] = False
    _, (masks, _) = completes()(batch, 0).relabel([found(A), found(A_LATER)])
    assert masks.any()
    assert not masks[:, :, 17:].any()


def test_before_the_warm_up_ends_labels_stay():
    complete = completes(warmup=0.5)
    batch = pair(labels(A), labels(B))
    assert complete(batch, 4).relabel is None
    assert complete.figures() == {"labels_given": 1.0, "labels_used": 1.0}
    assert complete(batch, 5).relabel is not None


def test_micro_batches_of_a_step_count_together():
    complete = completes()
    first, second = complete(pair(labels(A), labels()), 7), complete(pair(labels(A, B), labels(B)), 7)
    first.relabel([found(), found()])
    second.relabel([found(), found()])
    assert complete.figures() == {"labels_given": 1.0, "labels_used": 1.0}
    complete(pair(labels(), labels()), 8).relabel([found(), found()])
    assert complete.figures() == {"labels_given": 0.0, "labels_used": 0.0}


def test_unsure_detections_and_frames_without_a_partner():
    batch = pair(labels(A), labels(), alone=[labels(B)])
    sure, unsure = completes(min_score=0.5), completes(min_score=0.95)
    seen = [found(A), found(B), found(A_LATER)]
    assert [len(each[1]) for each in sure(batch, 0).relabel(seen)] == [1, 1, 1]
    assert [len(each[1]) for each in unsure(batch, 0).relabel(seen)] == [1, 1, 0]


def test_steps_can_be_left_out():
    """Two detections of parts of an object; only their union is like the label."""
    halves, later = (box(4, 4, 16, 16), box(4, 8, 16, 20)), (box(4, 12, 16, 24), box(4, 16, 16, 28))
    label = box(4, 4, 16, 20)
    batch, seen = pair(labels(label), labels()), [found(*halves), found(*later)]

    def used(**changed):
        return [len(each[1]) for each in completes(**changed)(batch, 0).relabel(seen)]

    assert used(intra=False, inter=False, iom=False) == [1, 0]
    assert used(inter=False, iom=False) == [2, 0]
    assert used(inter=False) == [1, 0]
    assert used(iom=False) == [1, 2]
    assert used() == [1, 1]


def test_no_weight_is_no_change():
    config = {"maskconsist": MASKCONSIST, "detector": {"steps": 10}}
    assert Consist.of(config).reads == {"flow"}
    assert Consist.of({**config, "maskconsist": {**MASKCONSIST, "weight": 0.0}}) is None


def test_a_pair_without_flow_is_told():
    with pytest.raises(InputError, match="lacks the flow of its pairs; give the detector the index"):
        completes()(replace(pair(labels(A), labels()), flow_back=None), 0)


def test_its_key_holds_what_counts():
    told = Consist(MASKCONSIST, 10).key_inputs(flow=True)
    assert told["maskconsist"].keys() == MASKCONSIST.keys() - {"weight"}
    assert len(told["code"]) == 64
