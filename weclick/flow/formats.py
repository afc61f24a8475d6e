"""Flow in the two file formats that other tools know: Middlebury `.flo` and KITTI PNG.

Arrays are (2, H, W) float32: u = dx to the right, v = dy down, in px of the image.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from weclick.common.content import RUN_AGAIN, read_content
from weclick.common.errors import InputError, MissingFileError
from weclick.common.files import write_bytes

FLO_TAG = 202021.25
"""First number of every `.flo` file; read with the wrong byte order it is something else."""

UNKNOWN_PX = 1e9
"""Middlebury's `.flo` files hold values beyond this where the flow is not known."""

KITTI_SCALE = 64
KITTI_ZERO = 2**15

SUFFIXES = (".flo", ".png")


def read_flow_file(path: Path, sha256: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Read a flow in either format, told apart by the ending of its name.

    Args:
        path: of the file.
        sha256: hex digest that its content must have; None takes any content.

    Returns:
        (2, H, W) float32 px, 0 where not known; and (H, W) bool, where the file knows the flow.

    Raises:
        ChangedFileError: its content has another digest.
        MissingFileError: there is no such file.
        ValueError: the name has another ending, or as in `read_flo` and `read_kitti_flow`.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(
            f"{path}: there is no such flow file; correct the path, or make the file first"
        )
    match path.suffix.lower():
        case ".png":
            return read_kitti_flow(path, sha256)
        case ".flo":
            flow = read_flo(path, sha256)
            known = (np.abs(flow) < UNKNOWN_PX).all(0)
            return np.where(known, flow, np.float32(0)), known
    raise InputError(
        f"{path}: is no flow file by its name; expected one that ends in {' or '.join(SUFFIXES)}"
    )


def read_flo(path: Path, sha256: str | None = None) -> np.ndarray:
    """Read a Middlebury `.flo` file: tag, width, height, then (u, v) by rows, all little-endian.

    Returns:
        (2, H, W) float32 px, as stored; Middlebury writes values above 1e9 where the flow is unknown.

    Raises:
        ValueError: the tag is another, or the data are not as long as width and height say.
    """
    data = read_content(path, sha256, RUN_AGAIN)
    tag = float(np.frombuffer(data[:4], "<f4")[0]) if len(data) >= 12 else None
    if tag != FLO_TAG:
        found = f"begins with {tag}" if tag is not None else f"has {len(data)} bytes only"
        raise ValueError(f"{path}: {found}, but a .flo file begins with {FLO_TAG}; is it another format?")
    width, height = (int(side) for side in np.frombuffer(data[4:12], "<i4"))
    expected_bytes = 12 + 8 * width * height
    if min(width, height) < 1 or len(data) != expected_bytes:
        raise ValueError(
            f"{path}: has {len(data)} bytes, but its header says {width}x{height} px (WxH), which needs "
            f"{expected_bytes}; the file is cut off or damaged: copy it again"
        )
    values = np.frombuffer(data, "<f4", offset=12).reshape(height, width, 2)
    return np.ascontiguousarray(values.transpose(2, 0, 1), dtype=np.float32)


def write_flo(path: Path, flow: np.ndarray) -> None:
    """Write a (2, H, W) flow in px as a Middlebury `.flo` file.

    Raises:
        ValueError: the array is of another shape.
    """
    _, height, width = _check_shape(flow)
    head = np.array([FLO_TAG], "<f4").tobytes() + np.array([width, height], "<i4").tobytes()
    write_bytes(path, head + flow.transpose(1, 2, 0).astype("<f4").tobytes())


def read_kitti_flow(path: Path, sha256: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Read a KITTI flow PNG: 16 bits, R = 64 u + 2^15, G = 64 v + 2^15, B = valid.

    Returns:
        (2, H, W) float32 px, 0 where not valid; and (H, W) bool, where the file knows the flow.

    Raises:
        ValueError: the file is no 16-bit image of three channels.
    """
    try:
        data = np.frombuffer(read_content(path, sha256, RUN_AGAIN), np.uint8)
    except FileNotFoundError:
        data = np.empty(0, np.uint8)
    bgr = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    if bgr is None or bgr.dtype != np.uint16 or bgr.ndim != 3 or bgr.shape[2] != 3:
        found = "cannot be read as an image" if bgr is None else f"holds {bgr.dtype} of shape {bgr.shape}"
        raise ValueError(f"{path}: {found}, but a KITTI flow is a 16-bit PNG of three channels (H, W, 3)")
    valid = bgr[..., 0] > 0
    codes = bgr[..., 2:0:-1].transpose(2, 0, 1).astype(np.float32)
    return np.where(valid, (codes - KITTI_ZERO) / KITTI_SCALE, np.float32(0)), valid


def write_kitti_flow(path: Path, flow: np.ndarray, valid: np.ndarray | None = None) -> None:
    """Write a flow as a KITTI PNG, rounded to the nearest 1/64 px (the official kit rounds down).

    Args:
        path: a name that ends in .png.
        flow: (2, H, W) px, within -512..+511.98 where valid.
        valid: (H, W) bool; None: all of it.

    Raises:
        ValueError: another shape, a valid value that does not fit, or a path that cannot be written.
    """
    shape = _check_shape(flow)
    valid = np.ones(shape[1:], bool) if valid is None else np.asarray(valid, bool)
    codes = np.where(valid, np.rint(flow * KITTI_SCALE + KITTI_ZERO), 0)
    fits = (codes >= 0) & (codes <= np.iinfo(np.uint16).max)
    if not fits.all():
        raise ValueError(
            f"{path}: {np.count_nonzero(~fits)} values such as {flow[~fits].flat[0]} px do not fit KITTI's "
            "-512..+511.98 px; mark them invalid, or write .flo"
        )
    bgr = np.stack([valid, codes[1], codes[0]], -1).astype(np.uint16)
    if Path(path).suffix != ".png" or not Path(path).parent.is_dir():
        raise ValueError(f"{path}: cannot be written; does its folder exist, and does the name end in .png?")
    write_bytes(path, cv2.imencode(".png", bgr)[1].tobytes())  # imwrite does not tell a full disk


def _check_shape(flow: np.ndarray) -> tuple[int, int, int]:
    if flow.ndim != 3 or flow.shape[0] != 2:
        raise ValueError(
            f"flow has shape {flow.shape}, expected (2, H, W); move its axis of (u, v) to the front"
        )
    return flow.shape[0], flow.shape[1], flow.shape[2]
