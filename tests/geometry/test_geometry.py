"""The coordinate convention: every fast form against a per-pixel one, and all of them with each other."""

from math import floor

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from weclick.geometry import (
    Crop,
    backward_warp,
    backward_warp_nearest,
    crop_sampling_positions,
    crop_window,
    downsample_flow,
    downsample_mask,
    forward_backward_valid,
    grid_size,
    move_points,
    photometric_valid,
    resize_flow,
    sample_crop,
    sample_flow_crop,
    sample_together,
)
from weclick.geometry.resample import taps_at


def bilinear(image: np.ndarray, y: float, x: float) -> np.ndarray:
    """The value (C,) of an image (C, H, W) at a position, borders clamped."""
    height, width = image.shape[1:]
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = floor(y), floor(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    upper = image[:, top, left] * (left + 1 - x) + image[:, top, right] * (x - left)
    lower = image[:, bottom, left] * (left + 1 - x) + image[:, bottom, right] * (x - left)
    return upper * (top + 1 - y) + lower * (y - top)


def uniform_flow(dx: float, dy: float, size: tuple[int, int]) -> torch.Tensor:
    return torch.tensor([dx, dy]).view(1, 2, 1, 1).expand(1, 2, *size).contiguous()


def smooth_image(size: tuple[int, int], channels: int = 2) -> torch.Tensor:
    """Slow waves (1, channels, H, W) that bilinear interpolation follows to about 1e-2."""
    y, x = torch.meshgrid(*(torch.arange(side, dtype=torch.float64) for side in size), indexing="ij")
    return torch.stack([torch.sin(y / 9 + c) * torch.cos(x / (11 - c)) for c in range(channels)])[None]


# --- backward warps ---------------------------------------------------------------------------------------


def test_warp_by_zero_flow_is_the_identity_bit_by_bit():
    source = torch.rand(2, 3, 7, 1021)
    warped, valid = backward_warp(source, torch.zeros(2, 2, 7, 1021))
    assert torch.equal(warped, source)
    assert valid.all()
    assert valid.dtype == torch.bool


@pytest.mark.parametrize(("dx", "dy"), [(3, 0), (-2, 0), (0, 4), (5, -3)])
def test_warp_by_whole_pixels_moves_values_bit_by_bit(dx, dy):
    source = torch.rand(1, 2, 9, 701)
    warped, valid = backward_warp(source, uniform_flow(dx, dy, (9, 701)))
    y, x = np.mgrid[0:9, 0:701]
    inside = (y + dy >= 0) & (y + dy < 9) & (x + dx >= 0) & (x + dx < 701)
    assert np.array_equal(valid[0, 0].numpy(), inside)
    expected = source[0, :, (y + dy).clip(0, 8), (x + dx).clip(0, 700)]
    assert torch.equal(warped[0], expected)


def test_flow_points_from_the_output_to_the_source():
    source = torch.zeros(1, 1, 3, 5)
    source[0, 0, 1, 4] = 1.0
    flow = uniform_flow(2.5, 0.0, (3, 5))
    warped, _ = backward_warp(source, flow)
    assert warped[0, 0, 1].tolist() == [0.0, 0.5, 1.0, 1.0, 1.0]  # 4.5 and beyond repeat the border


@settings(max_examples=25, deadline=None)
@given(
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    reach=st.floats(0, 8),
    seed=st.integers(0, 2**32 - 1),
)
def test_warp_equals_a_loop_over_pixels(size, reach, seed):
    rng = np.random.default_rng(seed)
    source, flow = rng.normal(size=(2, 3, *size)), rng.uniform(-reach, reach, (2, 2, *size))
    warped, valid = backward_warp(torch.from_numpy(source), torch.from_numpy(flow))
    for b, y, x in np.ndindex(2, *size):
        at_y, at_x = y + flow[b, 1, y, x], x + flow[b, 0, y, x]
        np.testing.assert_allclose(warped[b, :, y, x], bilinear(source[b], at_y, at_x), atol=1e-12)
        assert valid[b, 0, y, x] == (0 <= at_y <= size[0] - 1 and 0 <= at_x <= size[1] - 1)


def test_warp_gives_gradient_to_source_and_flow():
    torch.manual_seed(0)
    source = torch.rand(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    flow = (torch.rand(1, 2, 4, 5, dtype=torch.float64) * 1.8 - 0.9).requires_grad_()
    assert torch.autograd.gradcheck(lambda s, f: backward_warp(s, f)[0], (source, flow))


@pytest.mark.parametrize("fault", [float("nan"), float("inf"), -float("inf")])
def test_a_flow_that_is_not_finite_is_not_valid_and_does_no_harm(fault):
    flow = torch.zeros(1, 2, 3, 3)
    flow[0, 0, 1, 1] = fault
    warped, valid = backward_warp(torch.rand(1, 1, 3, 3), flow)
    assert valid.sum() == 8
    assert warped.isfinite().all()


def test_half_precision_flow_addresses_wide_images():
    source = torch.arange(4000.0).view(1, 1, 1, -1)
    warped, _ = backward_warp(source, torch.zeros(1, 2, 1, 4000, dtype=torch.float16))
    assert torch.equal(warped, source)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_nearest_warp_keeps_labels(dtype):
    labels = torch.tensor([[[[0, 7, 255, 3]]]], dtype=dtype)
    warped, valid = backward_warp_nearest(labels, uniform_flow(0.6, 0.0, (1, 4)))
    assert warped.dtype == dtype
    assert warped.flatten().tolist() == [7, 255, 3, 3]
    assert valid.flatten().tolist() == [True, True, True, False]


def test_nearest_warp_rounds_as_often_up_as_the_position_says():
    labels = torch.arange(6).view(1, 1, 1, 6)
    warped, _ = backward_warp_nearest(labels, uniform_flow(-0.4, 0.0, (1, 6)))
    assert warped.flatten().tolist() == [0, 1, 2, 3, 4, 5]


def test_a_flow_on_another_grid_is_refused_with_both_shapes():
    with pytest.raises(
        ValueError, match=r"flow has shape \(1, 2, 3, 3\), expected \(1, 2, 6, 6\).*resize_flow"
    ):
        backward_warp(torch.zeros(1, 1, 6, 6), torch.zeros(1, 2, 3, 3))
    with pytest.raises(ValueError, match=r"source has shape .* four axes"):
        backward_warp(torch.zeros(6, 6), torch.zeros(1, 2, 6, 6))


# --- crops ------------------------------------------------------------------------------------------------


def crop_by_loop(
    full: np.ndarray, crop: Crop, image_size: tuple[int, int], stride: int, source_stride: int
) -> tuple[np.ndarray, np.ndarray]:
    """The definition of a crop, cell by cell."""
    rows, columns = grid_size(crop.size, stride)
    out, inside = np.zeros((full.shape[0], rows, columns)), np.zeros((rows, columns), bool)
    for i, j in np.ndindex(rows, columns):
        at_i, at_j = (i + 0.5) * stride - 0.5, (j + 0.5) * stride - 0.5
        at_j = crop.size[1] - 1 - at_j if crop.flip else at_j
        y = (at_i + 0.5) / crop.scale - 0.5 + crop.top
        x = (at_j + 0.5) / crop.scale - 0.5 + crop.left
        inside[i, j] = -0.5 <= y <= image_size[0] - 0.5 and -0.5 <= x <= image_size[1] - 0.5
        out[:, i, j] = bilinear(full, (y + 0.5) / source_stride - 0.5, (x + 0.5) / source_stride - 0.5)
    return out, inside


crops = st.builds(
    Crop,
    top=st.floats(-6, 14),
    left=st.floats(-6, 14),
    scale=st.sampled_from([0.5, 0.73, 1.0, 1.9, 2.0]),
    flip=st.booleans(),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
)
strides = st.sampled_from([1, 2, 4])


@settings(max_examples=60, deadline=None)
@given(crop=crops, stride=strides, source_stride=strides, windowed=st.booleans())
def test_crop_equals_a_loop_over_cells(crop, stride, source_stride, windowed):
    image_size = 13, 17
    full = np.random.default_rng(0).normal(size=(2, *grid_size(image_size, source_stride)))
    image, origin = torch.from_numpy(full)[None], None
    if windowed:
        y0, x0, h, w = crop_window(crop, image_size, stride=stride, source_stride=source_stride)
        image, origin = image[:, :, y0 : y0 + h, x0 : x0 + w], [(y0, x0)]
    out, inside = sample_crop(
        image, [crop], image_size=image_size, stride=stride, source_stride=source_stride, origin=origin
    )
    expected, expected_inside = crop_by_loop(full, crop, image_size, stride, source_stride)
    np.testing.assert_allclose(out[0], expected, atol=1e-12)
    assert np.array_equal(inside[0, 0], expected_inside)


@settings(max_examples=40, deadline=None)
@given(
    crop=crops,
    other=crops,
    stride=strides,
    source_stride=strides,
    mode=st.sampled_from(["bilinear", "nearest"]),
)
def test_all_images_at_once_are_sampled_as_one_by_one(crop, other, stride, source_stride, mode):
    """The form for accelerators, here on windows of two sizes, one of them a permuted view."""
    image_size, both = (13, 17), [crop, other._replace(size=crop.size)]
    full = torch.randint(0, 256, (*grid_size(image_size, source_stride), 3), dtype=torch.uint8).movedim(-1, 0)
    windows, origins, taps = [], [], []
    for one in both:
        y0, x0, h, w = crop_window(one, image_size, stride=stride, source_stride=source_stride)
        windows.append(full[:, y0 : y0 + h, x0 : x0 + w])
        origins.append((y0, x0))
        positions = crop_sampling_positions(one, stride=stride)
        cells = grid_size(image_size, source_stride)
        taps.append([taps_at(positions[i], cells[i], source_stride, (y0, x0)[i]) for i in range(2)])

    def halve(stored):
        return stored.float() / 2

    for decode in (None, halve):
        one_by_one, _ = sample_crop(
            windows,
            both,
            image_size=image_size,
            stride=stride,
            source_stride=source_stride,
            origin=origins,
            mode=mode,
            decode=decode,
        )
        together = sample_together(windows, taps, mode=mode, decode=decode)
        assert together.dtype == one_by_one.dtype
        torch.testing.assert_close(together, one_by_one, rtol=1e-5, atol=1e-4)


def test_what_is_decoded_is_interpolated():
    stored = torch.tensor([[[[0, 2, 4]]]], dtype=torch.uint8)
    out, _ = sample_crop(stored, [Crop(0, 0.5, 1, False, (1, 2))], decode=lambda cells: cells.float() ** 2)
    assert out.flatten().tolist() == [2, 10]


def test_a_crop_of_everything_is_the_identity_bit_by_bit():
    image = torch.rand(1, 3, 11, 703)
    out, inside = sample_crop(image, [Crop(0, 0, 1, False, (11, 703))])
    assert torch.equal(out, image)
    assert inside.all()


def test_a_crop_at_scale_one_is_a_slice_and_a_flip_its_mirror():
    image = torch.rand(1, 3, 10, 12)
    slice_ = image[:, :, 2:7, 3:9]
    assert torch.equal(sample_crop(image, [Crop(2, 3, 1, False, (5, 6))])[0], slice_)
    assert torch.equal(sample_crop(image, [Crop(2, 3, 1, True, (5, 6))])[0], slice_.flip(-1))


@pytest.mark.parametrize("scale", [2, 0.5])
def test_scaling_is_interpolate_with_align_corners_false(scale):
    image = torch.rand(1, 2, 8, 6, dtype=torch.float64)
    size = int(8 * scale), int(6 * scale)
    out, inside = sample_crop(image, [Crop(0, 0, scale, False, size)])
    torch.testing.assert_close(out, F.interpolate(image, size=size, mode="bilinear", align_corners=False))
    assert inside.all()


def test_padding_repeats_the_border_and_is_marked():
    image = torch.arange(4.0).view(1, 1, 1, 4)
    out, inside = sample_crop(image, [Crop(0, -2, 1, False, (1, 7))])
    assert out.flatten().tolist() == [0, 0, 0, 1, 2, 3, 3]
    assert inside.flatten().tolist() == [False, False, True, True, True, True, False]


def test_nearest_crop_keeps_labels():
    labels = torch.tensor([[[[0, 9, 255]]]], dtype=torch.uint8)
    out, _ = sample_crop(labels, [Crop(0, 0, 2, True, (2, 6))], mode="nearest")
    assert out.dtype == torch.uint8
    assert out[0, 0, 1].tolist() == [255, 255, 9, 9, 0, 0]


def test_images_of_differing_sizes_share_a_batch():
    images = [torch.rand(1, 5, 6), torch.rand(1, 9, 4)]
    out, inside = sample_crop(images, [Crop(1, 1, 1, False, (4, 3))] * 2)
    for image, got in zip(images, out, strict=True):
        assert torch.equal(got, image[:, 1:5, 1:4])
    assert inside.all()


def test_bytes_become_floating_point():
    out, _ = sample_crop(torch.tensor([[[[0, 255]]]], dtype=torch.uint8), [Crop(0, 0, 2, False, (1, 4))])
    assert out.flatten().tolist() == [0.0, 63.75, 191.25, 255.0]


def test_moved_points_show_the_same_place():
    crop = Crop(top=3.25, left=-1.5, scale=1.6, flip=True, size=(9, 14))
    y, x = torch.meshgrid(torch.arange(30.0), torch.arange(40.0), indexing="ij")
    seen, inside_image = sample_crop(torch.stack([y, x])[None].double(), [crop])
    pixels = torch.cartesian_prod(torch.arange(9.0), torch.arange(14.0)).double()
    points = seen[0].flatten(1).T[inside_image.flatten()]
    moved, inside = move_points(points, crop)
    interior = (points > 0).all(1)  # border cells repeat, so positions under 0 read as 0
    torch.testing.assert_close(moved[interior], pixels[inside_image.flatten()][interior])
    assert inside[interior].all()


def test_points_off_the_crop_are_told():
    crop = Crop(top=2, left=2, scale=1, flip=False, size=(3, 3))
    moved, inside = move_points(np.array([[2, 2], [4, 4], [5, 4], [1, 3]]), crop)
    assert moved.tolist() == [[0, 0], [2, 2], [3, 2], [-1, 1]]
    assert inside.tolist() == [True, True, False, False]


def test_every_pixel_position_belongs_to_one_of_two_adjoining_crops():
    points = torch.tensor([[0.0, x] for x in np.linspace(-0.5, 7.4, 80)], dtype=torch.float64)
    halves = [move_points(points, Crop(0, left, 1, False, (1, 4)))[1] for left in (0, 4)]
    assert (halves[0] ^ halves[1]).all()


@pytest.mark.parametrize("stride", [1, 4])
@pytest.mark.parametrize("scale", [0.5, 1, 2])
@pytest.mark.parametrize("flip", [False, True])
def test_warping_the_cropped_neighbour_is_cropping_the_warped_neighbour(scale, flip, stride):
    size = 64, 80
    neighbour = smooth_image(size)
    flow = 3 * smooth_image(size) + torch.tensor([4.0, -2.5], dtype=torch.float64).view(1, 2, 1, 1)
    crop = Crop(top=9.5, left=12.25, scale=scale, flip=flip, size=(24, 24))
    warped, _ = backward_warp(neighbour, flow)

    cropped_after, _ = sample_crop(warped, [crop], stride=stride)
    cropped_before, _ = sample_crop(neighbour, [crop], stride=stride)
    cropped_flow, _ = sample_flow_crop(flow, [crop], stride=stride)
    warped_after, valid = backward_warp(cropped_before, cropped_flow)

    assert valid.float().mean() > 0.1
    gap = (warped_after - cropped_after).abs()[valid.expand_as(warped_after)]
    spacing = max(1, stride / scale)  # px of the image between samples; interpolation errs with its square
    assert gap.max() < 0.01 * spacing**2


def test_a_stored_coarse_flow_crops_as_the_fine_one():
    fine = 3 * smooth_image((64, 80))
    crop = Crop(top=8, left=16, scale=1.5, flip=True, size=(32, 48))
    coarse = downsample_flow(fine, 4)
    from_fine, _ = sample_flow_crop(fine, [crop], stride=4)
    from_coarse, _ = sample_flow_crop(coarse, [crop], stride=4, source_stride=4, image_size=(64, 80))
    torch.testing.assert_close(from_coarse, from_fine, atol=0.1, rtol=0)  # of a 3 px wave


def test_flow_values_follow_the_crop_by_hand():
    flow = uniform_flow(8.0, 4.0, (4, 4))
    out, _ = sample_flow_crop(
        flow, [Crop(0, 0, 0.5, True, (8, 8))], stride=2, source_stride=4, image_size=(16, 16)
    )
    assert out[0, :, 0, 0].tolist() == [
        -8.0,
        4.0,
    ]  # 8 cells of 4 px, halved: 16 px of the crop, 8 of its cells


def test_crop_errors_teach():
    image, crop = torch.zeros(1, 1, 8, 8), Crop(0, 0, 1, False, (4, 4))
    with pytest.raises(ValueError, match="1 images with 2 crops"):
        sample_crop(image, [crop, crop])
    with pytest.raises(ValueError, match="image_size is missing"):
        sample_crop(image, [crop], source_stride=4)
    with pytest.raises(ValueError, match=r"have \[\(5, 8\)\].*pass `origin`"):
        sample_crop(image, [crop], source_stride=4, image_size=(20, 32))
    with pytest.raises(
        ValueError, match=r"cells 0\.\.7 along y, but Crop.* needs -2\.\.1 of it.*crop_window"
    ):
        sample_crop(image, [crop], image_size=(64, 64), origin=[(2, 0)])
    with pytest.raises(ValueError, match="mode is 'cubic'"):
        sample_crop(image, [crop], mode="cubic")
    with pytest.raises(ValueError, match=r"expected \(N, 2\)"):
        move_points(torch.zeros(3), crop)


# --- coarser grids ----------------------------------------------------------------------------------------


def test_resizing_a_flow_scales_its_values():
    flow = uniform_flow(2.0, 6.0, (4, 8))
    resized = resize_flow(flow, (2, 24))
    assert resized.shape == (1, 2, 2, 24)
    torch.testing.assert_close(resized[0, :, 1, 3], torch.tensor([6.0, 3.0]))


def test_downsampled_flow_is_the_cell_mean_in_cells():
    flow = torch.stack([torch.arange(15.0).view(3, 5), torch.zeros(3, 5)])[None]
    coarse = downsample_flow(flow, 2)
    assert coarse.shape == (1, 2, 2, 3)
    assert coarse[0, 0].tolist() == [[1.5, 2.5, 3.25], [5.25, 6.25, 7.0]]  # means of repeated edges, over 2


def test_downsampled_mask_asks_for_a_share():
    mask = torch.tensor([[1, 1, 1, 0], [0, 0, 1, 1]], dtype=torch.bool).view(1, 1, 2, 4)
    assert downsample_mask(mask, 2).flatten().tolist() == [True, True]
    assert downsample_mask(mask, 2, min_share=0.75).flatten().tolist() == [False, True]
    assert downsample_mask(mask, 2, min_share=1.0).flatten().tolist() == [False, False]


@pytest.mark.parametrize("size", [(1, 1), (4, 6), (7, 5), (33, 18)])
@pytest.mark.parametrize("stride", [1, 2, 3, 5, 16, 20])
def test_a_mask_is_counted_as_its_mean_says(size, stride):
    mask = torch.rand(2, 1, *size, generator=torch.Generator().manual_seed(0)) < 0.5
    wide = [[min(i, side - 1) for i in range(-(-side // stride) * stride)] for side in size]
    mean = F.avg_pool2d(mask[:, :, wide[0]][..., wide[1]].double(), stride)
    for share in (0.25, 0.5, 1.0):
        assert torch.equal(downsample_mask(mask, stride, min_share=share), mean >= share)


# --- which flow vectors to believe ------------------------------------------------------------------------


def test_opposite_flows_are_believed_and_others_not():
    there, back = uniform_flow(2.0, 0.0, (6, 10)), uniform_flow(-2.0, 0.0, (6, 10))
    valid = forward_backward_valid(there, back)
    assert valid[..., :8].all()
    assert not valid[..., 8:].any()  # those leave the image
    assert not forward_backward_valid(there, there).any()
    back[:, :, 3, 5] = 0.0
    assert not forward_backward_valid(there, back)[0, 0, 3, 3]


def test_forward_backward_threshold_by_hand():
    there = torch.zeros(1, 2, 4, 4)
    gap = torch.zeros(1, 2, 4, 4)
    gap[:, 0] = 0.70  # 0.49 < 0.01 * 0.49 + 0.5
    assert forward_backward_valid(there, gap).all()
    gap[:, 0] = 0.72  # 0.5184 > 0.01 * 0.5184 + 0.5
    assert not forward_backward_valid(there, gap).any()


def test_photometric_mask_averages_the_grey_difference():
    target, neighbour = (torch.full((1, 3, 9, 9), 100, dtype=torch.uint8) for _ in range(2))
    flow = torch.zeros(1, 2, 9, 9)
    assert photometric_valid(target, neighbour, flow).all()
    neighbour[:, :, 4, 4] = 255  # 155 / 25 = 6.2 grey levels in each window that holds it
    assert photometric_valid(target, neighbour, flow).all()
    expected = torch.ones(9, 9, dtype=torch.bool)
    expected[2:7, 2:7] = False
    assert torch.equal(photometric_valid(target, neighbour, flow, threshold=6.0)[0, 0], expected)


def test_photometric_window_is_clipped_at_the_border():
    target, neighbour = torch.zeros(1, 3, 9, 9), torch.zeros(1, 3, 9, 9)
    neighbour[:, :, 0, 0] = 90.0  # a corner window holds 3 x 3 pixels: mean 10
    valid = photometric_valid(target, neighbour, torch.zeros(1, 2, 9, 9), threshold=9.9)
    assert not valid[0, 0, 0, 0]
    assert valid[0, 0, 2, 2]


def test_photometric_mask_follows_the_flow():
    neighbour = torch.rand(1, 3, 12, 20) * 255
    flow = uniform_flow(3.0, 0.0, (12, 20))
    target, valid = backward_warp(neighbour, flow)
    assert torch.equal(photometric_valid(target, neighbour, flow), valid)
    with pytest.raises(ValueError, match=r"expected \(B, 3, H, W\)"):
        photometric_valid(target[:, :1], neighbour, flow)
