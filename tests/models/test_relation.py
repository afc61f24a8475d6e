"""The network of edges and displacements: its size, its grids, what learns."""

import pytest
import torch

from weclick.models import BACKBONES, build_relation


def count(module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_on_resnet50_it_is_as_large_as_the_published_one():
    with torch.device("meta"):
        network = build_relation("resnet50")
    assert count(network.edge) == 125_409
    assert count(network.displacement) == 1_269_120
    assert count(network) == 24_902_561
    assert network.stride == 4
    assert network.options == {"architecture": "relation", "backbone": "resnet50"}


@pytest.mark.parametrize("name", [*BACKBONES, "timm/test_efficientnet"])
@pytest.mark.parametrize("size", [(64, 96), (49, 71), (1, 1), (3, 130)])
def test_any_backbone_and_any_size(name, size):
    with torch.device("meta"):
        network = build_relation(name)
        edge, displacement = network(torch.empty(2, 3, *size))
    grid = tuple(-(-side // 4) for side in size)
    assert edge.shape == (2, 1, *grid)
    assert displacement.shape == (2, 2, *grid)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build_relation("resnet18")


def test_the_backbone_stays_as_it_is(network):
    before = {name: value.clone() for name, value in network.backbone.state_dict().items()}
    network.train()
    assert network.training
    assert not any(part.training for part in network.backbone.modules())
    edge, displacement = network(torch.randn(2, 3, 33, 40))
    (edge.sum() + displacement.square().sum()).backward()
    assert all(torch.equal(value, before[name]) for name, value in network.backbone.state_dict().items())
    learned = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
    assert learned == {name for name, _ in network.named_parameters() if not name.startswith("backbone.")}
    assert all(parameter.requires_grad == (name in learned) for name, parameter in network.named_parameters())


@torch.no_grad()
def test_in_eval_mode_the_mean_displacement_is_taken_away(network):
    images = torch.randn(1, 3, 40, 33)
    drifting = network.train()(images)
    network.mean_shift.copy_(torch.tensor([1.0, -2.0]))
    edge, displacement = network.eval()(images)
    assert torch.equal(edge, drifting[0])
    expected = drifting[1] - torch.tensor([1.0, -2.0]).view(1, 2, 1, 1)
    torch.testing.assert_close(displacement, expected)
    assert torch.equal(network.state_dict()["mean_shift"], torch.tensor([1.0, -2.0]))
    network.mean_shift.zero_()


@torch.no_grad()
def test_branches_are_those_of_the_paper(network):
    """On an image whose sides are multiples of 16, with the layers one by one."""
    images = torch.randn(1, 3, 48, 64)
    levels = list(network.backbone.levels(images))

    def up(values, factor):
        return torch.nn.functional.interpolate(values, scale_factor=factor, mode="bilinear")

    def part(layers, level, factor=1):
        reduced = layers[1](layers[0](level))
        return (reduced if factor == 1 else up(reduced, factor)).relu()

    factors = [1, 1, 2, 4, 4]
    edges = [part(layers, *each) for layers, *each in zip(network.edge.levels, levels, factors, strict=True)]
    edge, displacement = network.eval()(images)
    torch.testing.assert_close(edge, network.edge.logit(torch.cat(edges, 1)))
    moved = network.displacement
    fine = [part(layers, level) for layers, level in zip(moved.fine, levels[:2], strict=True)]
    coarse = [part(layers, *each) for layers, *each in zip(moved.coarse, levels[2:], [1, 2, 2], strict=True)]
    fine.append(part(moved.join, torch.cat(coarse, 1), 2))
    torch.testing.assert_close(displacement, moved.vector[1](part(moved.vector[0], torch.cat(fine, 1))))
    assert [layers[0].out_channels for layers in moved.fine] == [64, 128]
    assert [layers[1].num_groups for layers in (*moved.fine, *moved.coarse)] == [8, 16, 16, 16, 16]
    assert {layers[1].num_groups for layers in network.edge.levels} == {4}


def test_its_state_is_loaded_again(network):
    other = build_relation("resnet18")
    other.load_state_dict(network.state_dict())
    images = torch.randn(1, 3, 20, 24)
    assert all(map(torch.equal, network.eval()(images), other.eval()(images)))


def test_an_unknown_backbone_is_told():
    with pytest.raises(ValueError, match="backbone is 'resnet7', expected one of resnet18"):
        build_relation("resnet7")
