"""Backbones from timm, a library of many hundred networks: `timm/<name>`.

timm is an extra, so this module is imported only when a network asks for it. The code in a network's key
counts this file only then, see `Recipe.code_modules`.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from timm.layers import Conv2dSame, convert_sync_batchnorm
from torch import Tensor
from torch.nn.functional import pad

from weclick.models.backbones import Backbone
from weclick.models.normalize import IMAGENET_MEAN, IMAGENET_STD
from weclick.models.same_padding import SameConv, cells
from weclick.models.weights import first_line, fit_weights, read_weights

LOW_STRIDE = 4
"""Stride of the features that a decoder refines edges with."""

TRIED_STRIDES = (8, 16, 32)
"""Output strides that are tried to say what a network offers."""


class TimmBackbone(Backbone):
    """A feature extractor of timm, its state under `net.`.

    As every backbone it takes images that are normalised with ImageNet's mean and standard deviation. timm's
    networks may want others (their `default_cfg`): `forward` converts the images. Scale and shift lie in the
    state, so a trained network keeps them whatever a later timm says.

    Args:
        net: as `timm.create_model(..., features_only=True)` gives it.
        even: it loses the last rows and columns of sizes that its stride does not divide. Images are then
            padded at the right and below with the mean colour, and the features are cut back.
    """

    input_scale: Tensor
    input_shift: Tensor

    def __init__(self, net: Any, *, even: bool):
        super().__init__()
        self.net, self.even = net, even
        strides, channels = net.feature_info.reduction(), net.feature_info.channels()
        deep = len(strides) - 1
        low = deep - strides[::-1].index(LOW_STRIDE)
        self.picked = low, max(low, deep - 1), deep
        self.low_channels, self.middle_channels, self.channels = (channels[i] for i in self.picked)
        self.strides, self.stride = strides, strides[deep]
        padding: list[Any] = [part for part in net.modules() if type(part) is Conv2dSame]
        for part in padding:
            part.__class__ = SameConv
        mean, std, own_mean, own_std = (
            torch.tensor(values).view(3, 1, 1)
            for values in (IMAGENET_MEAN, IMAGENET_STD, net.default_cfg["mean"], net.default_cfg["std"])
        )
        self.register_buffer("input_scale", std / own_std)
        self.register_buffer("input_shift", (mean - own_mean) / own_std)

    def levels(self, images: Tensor) -> Iterator[Tensor]:
        """See `Backbone`."""
        height, width = images.shape[-2:]
        if self.even:
            right, below = (cells(side, self.stride) * self.stride - side for side in (width, height))
            images = pad(images, (0, right, 0, below))
        features = self.net(images * self.input_scale + self.input_shift)
        for level, s in zip(features, self.strides, strict=True):
            yield level[..., : cells(height, s), : cells(width, s)] if self.even else level

    def share_statistics(self) -> None:
        """See `Backbone`. Some of timm's batch norms hold an activation, which torch's own way loses."""
        convert_sync_batchnorm(self)


def timm_backbone(name: str, output_stride: int, pretrained: str | Path | None) -> TimmBackbone:
    """A backbone from timm.

    Args:
        name: timm's, with or without a tag of its weights: resnet50, tf_efficientnet_lite0.in1k.
        output_stride: of the deepest features, px.
        pretrained: None (random), "imagenet" (the weights that timm names, downloaded once), or a
            .safetensors or .pth file with timm's key names; a classifier in it is ignored.

    Raises:
        ValueError: timm has no such network; it does not offer that output stride, or no features at stride
            4; or the weights are not there, or do not fit.
    """
    check_known(name)
    options, even = _options_for(name, output_stride)
    if pretrained == "imagenet":
        return TimmBackbone(_with_hub_weights(name, options), even=even)
    net = _create(name, options)
    if pretrained is not None:
        _load(net, name, Path(pretrained))
    return TimmBackbone(net, even=even)


def check_known(name: str) -> None:
    """Check that the installed timm has a network of that name, and weights of its tag if it has one.

    Raises:
        ValueError: it has not.
    """
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f"; did you mean {' or '.join(f'timm/{each}' for each in near)}?" if near else ""
        raise ValueError(f"backbone is 'timm/{name}', but timm {timm.__version__} has no such network{hint}")
    architecture, _, tag = name.partition(".")
    if tag and name not in (known := timm.list_pretrained(f"{architecture}.*")):
        raise ValueError(
            f"backbone is 'timm/{name}', but timm {timm.__version__} has no weights of that tag; expected "
            f"{', '.join(known) or 'no tag'}"
        )


def hub_weights(name: str) -> tuple[str, Path | None]:
    """Where timm's own weights of a network come from, and the file if they were fetched before.

    Raises:
        ValueError: timm has no such network, or no weights of it.
    """
    check_known(name)
    source: Any = timm.get_pretrained_cfg(name)
    if source is not None and source.hf_hub_id:
        from huggingface_hub import try_to_load_from_cache

        file = source.hf_hub_filename or "model.safetensors"
        found = try_to_load_from_cache(source.hf_hub_id, file)
        address = f"https://huggingface.co/{source.hf_hub_id}/resolve/main/{file}"
        return address, Path(found) if isinstance(found, str) else None
    if source is not None and source.url:
        path = Path(torch.hub.get_dir()) / "checkpoints" / source.url.rsplit("/", 1)[-1]
        return source.url, path if path.is_file() else None
    raise ValueError(f"timm has no weights of {name}; set pretrained to a file that you have, or to null")


def _create(name: str, options: Mapping[str, Any]) -> Any:
    return timm.create_model(name, features_only=True, **options)


def _with_hub_weights(name: str, options: Mapping[str, Any]) -> Any:
    address, _ = hub_weights(name)
    try:
        return _create(name, {**options, "pretrained": True})
    except Exception as error:  # the hub's client passes on errors of several libraries
        raise ValueError(
            f"pretrained is imagenet, but {address} could not be fetched and loaded ({first_line(error)}); "
            "get it on a connected machine and set pretrained to that file, or to null"
        ) from error


def _options_for(name: str, output_stride: int) -> tuple[dict[str, Any], bool]:
    """What to ask timm for, so that the deepest features have that stride; and see `even`."""
    for options in ({"output_stride": output_stride}, {}):
        stride, even = _tried(name, options)
        if stride == output_stride:
            return options, even
    choices = [{}, *({"output_stride": stride} for stride in TRIED_STRIDES)]
    offered = sorted({_tried(name, options)[0] for options in choices} - {0})
    if not offered:
        raise ValueError(
            f"timm/{name} gives no features at stride {LOW_STRIDE} and deeper for images of any size, which "
            "a network here needs; take a convolutional one, such as timm/resnet50d or timm/convnext_tiny"
        )
    raise ValueError(
        f"output_stride is {output_stride}, but timm/{name} offers {' and '.join(map(str, offered))}; set "
        "output_stride to one of these, or take another backbone"
    )


def _tried(name: str, options: Mapping[str, Any]) -> tuple[int, bool]:
    """The stride of the deepest features that timm gives for these options, 0 if they are of no use; `even`.

    Networks refuse options in many ways, or pass over them. So one is built without memory, and tried.
    """
    try:
        with torch.device("meta"):
            net = _create(name, options).eval()
    except Exception:  # see above
        return 0, False
    strides = net.feature_info.reduction()
    if LOW_STRIDE not in strides or not _covers(net, 160, 192):
        return 0, False
    return strides[-1], not _covers(net, 161, 195)


def _covers(net: Any, height: int, width: int) -> bool:
    """Whether a network's features have the shapes that it tells, and cover an image of that size."""
    try:
        shapes = [tuple(feature.shape) for feature in net(torch.empty(1, 3, height, width, device="meta"))]
    except Exception:  # a network for images of one size alone
        return False
    told = zip(net.feature_info.channels(), net.feature_info.reduction(), strict=True)
    return shapes == [(1, count, cells(height, s), cells(width, s)) for count, s in told]


def _load(net: Any, name: str, path: Path) -> None:
    state = read_weights(path)
    with torch.device("meta"):
        known = timm.create_model(name).state_dict().keys()
    fit_weights(
        net,
        state,
        {key: _name_in_timm(key, known) for key in net.state_dict()},
        beyond=[key for key in state if key not in known],
        backbone=f"timm/{name}",
        source=path,
        naming="timm",
    )


def _name_in_timm(key: str, known: Collection[str]) -> str:
    """The name of an extractor's tensor in the whole network.

    An extractor may say `stages_0.` for `stages.0.`, or hold the whole network under one more name.
    """
    first, _, rest = key.partition(".")
    split = [f"{first[:i]}.{first[i + 1 :]}.{rest}" for i, letter in enumerate(first) if letter == "_"]
    return next((each for each in (key, rest, *split) if each in known), key)
