"""Painting of the toy street: far to near, at twice the resolution, with surface ids at pixel centres."""

from __future__ import annotations

import cv2
import numpy as np

from weclick.datasets.toy.geometry import NEAR_M, NO_ID, Camera, Planes, Surface, depth_map, pixel_to_plane

_CORNERS = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0]])
_TO_FINE = np.diag([2.0, 2.0, 1.0])  # the fine grid has every pixel centre and the points half-way between
_TENT = np.array([0.25, 0.5, 0.25])
_BITS = 4  # sub-pixel bits of OpenCV's polygons
_FAR = 20_000.0  # keeps fixed-point corners within int32
_LEAST_SIDE = 0.8  # grid points; thinner planes are not painted


def paint(surfaces: list[Surface], planes: Planes, camera: Camera, frame: int) -> tuple[np.ndarray, ...]:
    """One frame without haze and noise.

    Args:
        surfaces: the scene.
        planes: its geometry.
        camera: takes the frame.
        frame: its number.

    Returns:
        image (H, W, 3) uint8; ids (H, W) int16, the surface seen at each pixel centre; projections (N, 3, 3),
        see `geometry.Planes.plane_to_pixel`.
    """
    projections = planes.plane_to_pixel(camera, frame)
    image = np.zeros((2 * camera.height - 1, 2 * camera.width - 1, 3), np.uint8)
    ids = np.zeros(image.shape[:2], np.int16)
    shown = planes.far_to_near(camera, frame)
    shown = shown[np.linalg.det(projections[shown]) > 0]
    fine = _TO_FINE @ projections[shown]
    outlines, middles = _outlines(fine)
    windows = _windows(outlines, *ids.shape)
    texels = np.array([s.texture.shape[1::-1] for s in surfaces])[shown]
    levels = _levels(texels, fine, middles)
    maps = _grid_to_texel(np.maximum(texels >> levels, 1), pixel_to_plane(fine), windows[:, :2])
    for place in np.flatnonzero(_worth_painting(outlines, windows)):
        surface, index = surfaces[shown[place]], int(shown[place])
        texture = surface.texture_at(*levels[place].tolist())
        _paint_plane(
            image, ids, texture, outlines[place], windows[place], maps[place], surface.class_id, index
        )
    smooth = cv2.sepFilter2D(image, -1, _TENT, _TENT, borderType=cv2.BORDER_REFLECT_101)
    return smooth[::2, ::2], ids[::2, ::2].copy(), projections


def add_haze(
    image: np.ndarray, ids: np.ndarray, projections: np.ndarray, colour: np.ndarray, range_m: float
) -> np.ndarray:
    """Blend a frame towards the horizon's colour with depth, as (H, W, 3) float32.

    Args:
        image: (H, W, 3) uint8.
        ids: (H, W) surface of each pixel.
        projections: (N, 3, 3) of the frame.
        colour: (3,) of the haze.
        range_m: depth at which 63 % of the light is haze; beyond ten times this is sky, which stays clear.
    """
    depth = depth_map(ids, projections)
    clear = np.where(depth > 10 * range_m, 1.0, np.exp(-depth / range_m)).astype(np.float32)[..., None]
    return image * clear + colour.astype(np.float32) * (1 - clear)


def _outlines(projections: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The unit square of each plane, cut at the near plane.

    Returns:
        (N, 5, 2) corners on the grid; the last is repeated if there are fewer. NaN if all of a plane is cut.
        (N, 3) middle (a, b, 1) of the rest, in the plane.
    """
    corners = np.repeat(_CORNERS[None, [0, 1, 2, 3, 3]], len(projections), axis=0)
    depths = projections[:, 2] @ _CORNERS.T
    for index in np.flatnonzero(depths.min(axis=1) < NEAR_M):
        corners[index] = _clip_near(depths[index])
    points = corners @ projections.transpose(0, 2, 1)
    outlines = np.clip(points[..., :2] / points[..., 2:], -_FAR, _FAR)
    return outlines, corners.mean(axis=1)


def _clip_near(depths: np.ndarray) -> np.ndarray:
    """The unit square beyond the near plane, given its corners' depths: (5, 3) corners (a, b, 1)."""
    kept = []
    for i in range(4):
        j = (i + 1) % 4
        if depths[i] >= NEAR_M:
            kept.append(_CORNERS[i])
        if (depths[i] >= NEAR_M) != (depths[j] >= NEAR_M):
            share = (NEAR_M - depths[i]) / (depths[j] - depths[i])
            kept.append(_CORNERS[i] + (_CORNERS[j] - _CORNERS[i]) * share)
    kept += [kept[-1] if kept else np.full(3, np.nan)] * (5 - len(kept))
    return np.array(kept)


def _windows(outlines: np.ndarray, height: int, width: int) -> np.ndarray:
    """(N, 4) left, top, right, bottom of each outline's box inside the grid; empty where nothing shows."""
    known = np.nan_to_num(outlines, nan=-1.0)
    low = np.maximum(np.floor(known.min(axis=1)), 0)
    high = np.minimum(np.ceil(known.max(axis=1)) + 1, (width, height))
    return np.concatenate([low, high], axis=1).astype(np.int64)


def _worth_painting(outlines: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """(N,) bool: whether a plane is on the grid and thick enough to see."""
    extent = np.nan_to_num(outlines.max(axis=1) - outlines.min(axis=1))
    return np.all(windows[:, 2:] > windows[:, :2], axis=1) & np.all(extent > _LEAST_SIDE, axis=1)


def _levels(texels: np.ndarray, projections: np.ndarray, middles: np.ndarray) -> np.ndarray:
    """(N, 2) how often to halve columns and rows of each texture until a texel is about a grid point."""
    points = np.einsum("nij,nj->ni", projections, np.nan_to_num(middles, nan=0.5))
    depth = np.where(points[:, 2] > 0, points[:, 2], 1.0)[:, None, None]
    steps = (projections[:, :2, :2] - points[:, :2, None] / depth * projections[:, 2:, :2]) / depth
    grid_per_side = np.maximum(np.hypot(steps[:, 0], steps[:, 1]), 1e-3)
    most = np.log2(texels).astype(np.int64)
    return np.clip(np.rint(np.log2(texels / grid_per_side) - 0.2).astype(np.int64), 0, most)


def _grid_to_texel(texels: np.ndarray, back: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """(N, 3, 3) from points of each window (corner: its upper left) to texels of its reduced texture."""
    maps = back.copy()
    maps[:, :2] = back[:, :2] * texels[..., None] - 0.5 * back[:, 2:]
    maps[:, :, 2] += np.einsum("nij,nj->ni", maps[:, :, :2], corners)
    return maps


def _paint_plane(
    image: np.ndarray,
    ids: np.ndarray,
    texture: np.ndarray,
    outline: np.ndarray,
    window: np.ndarray,
    grid_to_texel: np.ndarray,
    class_id: int,
    index: int,
) -> None:
    """Paint one plane over what is there, inside its outline."""
    left, top, right, bottom = window.tolist()
    here, ids_here = image[top:bottom, left:right], ids[top:bottom, left:right]
    fixed = np.rint((outline - (left, top)) * 2**_BITS).astype(np.int32)
    mask = np.zeros(here.shape[:2], np.uint8)
    cv2.fillConvexPoly(mask, fixed, 255, cv2.LINE_8, _BITS)
    flags, border = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, cv2.BORDER_REPLICATE
    warped = cv2.warpPerspective(texture, grid_to_texel, mask.shape[::-1], flags=flags, borderMode=border)
    if texture.shape[2] == 3:
        cv2.copyTo(warped, mask, here)
        cv2.fillConvexPoly(ids_here, fixed, index, cv2.LINE_8, _BITS)
        return
    alpha = np.asarray(cv2.bitwise_and(cv2.extractChannel(warped, 3), mask))
    _blend(here, warped, alpha)
    if class_id != NO_ID:
        np.copyto(ids_here, index, where=alpha > 127)


def _blend(here: np.ndarray, warped: np.ndarray, alpha: np.ndarray) -> None:
    """Premultiplied colours over what is there, in place, where alpha is not 0."""
    clear = cv2.cvtColor(cv2.bitwise_not(alpha), cv2.COLOR_GRAY2BGR)
    behind = cv2.multiply(here, clear, scale=1 / 255)
    cv2.copyTo(cv2.add(behind, cv2.cvtColor(warped, cv2.COLOR_BGRA2BGR)), alpha, here)
