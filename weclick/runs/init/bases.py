"""Settings of networks and losses for each method and machine, from files that weclick brings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from weclick.common.config import complete_config
from weclick.common.sections import Method
from weclick.common.shipped import shipped
from weclick.common.yaml_files import parse_yaml

Machine = Literal["small", "gpu"]
MACHINES: tuple[Machine, ...] = get_args(Machine)

_BLOCK = re.compile(r"^(\w+):.*\n(?:(?:[ \t].*)?\n)*", re.M)
_COMMENT = re.compile(r" +#.*$", re.M)
_WEIGHTS = re.compile(r"(pretrained: )\S+\.safetensors")
_FITTED = {
    *("version", "method", "serves", "results", "seed", "supervision", "data", "clicks", "tags"),
    *("cams", "evaluate", "flow", "frames", "cache"),
}
"""Sections that follow from a data set; of `cams` the KEPT lines are taken."""
_KEPT = re.compile(r"^  (?:backbone|pretrained|scales|flip|merge): .*\n", re.M)
CROP_MULTIPLE = 16


@dataclass(frozen=True)
class Base:
    """A configuration that weclick brings.

    Attributes:
        name: of its file.
        short_px: the short side of the frames that its settings are for.
        whole: networks whose crops show the whole frame, since its tags are those of the whole frame.
        without: sections that are for its own data set.
        told: whether its comments fit other data sets, too.
    """

    name: str
    short_px: int
    whole: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    told: bool = False


BASES: dict[tuple[Method, Machine], Base] = {
    ("weclick", "small"): Base("folder_small", 270, told=True),
    ("weclick", "gpu"): Base("folder", 1080, told=True),
    ("f2f", "small"): Base("f2f_davis", 240, whole=("classifier",)),
    ("f2f", "gpu"): Base("f2f_voc", 360, without=("proxy_labels",)),  # whose images have no neighbours
    ("two_stream", "small"): Base("tags_videos", 270, whole=("student",), told=True),
    ("two_stream", "gpu"): Base("two_stream_camvid", 360, whole=("student",)),
    ("maskconsist", "small"): Base("maskconsist_davis", 160, whole=("classifier", "detector")),
    ("maskconsist", "gpu"): Base("maskconsist_youtube_vis", 360, whole=("detector",)),
}


def base_of(method: Method, machine: Machine) -> Base:
    """The configuration to begin with."""
    return BASES[method, machine]


def shrink_for(base: Base, frame_px: tuple[int, int]) -> int:
    """`data.shrink` that brings frames to about the size of the base's."""
    return max(1, round(min(frame_px) / base.short_px))


def settings(base: Base, frame_px: tuple[int, int]) -> str:
    """The base's sections of networks and losses, as they stand in its file.

    Args:
        base: see `base_of`.
        frame_px: (H, W) of frames as they are read.
    """
    blocks = _blocks(base)
    kept = {name: text for name, text in blocks.items() if name not in {*_FITTED, *base.without}}
    for role in base.whole:
        kept[role] = _with_crop(kept[role], role, frame_px)
    return "\n".join(f"{text.rstrip()}\n" for text in kept.values())


def map_settings(base: Base) -> str:
    """The lines of the base's section `cams` that suit any data set; empty if it has none."""
    return "".join(_KEPT.findall(_blocks(base).get("cams", "")))


def _blocks(base: Base) -> dict[str, str]:
    """Section -> its lines."""
    text = shipped(f"config/{base.name}.yaml").read_text(encoding="utf-8")
    text = _WEIGHTS.sub(r"\1imagenet", text if base.told else _COMMENT.sub("", text))
    return {found[1]: found[0] for found in _BLOCK.finditer(text)}


def _with_crop(text: str, role: str, frame_px: tuple[int, int]) -> str:
    """A section whose crop shows the whole frame at the middle of its scales."""
    low, high = complete_config(parse_yaml(text, role))[role]["scale"]  # type: ignore[literal-required]
    scale = (low * high) ** 0.5
    sides = [-(-round(side * scale) // CROP_MULTIPLE) * CROP_MULTIPLE for side in frame_px]
    return re.sub(r"^  crop: .*$", f"  crop: {sides} # the whole frame", text, flags=re.M)
