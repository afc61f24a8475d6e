"""What the losses teach is what instances are made of: from labels of classes to two objects of one class."""

import pytest
import torch

from weclick.losses import affinity_displacement
from weclick.proxy_labels import detections, group

GRID = 24, 40
OBJECTS = (slice(6, 15), slice(8, 17)), (slice(6, 15), slice(23, 32))


@pytest.fixture(scope="module")
def learned():
    """Edges and displacements, each cell by itself, after 150 steps on the labels of one frame."""
    torch.manual_seed(0)
    labels = torch.zeros(1, *GRID, dtype=torch.long)
    for rows, columns in OBJECTS:
        labels[0, rows, columns] = 1
    edge, displacement = (torch.randn(1, n, *GRID).mul_(0.1).requires_grad_() for n in (1, 2))
    optimizer = torch.optim.Adam([edge, displacement], lr=0.3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0.01, 150)
    for _ in range(150):
        optimizer.zero_grad()
        sum(affinity_displacement(edge, displacement, labels, radius=5).values()).backward()
        optimizer.step()
        schedule.step()
    return edge.detach().sigmoid()[0, 0], displacement.detach()[0]


def test_cells_of_one_object_have_one_number(learned):
    numbers = group(learned[1])
    first, second = (numbers[where][1:-1, 1:-1].unique() for where in OBJECTS)
    assert len(first) == len(second) == 1
    assert first != second
    assert min(first, second) > 0


def test_a_part_of_each_object_grows_to_the_whole(learned):
    edge, displacement = learned
    cams = torch.zeros(1, *GRID)
    cams[0, 7:10, 9:12] = cams[0, 11:14, 26:29] = 1
    masks, _, scores = detections(cams, group(displacement), edge, (96, 160))
    masks = masks[scores > 0]
    assert len(masks) == 2
    for mask, (rows, columns) in zip(masks, OBJECTS, strict=True):
        true = torch.zeros(96, 160, dtype=torch.bool)
        true[4 * rows.start : 4 * rows.stop, 4 * columns.start : 4 * columns.stop] = True
        assert (mask & true).sum() > 0.7 * (mask | true).sum()
