"""A term is one row: what follows from the table, shown with the row of docs/extending.md."""

from dataclasses import replace

import pytest
import torch

from helpers.batches import K, logits, make_batch
from helpers.example_term import example_term
from weclick.common.errors import InputError
from weclick.runs.report.sections import titles
from weclick.store import entry_key
from weclick.train import terms
from weclick.train.counts import warp_neighbours
from weclick.train.data.stream import Caches
from weclick.train.log import read_metrics
from weclick.train.objective import Objective
from weclick.train.recipe import Recipe
from weclick.train.stage import train_recipe
from weclick.train.terms import Mean


@pytest.fixture
def entropy(monkeypatch):
    """The table with one more row."""
    term = example_term()
    monkeypatch.setattr(terms, "TERMS", (*terms.TERMS, term))
    return term


def recipe(street, store, **sections):
    """A teacher that reads more sections than those of the four terms."""
    names = ("seed", "teacher", "partial_cross_entropy", "gated_crf")
    config = {**{name: street.config[name] for name in names}, **sections}
    caches = Caches(store, street.frames, {}, {})
    return Recipe("teacher", config, street.train, street.clicks, caches, street.val)


def key(street, **sections):
    return entry_key("models", recipe(street, street.store, **sections).inputs())


def test_a_new_terms_weight_is_in_the_key(street, entropy):
    keys = {weight: key(street, entropy={"weight": weight}) for weight in (0.1, 0.5)}
    assert keys[0.1] != keys[0.5]


def test_a_new_term_that_is_off_changes_no_key(street, entropy, monkeypatch):
    with_row = key(street, entropy={"weight": 0.0})
    monkeypatch.undo()
    assert with_row == key(street)


def test_the_four_terms_of_eq_5_are_in_the_key_also_where_they_are_off(street):
    off = {"gated_crf": {**street.config["gated_crf"], "weight": 0.0}}
    assert recipe(street, street.store, **off).inputs()["losses"].keys() == {
        "partial_cross_entropy",
        "gated_crf",
    }


def test_a_new_term_is_summed_logged_and_shown(street, entropy, tmp_path):
    from weclick.store import Store

    made = recipe(street, Store([*street.store.roots, tmp_path / "store"]), entropy={"weight": 0.5})
    train_recipe(made, tmp_path / "teacher", device="cpu")
    lines = [line for line in read_metrics(tmp_path / "teacher" / "metrics.jsonl") if "terms" in line]
    assert all(0 < line["terms"]["entropy"] <= 0.5 * 2.2 for line in lines)  # ln 9 is 2.197
    assert titles()["entropy"] == "Entropy of the predictions"


def test_a_teacher_cannot_serve_a_term_that_needs_soft_labels(street, entropy, monkeypatch, tmp_path):
    monkeypatch.setattr(
        terms, "TERMS", (*terms.TERMS[:-1], replace(entropy, needs=frozenset({"soft_labels"})))
    )
    made = recipe(street, street.store, entropy={"weight": 0.5})
    assert made.inputs()["window"] is None
    with pytest.raises(
        InputError, match=r"entropy\.weight is not 0, but .*a teacher has not; let the student"
    ):
        train_recipe(made, tmp_path, device="cpu")


def test_a_training_without_a_loss_is_refused(street, tmp_path):
    off = {name: {**street.config[name], "weight": 0.0} for name in ("partial_cross_entropy", "gated_crf")}
    with pytest.raises(InputError, match="the teacher has no loss, since all weights are 0"):
        train_recipe(recipe(street, street.store, **off), tmp_path, device="cpu")


def test_a_step_before_any_warmup_is_over_is_told(street, tmp_path):
    late = {
        "partial_cross_entropy": {**street.config["partial_cross_entropy"], "weight": 0.0},
        "gated_crf": {**street.config["gated_crf"], "weight": 0.1, "warmup": 0.9},
    }
    with pytest.raises(InputError, match="no loss has begun at step 0"):
        train_recipe(recipe(street, street.store, **late), tmp_path, device="cpu")


def sections(**changed):
    off = {name: {"weight": 0.0} for name in ("partial_cross_entropy", "gated_crf", "kd", "mfd")}
    return {**off, **changed}


def test_its_shares_of_unequal_parts_sum_to_the_whole(entropy):
    """The second part has a padded half, so that the mean of the parts' means is not the whole's."""
    first, second = (make_batch(targets=2, neighbours=0) for _ in range(2))
    second.inside[:, :, :, 5:] = False
    whole = replace(
        first,
        images=torch.cat([first.images, second.images]),
        inside=torch.cat([first.inside, second.inside]),
    )
    objective = Objective(sections(entropy={"weight": 2.0}), steps=1, class_weights=None)
    values = [torch.randn(2, K, 8, 10, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)]
    parts = [
        objective(value, part, 0)["entropy"] for value, part in zip(values, (first, second), strict=True)
    ]
    expected = objective(torch.cat(values), whole, 0)["entropy"]
    weighted = zip(objective.shares([first, second]), parts, strict=True)
    torch.testing.assert_close(sum(share["entropy"] * part for share, part in weighted), expected)
    assert abs(sum(parts) / 2 - expected) > 1e-3


def test_its_shares_over_two_processes_sum_to_the_whole(entropy):
    first, second = (make_batch(targets=2, neighbours=0) for _ in range(2))
    second.inside[:, :, :, 5:] = False
    objective = Objective(sections(entropy={"weight": 1.0}), steps=1, class_weights=None)
    told: list[torch.Tensor] = []

    def remember(counts):
        told.append(counts)
        return counts

    for part in (first, second):
        objective.shares([part], remember)
    summed = sum(told)
    shares = [objective.shares([part], lambda _: summed)[0]["entropy"] for part in (first, second)]
    torch.testing.assert_close(torch.stack(shares), torch.tensor([2 / 3, 1 / 3]))


def test_needs_follow_from_what_is_on():
    assert terms.needs(sections()) == set()
    assert terms.needs(sections(kd={"weight": 1.0})) == {"soft_labels"}
    assert terms.needs(sections(mfd={"weight": 1.0})) == {"soft_labels", "flow"}
    assert terms.needs({}) == set()


def test_a_term_begins_after_its_warmup(entropy):
    batch = make_batch()
    objective = Objective(sections(entropy={"weight": 1.0, "warmup": 0.3}), steps=100, class_weights=None)
    assert "entropy" not in objective(logits(batch), batch, 29)
    assert "entropy" in objective(logits(batch), batch, 30)


def test_a_mean_counts_once_a_sample_frame_or_neighbour():
    batch, one = make_batch(targets=2, neighbours=4), torch.tensor(1.0)
    scaled = [float(Mean("cells", per=per).scaled(one, batch)) for per in ("targets", "frames", "neighbours")]
    assert scaled == [1.0, 3.0, 2.0]


def test_cells_count_where_the_warp_stays_inside_both_images_and_is_believed():
    batch = make_batch()
    batch.flow[:, 0] = 2.0  # two cells to the right, so the last two columns leave the neighbour
    batch.flow_valid[0, :, 0] = False
    batch.inside[batch.targets + 1, :, :, 9] = False  # padding of the second neighbour
    batch.inside[0, :, 7] = False  # and of the first target
    expected = torch.ones(2, 1, 8, 10, dtype=torch.bool)
    expected[..., 8:] = False
    expected[0, :, 0] = expected[0, :, 7] = False
    expected[1, :, :, 7] = False
    warped, valid = warp_neighbours(batch, logits(batch)[batch.targets :])
    assert torch.equal(valid, expected)
    assert torch.equal(warp_neighbours(batch)[1], expected)
    probs = logits(batch)[batch.targets :].softmax(1)
    torch.testing.assert_close(warped[..., :8], probs[..., 2:])


def test_without_neighbours_nothing_is_warped():
    batch = make_batch(neighbours=0)
    warped, valid = warp_neighbours(batch)
    assert len(warped) == len(valid) == 0
