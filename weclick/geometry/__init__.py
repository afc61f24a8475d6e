"""The one coordinate convention: pixel grids, flows, crops, backward warps.

Pixel centres lie at integers, so an image of H rows covers y in [-0.5, H-0.5]. A flow is (dx, dy) in pixels
of the grid it lives on. A grid of stride s has ceil(H/s) rows; its cell i is centred at (i + 0.5) * s - 0.5
full-resolution pixels, which is what `align_corners=False` means.

Values outside an image repeat its border; a mask always marks them.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
    from weclick.geometry.grid import downsample_flow, downsample_mask, resize_flow
    from weclick.geometry.masks import (
        LUMA,
        forward_backward_valid,
        photometric_valid,
        photometric_valid_among,
    )
    from weclick.geometry.resample import BAND, Decode, Taps, sample_together
    from weclick.geometry.size import grid_size
    from weclick.geometry.stack import StackOptions, each_once, motion_stack
    from weclick.geometry.warp import backward_warp, backward_warp_nearest
else:  # torch takes seconds to load, and who only asks for a grid's size does without

    def __getattr__(name: str) -> object:
        """Load modules until one has the public name that is asked for."""
        from importlib import import_module

        for module in ("size", "grid", "masks", "warp", "crop", "resample", "stack", "camera"):
            if name in __all__ and hasattr(found := import_module(f"{__name__}.{module}"), name):
                return getattr(found, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


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
    "photometric_valid_among",
    "resize_flow",
    "sample_crop",
    "sample_flow_crop",
    "sample_together",
]
