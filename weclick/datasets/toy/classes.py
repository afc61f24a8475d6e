"""The classes of the procedural street, apart from what draws it: a listing needs no more than these."""

from __future__ import annotations

CLASSES: tuple[str, ...] = (
    "road", "sidewalk", "building", "sky", "vegetation", "pole", "traffic sign", "person", "car",
)  # fmt: skip
PALETTE: tuple[tuple[int, int, int], ...] = (
    (128, 64, 128), (244, 35, 232), (70, 70, 70), (70, 130, 180), (107, 142, 35), (153, 153, 153),
    (220, 220, 0), (220, 20, 60), (0, 0, 142),
)  # fmt: skip
INSTANCE_CLASSES: tuple[str, ...] = ("person", "car")
