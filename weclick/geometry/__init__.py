"""The one coordinate convention: pixel grids, flows, crops, backward warps.

Pixel centres lie at integers, so an image of H rows covers y in [-0.5, H-0.5]. A flow is (dx, dy) in pixels
of the grid it lives on. A grid of stride s has ceil(H/s) rows; its cell i is centred at (i + 0.5) * s - 0.5
full-resolution pixels, which is what `align_corners=False` means.

Values outside an image repeat its border; a mask always marks them.
"""

from weclick.geometry.camera import camera_flow, dominant_homography
from weclick.geometry.crop import (
    Crop,
    crop_sampling_positions,
    crop_window,
    inside_image,
    move_points,
    sample_crop,
    sample_flow_crop,
)
from weclick.geometry.grid import downsample_flow, downsample_mask, grid_size, resize_flow
from weclick.geometry.masks import LUMA, forward_backward_valid, photometric_valid
from weclick.geometry.resample import BAND, Decode, Taps, sample_together
from weclick.geometry.stack import StackOptions, each_once, motion_stack
from weclick.geometry.warp import backward_warp, backward_warp_nearest

__all__ = [
    "BAND",
    "LUMA",
    "Crop",
    "Decode",
    "StackOptions",
    "Taps",
    "backward_warp",
    "backward_warp_nearest",
    "camera_flow",
    "crop_sampling_positions",
    "crop_window",
    "dominant_homography",
    "downsample_flow",
    "downsample_mask",
    "each_once",
    "forward_backward_valid",
    "grid_size",
    "inside_image",
    "motion_stack",
    "move_points",
    "photometric_valid",
    "resize_flow",
    "sample_crop",
    "sample_flow_crop",
    "sample_together",
]
