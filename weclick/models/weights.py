"""Pretrained weights of a backbone: its publisher's by name, or a file with its key names."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import safetensors.torch
import torch
import torchvision.models as tv
from torch import Tensor, nn

from weclick.models.archive import check_archive

CLASSIFIER_KEYS = ("fc.", "classifier.")
"""Prefixes of the keys of torchvision's ImageNet classifiers, which a backbone does not have."""

_TIMM_RELEASE = "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights"
TIMM_FILES = {"efficientnet_lite0": f"{_TIMM_RELEASE}/tf_efficientnet_lite0-0aa007d2.pth"}
"""Backbones whose weights, and whose names in them, are timm's -> the address of these weights."""

_DIGEST_IN_NAME = re.compile(r"-(?=[0-9]*[a-f])([0-9a-f]{8,64})$")
"""torch.hub puts the start of the SHA-256 into names: resnet18-f37072fd.pth. Digits alone may be a date."""


def load_backbone_weights(backbone: nn.Module, name: str, source: str | Path) -> None:
    """Load ImageNet weights into a backbone.

    Args:
        backbone: with torchvision's key names, or timm's for those of TIMM_FILES.
        name: e.g. resnet18; for "imagenet" it names torchvision's weights, which are downloaded once.
        source: "imagenet", or the path of a .safetensors or .pth file; no code in it is run. If its name
            ends in a digest, as with torchvision's files, the content must match. Classifier keys are
            ignored. A compact backbone also ignores the deeper blocks that it lacks.

    Raises:
        ValueError: the file is missing, unreadable, of another digest or of a deeper network; or keys are
            missing or have wrong shapes.
    """
    state = read_pretrained(name, source)
    own = backbone.state_dict()
    given = {key: value for key, value in state.items() if not key.startswith(CLASSIFIER_KEYS)}
    deeper = [] if name.endswith("_compact") else [key for key in given if key not in own]
    fit_weights(
        backbone,
        given,
        {key: key for key in own},
        beyond=deeper,
        backbone=name,
        source=source,
        naming="timm" if name in TIMM_FILES else "torchvision",
    )


def read_pretrained(name: str, source: str | Path) -> dict[str, Tensor]:
    """A backbone's weights by name, with those of its classifier; see `load_backbone_weights`."""
    return _download(name) if source == "imagenet" else read_weights(Path(source))


def fit_weights(
    module: nn.Module,
    given: Mapping[str, Tensor],
    names: Mapping[str, str],
    *,
    beyond: Sequence[str],
    backbone: str,
    source: str | Path,
    naming: str = "torchvision",
) -> None:
    """Load tensors into a module; all of its own have to be given, of its shapes.

    Args:
        module: to load into.
        given: tensors by their names in the source.
        names: of every tensor of the module in the source. Counters of batch norm may be missing there.
        beyond: names in the source that this network has not.
        backbone: name of the network, for errors.
        source: of the tensors, for errors.
        naming: whose names are expected, for errors.

    Raises:
        ValueError: tensors are missing, have other shapes, or belong to a deeper network.
    """
    own = module.state_dict()
    missing = [key for key in own if names[key] not in given and not key.endswith("num_batches_tracked")]
    wrong = [key for key in own if names[key] in given and given[names[key]].shape != own[key].shape]
    if beyond and not missing:
        raise ValueError(
            f"{source}: holds {len(beyond)} keys beyond backbone {backbone}, first {beyond[0]}; it is of a "
            "deeper network: give the weights of this one"
        )
    if missing or wrong:
        first = (missing or wrong)[0]
        name = names[first]
        found = f", found {tuple(given[name].shape)}" if name in given else ""
        raise ValueError(
            f"{source}: does not fit backbone {backbone}: {len(missing)} keys missing, {len(wrong)} of "
            f"another shape, first {name} {tuple(own[first].shape)}{found}; expected {naming}'s key names "
            f"for this backbone, but the file begins with {', '.join(list(given)[:3])}"
        )
    module.load_state_dict({key: given[names[key]] for key in own if names[key] in given}, strict=False)


def imagenet_weights(name: str) -> tuple[str, Path]:
    """Where the weights of a backbone come from, and the file in which torch keeps them."""
    url = TIMM_FILES.get(name) or _torchvision_weights(name).url
    return url, Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]


def _torchvision_weights(name: str) -> Any:
    return tv.get_model_weights("mobilenet_v2" if name.startswith("mobilenetv2") else name).DEFAULT


def _download(name: str) -> dict[str, Tensor]:
    try:
        if name in TIMM_FILES:
            state = torch.hub.load_state_dict_from_url(
                TIMM_FILES[name], map_location="cpu", check_hash=True, weights_only=True
            )
        else:
            state = _torchvision_weights(name).get_state_dict(progress=True, check_hash=True)
    except (OSError, RuntimeError) as error:
        url, path = imagenet_weights(name)
        raise ValueError(
            f"pretrained is imagenet, but {url} could not be downloaded ({error}); fetch it on a connected "
            f"machine and put it into {path.parent}/, or set pretrained to a file that you have, or to null"
        ) from error
    _, file = imagenet_weights(name)
    if file.is_file():  # torch checks it at the download alone
        _check_digest(file)
    return state


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors or .pth file, by name; no code in it is run.

    Raises:
        ValueError: the file is missing, unreadable, or of another digest than its name promises.
    """
    if not path.is_file():
        raise ValueError(
            f"{path}: cannot be read, there is no such file; correct `pretrained`, or set it to imagenet for "
            "the backbone's own weights"
        )
    _check_digest(path)
    try:
        state = _unpack(path)
    except UnpicklingError as error:
        raise ValueError(
            f"{path}: cannot be read as weights: it is a damaged pickle, or one that wants to run code, "
            "which was refused and not run; save the bare state_dict, best as .safetensors"
        ) from error
    except Exception as error:  # a damaged archive fails anywhere in its reader
        raise ValueError(
            f"{path}: cannot be read as .safetensors or .pth weights ({first_line(error)}); fetch the file "
            "again, or set `pretrained` to imagenet for the backbone's own"
        ) from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(
            f"{path}: holds a {type(state).__name__}, expected a state_dict of tensors by name; save "
            "model.state_dict() alone"
        )
    return state


def _unpack(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return safetensors.torch.load_file(path)
    check_archive(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _check_digest(path: Path) -> None:
    named = _DIGEST_IN_NAME.search(path.stem)
    if named is None:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(named[1]):
        raise ValueError(
            f"{path}: its SHA-256 begins with {found[: len(named[1])]}, but its name promises {named[1]}; "
            "it was altered or cut short: fetch it again, or rename it if the name means something else"
        )


def first_line(error: Exception) -> str:
    """What an error says on its first line, or its type."""
    return (str(error).splitlines() or [type(error).__name__])[0]
