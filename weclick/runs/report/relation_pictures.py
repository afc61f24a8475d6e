"""Edges and displacements of a network of relations, as pictures."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import nn

from weclick.models import normalize
from weclick.runs.report.flow_color import flow_to_rgb
from weclick.runs.report.pictures import fit
from weclick.runs.report.strip_gallery import trust_to_rgb

EVERY_PX, DOT_PX = 26, 2
"""Distance of the lines that show displacements in a picture, and the radius of the dots at their ends."""

INK = (20, 20, 20)


@torch.inference_mode()
def relations_of(network: nn.Module, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a network of relations sees in a frame (Ahn et al. 2019).

    Args:
        network: see `weclick.models.relation.Relation`; in eval mode, on the CPU.
        image: (H, W, 3) uint8 RGB.

    Returns:
        Edges (h, w) in 0..1, the mean of the frame's and of its mirror image's as where instances are made,
        and displacements (2, h, w), (dy, dx) px of the frame. The grid is that of the network's stride.
    """
    pixels = normalize(torch.tensor(image).permute(2, 0, 1)[None].float())
    logits, moved = network(pixels)
    mirrored = network(pixels.flip(-1))[0].flip(-1)
    if image.shape[1] % network.stride:  # the mirror image's grid begins at the other end of the frame
        mirrored = logits
    edges = ((logits + mirrored) / 2).sigmoid()[0, 0]
    return edges.numpy(), (moved[0] * network.stride).numpy()


def edge_picture(edges: np.ndarray, size: tuple[int, int], stride_px: int, width_px: int) -> np.ndarray:
    """Edges from dark (none) to light, (h, width_px, 3) uint8 RGB."""
    return _framed(trust_to_rgb(edges, 0, 1), size, stride_px, width_px)


def displacement_picture(
    moved: np.ndarray, size: tuple[int, int], stride_px: int, *, max_px: float, width_px: int
) -> np.ndarray:
    """Displacements as colours of the flow's wheel, and as lines whose dots say where they end.

    Args:
        moved: (2, h, w) px of the frame, (dy, dx).
        size: (H, W) of the frame, px.
        stride_px: of the grid.
        max_px: length of the wheel's rim.
        width_px: of the picture.

    Returns:
        (height, width_px, 3) uint8 RGB.
    """
    picture = Image.fromarray(
        _framed(flow_to_rgb(moved[::-1], max_px=max_px), size, stride_px, width_px).copy()
    )
    draw, scale = ImageDraw.Draw(picture), width_px / size[1]
    for y in range(EVERY_PX // 2, picture.height, EVERY_PX):
        for x in range(EVERY_PX // 2, picture.width, EVERY_PX):
            row, column = (int(side / scale) // stride_px for side in (y, x))
            dy, dx = (float(step) * scale for step in moved[:, row, column])
            draw.line((x, y, x + dx, y + dy), fill=INK)
            draw.ellipse((x + dx - DOT_PX, y + dy - DOT_PX, x + dx + DOT_PX, y + dy + DOT_PX), fill=INK)
    return np.asarray(picture)


def _framed(cells: np.ndarray, size: tuple[int, int], stride_px: int, width_px: int) -> np.ndarray:
    """(h, w, 3) of the grid, cut to the frame, at a width; every cell a square."""
    full = cells.repeat(stride_px, 0).repeat(stride_px, 1)[: size[0], : size[1]]
    return fit(np.ascontiguousarray(full), nearest=True, width_px=width_px)
