"""Mask R-CNN: the same as torchvision's, its detections within a step, and what it learns."""

import copy

import pytest
import torch
import torchvision
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.roi_heads import paste_masks_in_image, project_masks_on_boxes

from weclick.models import BACKBONES, build_detector
from weclick.models.detector_parts import boxes_around, paste_masks

LOSSES = ["objectness", "rpn_box", "classifier", "box", "mask"]
SIZE = 96, 128
SMALL = {"channels": 32, "anchors_px": (16, 32, 64, 128)}


def small_detector(num_classes=3, **options):
    torch.manual_seed(0)
    return build_detector("mobilenetv2_compact", num_classes, **{**SMALL, **options})


def rectangles(*places, size=SIZE):
    """Masks of rectangles (top, bottom, left, right), and their classes 1, 2, ..."""
    masks = torch.zeros(len(places), *size, dtype=torch.bool)
    for mask, (top, bottom, left, right) in zip(masks, places, strict=True):
        mask[top:bottom, left:right] = True
    return masks, torch.arange(1, len(places) + 1)


NOTHING = rectangles()
TWO = rectangles((10, 60, 20, 80), (50, 90, 60, 120))
ONE = rectangles((10, 60, 20, 80))


@pytest.fixture(scope="module")
def images():
    return torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(3))


def losses_of(network, images, instances, relabel=None, seed=5):
    torch.manual_seed(seed)
    return network.train()(images, instances, relabel)


def test_it_has_as_many_parameters_as_torchvisions():
    with torch.device("meta"):
        ours = build_detector("resnet50", 20)
        theirs = torchvision.models.detection.maskrcnn_resnet50_fpn(
            weights=None, weights_backbone=None, num_classes=21
        )
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
    assert sum(p.numel() for p in ours.parameters()) == 44_077_773
    named = {theirs_name(name): value.shape for name, value in ours.state_dict().items()}
    assert named == {name: value.shape for name, value in theirs.state_dict().items()}


def theirs_name(name):
    first, _, rest = name.partition(".")
    return {"backbone": f"backbone.body.{rest}", "fpn": f"backbone.fpn.{rest}"}.get(first, name)


@pytest.fixture(scope="module")
def both():
    """Ours and torchvision's network on resnet18, with the same weights."""
    torch.manual_seed(1)
    ours = build_detector("resnet18", 3, proposals=(300, 200), rois=64, detections=20)
    theirs = MaskRCNN(
        resnet_fpn_backbone(backbone_name="resnet18", weights=None, norm_layer=torch.nn.BatchNorm2d),
        4,
        min_size=128,
        max_size=192,
        image_mean=[0, 0, 0],
        image_std=[1, 1, 1],
        rpn_pre_nms_top_n_train=300,
        rpn_post_nms_top_n_train=200,
        rpn_pre_nms_top_n_test=300,
        rpn_post_nms_top_n_test=200,
        box_batch_size_per_image=64,
        box_detections_per_img=20,
    )
    theirs.load_state_dict({theirs_name(name): value for name, value in ours.state_dict().items()})
    return ours, theirs


def test_losses_are_those_of_torchvision(both):
    """On images whose sides are multiples of 64, where torchvision guesses the strides of all maps right."""
    ours, theirs = both
    images = torch.randn(2, 3, 128, 192)
    masks, classes = rectangles((10, 60, 20, 80), (50, 120, 60, 180), size=(128, 192))
    theirs.train().backbone.body.eval()
    targets = [
        {"boxes": boxes_around(masks), "labels": classes + 1, "masks": masks},
        {"boxes": torch.zeros(0, 4), "labels": classes[:0], "masks": masks[:0]},
    ]
    # it draws a size for the images before that, which is this one anyway
    theirs.rpn.register_forward_pre_hook(lambda *_: torch.manual_seed(7) and None)
    expected = theirs([*images], targets)
    found = losses_of(ours, images, [(masks, classes), (masks[:0], classes[:0])], seed=7)
    assert [*found] == LOSSES
    names = ["loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg", "loss_mask"]
    assert all(torch.equal(found[name], expected[each]) for name, each in zip(LOSSES, names, strict=True))


@torch.no_grad()
def test_detections_are_those_of_torchvision(both):
    ours, theirs = both
    images = torch.randn(2, 3, 128, 192)
    for found, expected in zip(ours.eval()(images), theirs.eval()([*images]), strict=True):
        assert len(found.scores) == 20
        assert torch.equal(found.scores, expected["scores"])
        assert torch.equal(found.boxes, expected["boxes"])
        assert torch.equal(found.classes, expected["labels"] - 1)
        assert found.masks.shape == (20, 128, 192)
        assert {int(each) for each in found.classes} <= {0, 1, 2}


@pytest.mark.parametrize("name", [*BACKBONES, "timm/test_efficientnet"])
def test_any_backbone(name):
    torch.manual_seed(0)
    network = build_detector(name, 2, channels=8, proposals=(50, 20))
    found = losses_of(network, torch.randn(1, 3, 65, 90), [rectangles((5, 30, 8, 60), size=(65, 90))])
    assert [*found] == LOSSES
    assert torch.stack([*found.values()]).isfinite().all()
    assert network.stride == 4
    assert network.options["output_stride"] == (16 if name in ("vgg16", "mobilenetv2_compact") else 32)


@torch.no_grad()
def test_maps_whose_stride_is_traded_for_dilation():
    """At an output stride of 8 three levels have one size, and large boxes still read the last."""
    torch.manual_seed(0)
    network = build_detector("resnet18", 2, channels=8, output_stride=8).eval()
    features = network._features(torch.randn(1, 3, 96, 96))
    assert [each.shape[-1] for each in features.values()] == [24, 12, 12, 12, 6]
    assert network._strides == [4, 8, 8, 8, 16]
    box = torch.tensor([[0.0, 0.0, 90.0, 90.0], [0.0, 0.0, 460.0, 460.0]])
    pool = network.roi_heads.box_roi_pool
    assert pool.map_levels([box]).tolist() == [0, 3]
    assert pool.scales == [1 / 4, 1 / 8, 1 / 8, 1 / 8]


def count_passes(network):
    passes = []
    network.backbone.features[0].register_forward_hook(lambda *_: passes.append(1))
    return passes


def test_a_step_takes_one_pass_of_the_backbone(images):
    network = small_detector()
    passes = count_passes(network)
    plain = losses_of(network, images, [TWO, ONE])
    assert len(passes) == 1
    seen = []
    relabelled = losses_of(network, images, None, lambda found: seen.append(found) or [TWO, ONE])
    assert len(passes) == 2
    assert [len(found) for found in seen] == [2]
    assert all(torch.equal(plain[name], relabelled[name]) for name in LOSSES), "it draws the same numbers"


def test_what_a_step_finds_is_what_it_finds_in_eval_mode(images):
    network = small_detector(proposals=(500, 200))
    seen = []
    losses_of(network, images, None, lambda found: seen.extend(found) or [TWO, ONE])
    assert not any(value.requires_grad for found in seen for value in found)
    assert network.roi_heads.training
    with torch.no_grad():
        for inside, alone in zip(seen, network.eval()(images), strict=True):
            assert len(alone.scores) > 0
            assert all(map(torch.equal, inside, alone))


def test_labels_are_made_from_what_is_found(images):
    """The losses are those of the new labels, and the old ones do not matter."""
    network = small_detector()
    expected = losses_of(network, images, [ONE, NOTHING])
    found = losses_of(network, images, [TWO, TWO], lambda _: [ONE, NOTHING])
    assert all(torch.equal(found[name], expected[name]) for name in LOSSES)
    other = losses_of(network, images, [TWO, TWO])
    assert not torch.equal(found["classifier"], other["classifier"])


def test_equal_seeds_give_equal_losses(images):
    network = small_detector(rois=16)
    first, again = (losses_of(network, images, [TWO, ONE], seed=1) for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in LOSSES)
    other = losses_of(network, images, [TWO, ONE], seed=2)
    assert not torch.equal(first["classifier"], other["classifier"])


@pytest.mark.parametrize("labels", [[NOTHING, ONE], [NOTHING, NOTHING]], ids=["one", "both"])
@pytest.mark.parametrize("relabelled", [False, True])
def test_frames_without_labels(images, labels, relabelled):
    network = small_detector()
    losses = losses_of(network, images, labels, (lambda _: labels) if relabelled else None)
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    grads = {name: p.grad for name, p in network.named_parameters() if p.requires_grad}
    assert all(grad is not None and grad.isfinite().all() for grad in grads.values())
    if labels[1] is NOTHING:
        assert losses["rpn_box"] == losses["box"] == losses["mask"] == 0
        silent = ("rpn.head.bbox_pred", "roi_heads.box_predictor.bbox_pred", "roi_heads.mask")
        assert not any(grad.any() for name, grad in grads.items() if name.startswith(silent))
    assert grads["roi_heads.box_predictor.cls_score.weight"].any()


def test_masks_without_pixels_are_left_out(images):
    network = small_detector()
    masks, _ = TWO
    blank = torch.cat([masks, torch.zeros(1, *SIZE, dtype=torch.bool)]), torch.tensor([1, 2, 0])
    found, expected = (losses_of(network, images, [labels, NOTHING]) for labels in (blank, TWO))
    assert all(torch.equal(found[name], expected[name]) for name in LOSSES)
    dot = torch.zeros(1, *SIZE, dtype=torch.bool)
    dot[0, 7, 9] = True
    assert torch.equal(boxes_around(dot), torch.tensor([[9.0, 7, 10, 8]]))
    losses = losses_of(network, images, [(dot, torch.tensor([1])), NOTHING])
    assert all(loss.isfinite() for loss in losses.values())


def test_no_predictions(images):
    network = small_detector(min_score=1.0)
    seen = []
    losses = losses_of(network, images, None, lambda found: seen.extend(found) or [ONE, NOTHING])
    assert all(loss.isfinite() for loss in losses.values())
    for found in (*seen, *network.eval()(images)):
        assert [tuple(value.shape) for value in found] == [(0, *SIZE), (0,), (0,), (0, 4)]
        assert [value.dtype for value in found[:2]] == [torch.bool, torch.int64]


def test_no_proposals(images):
    """Boxes of no size are dropped; the whole frame then stands for them."""
    network = small_detector()
    torch.nn.init.constant_(network.rpn.head.bbox_pred.bias, -1e4)
    losses = losses_of(network, images, [NOTHING, NOTHING])
    assert all(loss.isfinite() for loss in losses.values())


def test_one_class(images):
    network = small_detector(num_classes=1)
    masks, classes = ONE
    losses = losses_of(network, images, [(masks, classes - 1), NOTHING])
    assert all(loss.isfinite() for loss in losses.values())
    assert {int(each) for found in network.eval()(images) for each in found.classes} == {0}


@torch.no_grad()
@pytest.mark.parametrize("size", [(61, 83), (33, 34), (1, 7)])
def test_frames_of_odd_sizes(size):
    network = small_detector().eval()
    (found,) = network(torch.randn(1, 3, *size))
    assert found.masks.shape == (len(found.scores), *size)
    assert (found.boxes[:, 2:] <= torch.tensor(size).flip(0)).all()


def test_under_autocast_the_heads_still_learn_after_the_look(images):
    """What autocast casts while no gradient is asked for must not serve the losses."""
    network = small_detector()
    grads = []
    for relabel in (None, lambda _: [TWO, ONE]):
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            losses = losses_of(network, images, [TWO, ONE], relabel)
        sum(losses.values()).backward()
        grads.append({name: copy.deepcopy(p.grad) for name, p in network.named_parameters()})
    assert all(loss.isfinite() and loss.dtype == torch.float32 for loss in losses.values())
    heads = [name for name in grads[0] if name.startswith(("fpn", "rpn", "roi_heads"))]
    assert all(torch.equal(grads[0][name], grads[1][name]) and grads[0][name].any() for name in heads)


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (None, r"instances are missing, expected the labels of 2 frames"),
        ([ONE], r"instances are those of 1 frames, expected the labels of 2 frames"),
        ([ONE, rectangles((1, 5, 1, 5), size=(8, 8))], r"masks \(1, 8, 8\) torch.bool .*\(1, 96, 128\)"),
        ([ONE, (ONE[0].float(), ONE[1])], r"torch.float32 .* expected \(1, 96, 128\) \(N, H, W\) bool"),
        ([ONE, (ONE[0], TWO[1])], r"expected \(2, 96, 128\)"),
        ([ONE, (ONE[0], torch.tensor([3]))], r"classes \[3\] .* expected int64 class ids from 0 to 2"),
        ([ONE, (ONE[0], torch.tensor([-1]))], r"classes \[-1\]"),
        ([ONE, (ONE[0], torch.tensor([1.0]))], r"classes \[1\.0\] of torch.float32"),
    ],
)
def test_labels_that_cannot_be(images, labels, told):
    network = small_detector()
    with pytest.raises(ValueError, match=told):
        losses_of(network, images, labels)
    with pytest.raises(ValueError, match=told):
        losses_of(network, images, [ONE, ONE], lambda _: labels)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"min_score": 1.5}, "min_score is 1.5, expected a number from 0 to 1"),
        ({"nms": -0.1}, "nms is -0.1"),
        ({"channels": 0}, "channels is 0, expected a whole number from 1"),
        ({"detections": 1.5}, "detections is 1.5"),
        ({"rois": 0}, "rois is 0"),
        ({"proposals": (10,)}, r"proposals is \[10\], expected two numbers"),
        ({"proposals": (10, 0)}, r"proposals is \[10, 0\]"),
        ({"anchors_px": (16, 32)}, r"anchors_px is \[16, 32\], expected .* the backbone's 3 levels"),
        ({"anchors_px": (0, 16, 32)}, r"anchors_px is \[0, 16, 32\]"),
        ({"output_stride": 64}, "output_stride is 64"),
    ],
)
def test_options_that_cannot_be(options, told):
    with pytest.raises(ValueError, match=told):
        small_detector(**options)


def discs(low, high, size=(120, 160), count=60):
    generator = torch.Generator().manual_seed(0)
    height, width = size
    ys, xs = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    masks = []
    for _ in range(count):
        b, a, cy, cx = torch.rand(4, generator=generator)
        b, a = ((low + (high - low) * side) / 2 for side in (b, a))
        cy, cx = b + cy * (height - 2 * b), a + cx * (width - 2 * a)
        masks.append(((ys - cy) / b) ** 2 + ((xs - cx) / a) ** 2 <= 1)
    masks = torch.stack(masks)
    return masks[masks.flatten(1).sum(1) > 3]


def mean_iou(masks, others):
    return ((masks & others).sum((1, 2)) / (masks | others).sum((1, 2))).mean().item()


@pytest.mark.parametrize(
    ("low", "high", "least"), [(3, 8, 0.99), (8, 20, 0.99), (20, 60, 0.98), (60, 110, 0.98)]
)
def test_pasting_is_the_inverse_of_how_labels_are_read(low, high, least):
    masks = discs(low, high)
    boxes = boxes_around(masks)
    shares = project_masks_on_boxes(masks, boxes, torch.arange(len(masks)), 28) * 0.9 + 0.05
    size = tuple(masks.shape[1:])
    ours = mean_iou(masks, paste_masks(shares, boxes, size))
    theirs = mean_iou(masks, paste_masks_in_image(shares[:, None], boxes, size)[:, 0] >= 0.5)
    assert ours >= least
    assert ours > theirs


def test_pasting_in_parts_and_beyond_the_frame(monkeypatch):
    boxes = torch.tensor([[-5.0, -6, 10, 8], [3, 2, 9, 30], [4, 4, 4, 4], [1, 1, 7, 5]])
    shares = torch.ones(4, 28, 28)
    whole = paste_masks(shares, boxes, (12, 16))
    assert whole.sum((1, 2)).tolist() == [10 * 8, 6 * 10, 0, 6 * 4]
    monkeypatch.setattr("weclick.models.detector_parts.PASTED_VALUES", 12 * 16)
    assert torch.equal(paste_masks(shares, boxes, (12, 16)), whole)
    assert paste_masks(shares[:0], boxes[:0], (12, 16)).shape == (0, 12, 16)


def scene(generator):
    """A frame of noise with a red and a blue rectangle, and their labels."""
    image = torch.randn(3, *SIZE, generator=generator) * 0.2
    top, left, height, width = (
        torch.randint(low, high, (2,), generator=generator).tolist()
        for low, high in ((2, 40), (2, 20), (24, 50), (24, 42))
    )
    places = [(top[i], top[i] + height[i], left[i] + 64 * i, left[i] + 64 * i + width[i]) for i in range(2)]
    masks, classes = rectangles(*places)
    for channel, mask in zip((0, 2), masks, strict=True):
        image[channel][mask] += 2
    return image, (masks, classes)


def test_it_learns_to_find_two_rectangles():
    network = small_detector(rois=64, proposals=(200, 100), batch_norm="train")
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=120)
    network.train()
    for _ in range(120):
        frames, labels = zip(*(scene(generator) for _ in range(2)), strict=True)
        loss = sum(network(torch.stack(frames), labels).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    held_out = [scene(torch.Generator().manual_seed(seed)) for seed in range(100, 108)]
    with torch.no_grad():
        found = network.eval()(torch.stack([image for image, _ in held_out]))
    hits = 0
    for seen, (_, (masks, classes)) in zip(found, held_out, strict=True):
        for mask, label in zip(masks, classes, strict=True):
            best = seen.masks[seen.classes == label][:1]
            hits += len(best) > 0 and mean_iou(best, mask[None]) > 0.5
    assert hits == 16, f"{hits} of 16 rectangles are where the best guess of their class is"
