"""Ghosts: clicks of nearby frames, carried along DIS flow to the frame that is shown.

On CamVid at 15 Hz a carried click has the right class in 94 % after 1 frame, 85 % after 5 and 62 % after 20.
With a forward-backward error of at most 1 px it is 92 % after 5. So a ghost comes from at most 5 frames away,
has to come back to where it began, and becomes a click only when a person says so.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from weclick.runs.click.frames import Frames
from weclick.runs.click.media import Place

REACH = 5
ERROR_PX = 1.0
"""Largest forward-backward error, in px of the grid on which the flow is estimated."""

SIDE_PX = 960
"""The flow is estimated on frames whose longer side is at most this: 0.2 s for both directions."""

SAME_PX = 12
"""A ghost so near a click or another ghost of its class is of the same object. In px of the full frame."""

KEPT_FLOWS = 24


class Ghosts:
    """Carries clicks. Flows are kept for a while, since people step back and forth."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self._flows: OrderedDict[tuple[Place, Place], tuple[np.ndarray, np.ndarray]] = OrderedDict()
        self._lock = threading.Lock()

    def at(self, place: Place, clicks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Ghosts on a frame.

        Args:
            place: of the frame.
            clicks: of the same clip on frames at most REACH away, and on the frame itself.

        Returns:
            For each ghost `of`, the id of its click, and y, x and class, the nearest frames' first.
        """
        clip, frame = place
        points = [click for click in clicks if "y" in click]
        shown = [click for click in points if click["frame"] == frame]
        found: list[dict[str, Any]] = []
        for other in sorted({click["frame"] for click in points} - {frame}, key=lambda at: abs(at - frame)):
            if abs(other - frame) > REACH:
                continue
            sources = [click for click in points if click["frame"] == other]
            for click, yx in zip(sources, self._carried((clip, other), place, sources), strict=True):
                if yx is None:
                    continue
                ghost = {"of": click["id"], "y": yx[0], "x": yx[1], "class": click["class"]}
                if not any(_is_same(ghost, known) for known in (*shown, *found)):
                    found.append(ghost)
        return found

    def _carried(
        self, source: Place, target: Place, clicks: Sequence[Mapping[str, Any]]
    ) -> list[tuple[int, int] | None]:
        """Where each click lies on the target frame; None if it does not come back, or leaves the frame."""
        there, back = self._both(source, target)
        height, width = self._frames.media.size(target)
        scale = np.array([width / there.shape[1], height / there.shape[0]], np.float32)
        began = np.array([[click["x"], click["y"]] for click in clicks], np.float32)
        began = (began + 0.5) / scale - 0.5
        ended = began + _sampled(there, began)
        error = np.linalg.norm(ended + _sampled(back, ended) - began, axis=1)
        pixels = np.floor((ended + 0.5) * scale).astype(int)
        inside = ((pixels >= 0) & (pixels < [width, height])).all(1)
        good = inside & (error <= ERROR_PX)
        return [(int(y), int(x)) if ok else None for (x, y), ok in zip(pixels, good, strict=True)]

    def _both(self, source: Place, target: Place) -> tuple[np.ndarray, np.ndarray]:
        """The flows source -> target and back, (h, w, 2) float32 px, on the smaller grid."""
        with self._lock:
            known = self._flows.get((source, target))
            if known is None:
                first, second = (_small(self._frames.image(place)) for place in (source, target))
                known = _flow(first, second), _flow(second, first)
                self._flows[source, target] = known
                self._flows[target, source] = known[::-1]
                while len(self._flows) > KEPT_FLOWS:
                    self._flows.popitem(last=False)
            return known


def _is_same(ghost: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
    apart = np.hypot(ghost["y"] - known["y"], ghost["x"] - known["x"])
    return ghost["class"] == known["class"] and bool(apart <= SAME_PX)


def _small(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    shrink = min(1.0, SIDE_PX / max(height, width))
    size = max(round(width * shrink), 1), max(round(height * shrink), 1)
    return image if shrink == 1 else cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    import torch  # takes seconds to load, and only ghosts and predictions need it

    from weclick.flow.dis import Dis

    images = (torch.from_numpy(image).permute(2, 0, 1)[None] for image in (first, second))
    return Dis("fast").estimate(*images)[0].permute(1, 2, 0).numpy()


def _sampled(flow: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """(N, 2) flow at places between pixels; outside the frame the border's."""
    x, y = xy[:, :1].astype(np.float32), xy[:, 1:].astype(np.float32)
    return cv2.remap(flow, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[:, 0]
