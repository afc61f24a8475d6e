"""Relations and detectors as files: read as they were written, refused where they were altered."""

import json
import resource

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from weclick.common.errors import InputError
from weclick.common.schemas import schema_fault
from weclick.models import BACKBONES, build_detector, build_relation, rebuild
from weclick.store.model_file import load_model, model_bytes


def make_detector(classes=3, **options):
    torch.manual_seed(0)
    return build_detector("mobilenetv2_compact", classes, channels=16, anchors_px=(16, 32, 64), **options)


def make_relation():
    torch.manual_seed(0)
    network = build_relation("mobilenetv2_compact")
    network.mean_shift.copy_(torch.tensor([0.25, -1.5]))
    return network


@pytest.fixture
def saved(street, tmp_path):
    """Writes a network to a file and gives its path."""

    def save(network):
        path = tmp_path / "model.safetensors"
        path.write_bytes(model_bytes(network, street.train.classes, shrink=2))
        return path

    return save


def flat(answer):
    return [value for each in answer for value in each]


@torch.no_grad()
@pytest.mark.parametrize("make", [make_detector, make_relation])
def test_a_network_is_read_as_it_was_written(saved, street, make):
    network = make().train()
    network.drop_auxiliary()
    images = torch.randn(2, 3, 45, 70)
    again, card = load_model(saved(network), classes=street.train.classes.names, architectures=None)
    assert type(again) is type(network)
    assert not again.training
    assert again.options == card.options == json.loads(json.dumps(network.options))
    assert (card.shrink, card.motion) == (2, None)
    expected = network.eval()(images)
    assert all(map(torch.equal, flat(expected), flat(again(images))))
    assert len(flat(expected)) > 0
    own = network.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in again.state_dict().items())


def test_a_detector_that_was_read_can_learn(saved):
    network = make_detector()
    again, _ = load_model(saved(network), architectures=None)
    images, masks = torch.randn(1, 3, 45, 70), torch.zeros(1, 45, 70, dtype=torch.bool)
    masks[0, 5:30, 10:50] = True
    losses = []
    for each in (network, again):
        torch.manual_seed(2)
        losses.append(each.train()(images, [(masks, torch.tensor([1]))]))
    assert all(torch.equal(losses[0][name], losses[1][name]) for name in losses[0])


@pytest.mark.parametrize("name", [*BACKBONES, "timm/test_efficientnet"])
def test_all_options_are_kept(name):
    options = {"min_score": 0.1, "nms": 0.4, "detections": 7, "proposals": [30, 20], "rois": 9}
    with torch.device("meta"):
        network = build_detector(name, 4, channels=8, batch_norm="train", output_stride=16, **options)
        again = rebuild(json.loads(json.dumps(network.options)))
        relation = rebuild(build_relation(name).options)
    assert again.options == network.options
    assert {key: network.options[key] for key in options} == options
    shapes = [{key: value.shape for key, value in each.state_dict().items()} for each in (network, again)]
    assert shapes[0] == shapes[1]
    heads = again.roi_heads
    assert (heads.score_thresh, heads.nms_thresh, heads.detections_per_img) == (0.1, 0.4, 7)
    assert heads.fg_bg_sampler.batch_size_per_image == 9
    assert not any(schema_fault(each.options, "models", "options") for each in (network, relation))


def test_a_caller_may_say_what_it_understands(saved):
    path = saved(make_detector())
    load_model(path, architectures=["detector"])
    with pytest.raises(InputError, match=r"is of the architecture detector, expected relation; give the"):
        load_model(path, architectures=["relation"])


def alter(path, drop=(), **options):
    """Change options in the card of a file; None takes one out."""
    with safe_open(str(path), "pt") as file:
        card = json.loads(file.metadata()["weclick"])
    changed = {**card["options"], **options}
    card["options"] = {name: value for name, value in changed.items() if value is not None}
    state = load_file(path)
    for name in drop:
        del state[name]
    save_file(state, path, metadata={"weclick": json.dumps(card)})


@pytest.mark.parametrize(
    "options",
    [
        {"channels": 5000},
        {"channels": 2**62},
        {"channels": None},
        {"num_classes": 255},
        {"num_classes": None},
        {"detections": 2**40},
        {"detections": 10.5},
        {"proposals": [2**40, 10]},
        {"proposals": [10]},
        {"proposals": [10] * 1000},
        {"proposals": 10},
        {"anchors_px": [16] * 9},
        {"anchors_px": [16, 32]},
        {"anchors_px": [16, 32, 1e9]},
        {"anchors_px": [16, 32, -1]},
        {"anchors_px": "many"},
        {"rois": 2**40},
        {"rois": 0},
        {"min_score": 2},
        {"nms": "much"},
        {"output_stride": 3},
        {"pretrained": "/etc/passwd"},
        {"unknown": 1},
        {"backbone": "resnet7"},
        {"architecture": "relation"},
        {"architecture": "detectors"},
    ],
)
def test_a_card_of_no_detector(saved, options):
    path = saved(make_detector())
    alter(path, **options)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=r"model\.safetensors: its model card describes no network"):
        load_model(path, architectures=None)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 2**10  # KiB


@pytest.mark.parametrize(
    "options", [{"channels": 4096}, {"num_classes": 254}, {"backbone": "resnet50", "anchors_px": [1] * 8}]
)
def test_a_card_of_another_detector_takes_no_memory(saved, options):
    path = saved(make_detector())
    alter(path, **options)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=r"its weights are of another network than its model card"):
        load_model(path, architectures=None)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 2**10  # KiB


@pytest.mark.parametrize("options", [{"backbone": "resnet7"}, {"channels": 8}, {"pretrained": "imagenet"}])
def test_a_card_of_no_network_of_relations(saved, options):
    path = saved(make_relation())
    alter(path, **options)
    with pytest.raises(InputError, match=r"model\.safetensors: its model card describes no network"):
        load_model(path, architectures=None)


@pytest.mark.parametrize(
    ("make", "name"), [(make_detector, "roi_heads.box_head.fc6.weight"), (make_relation, "mean_shift")]
)
def test_a_file_that_lacks_weights(saved, make, name):
    path = saved(make())
    alter(path, drop=[name])
    with pytest.raises(InputError, match=rf"1 keys differ, first {name} missing"):
        load_model(path, architectures=None)
