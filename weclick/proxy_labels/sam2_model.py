"""SAM 2's video model: where its files lie, and how it is loaded."""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from weclick.common.bounded_json import parse_json, read_bounded
from weclick.common.content import RUN_AGAIN, check_content
from weclick.common.errors import InputError, MissingFileError
from weclick.common.sections import HUB

KEY = "proxy_labels.sam2.model"
CONFIG = "config.json"
KIND = "sam2_video"
"""`model_type` of SAM 2's video model in transformers' files."""

_ON_HUB = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_EXAMPLE = "`hf download facebook/sam2.1-hiera-tiny --local-dir FOLDER`"


def model_files(model: str | None) -> list[Path]:
    """The files that make a model: its configuration first, then its weights.

    Args:
        model: `proxy_labels.sam2.model`. A folder; or `hub:` and a name on Hugging Face's hub, which is
            downloaded if no earlier download is there. Nothing else leads to the network.

    Raises:
        InputError: it is null, no name of a hub, or the download failed.
        MissingFileError: there is no such folder, or it lacks a file.
    """
    if model is None:
        raise InputError(
            f"proxy_labels.source is sam2, but {KEY} is null; name the folder of a SAM 2 video model "
            f"({CONFIG} and .safetensors), as {_EXAMPLE} makes it"
        )
    folder = _downloaded(model.removeprefix(HUB)) if model.startswith(HUB) else Path(model)
    files = _files_in(folder)
    if len(files) < 2:
        lacking = CONFIG if not (folder / CONFIG).is_file() else ".safetensors"
        found = f"has no {lacking}" if folder.is_dir() else "is no folder"
        raise MissingFileError(
            f"{folder}: {found}; {KEY} names the folder of a SAM 2 video model, {CONFIG} and .safetensors, "
            f"as {_EXAMPLE} makes it"
        )
    return files


def load_sam2(files: Mapping[Path, str], device: str) -> Any:
    """The network, ready to track.

    Args:
        files: as `model_files` lists them -> SHA-256 of their content.
        device: where it runs.

    Returns:
        transformers' Sam2VideoModel in single precision.

    Raises:
        InputError: transformers is missing, the files are of another network or damaged, or they changed.
    """
    config, *_ = files
    _check_kind(config)
    transformers = _package("transformers", "Sam2VideoModel")
    transformers.utils.logging.disable_progress_bar()
    try:
        model, told = transformers.Sam2VideoModel.from_pretrained(
            config.parent,
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except MemoryError:
        raise
    except Exception as error:  # a damaged file fails anywhere in its reader
        raise InputError(
            f"{config.parent}: cannot be loaded as a SAM 2 video model ({_line(error)}); fetch it again"
        ) from error
    if lacking := sorted(told["missing_keys"]):
        raise InputError(
            f"{config.parent}: lacks {len(lacking)} tensors of a SAM 2 video model, first {lacking[0]}; "
            "fetch it again"
        )
    for path, sha256 in files.items():
        check_content(path, sha256, RUN_AGAIN)
    return model.eval().to(device)


def _files_in(folder: Path) -> list[Path]:
    config = folder / CONFIG
    return [path for path in (config, *sorted(folder.glob("*.safetensors"))) if path.is_file()]


def _check_kind(config: Path) -> None:
    try:
        told = parse_json(read_bounded(config), "it is no configuration of a model")
        kind = told.get("model_type") if isinstance(told, dict) else None
    except ValueError as error:
        raise InputError(f"{config}: is no JSON ({_line(error)}); fetch the model again") from error
    if kind != KIND:
        raise InputError(
            f"{config}: is of a model of type {kind!r}, expected {KIND!r}, transformers' SAM 2 for videos; "
            f"correct {KEY}"
        )


def _downloaded(name: str) -> Path:
    """The folder of a model of the hub. An earlier download is taken without a question to the network."""
    if not _ON_HUB.fullmatch(name):
        raise InputError(
            f"{KEY} is {HUB + name!r}, expected {HUB} and a name on Hugging Face's hub, such as "
            f"{HUB}facebook/sam2.1-hiera-tiny, or a folder"
        )
    hub = _package("huggingface_hub", "snapshot_download")
    wanted = {"allow_patterns": [CONFIG, "*.safetensors", "*.safetensors.index.json"]}
    errors = importlib.import_module("huggingface_hub.errors")
    try:
        folder = Path(hub.snapshot_download(name, local_files_only=True, **wanted))
        if len(_files_in(folder)) > 1:
            return folder
    except errors.LocalEntryNotFoundError:  # it was never downloaded
        folder = Path()
    try:
        return Path(hub.snapshot_download(name, **wanted))
    except Exception as error:  # the hub's, the network's and the disk's errors
        raise InputError(
            f"{KEY} is {HUB + name!r}, which could not be downloaded ({_line(error)}); fetch it on a "
            f"connected machine by `hf download {name} --local-dir FOLDER`, and name that folder"
        ) from error


def _package(name: str, needed: str) -> Any:
    module = importlib.import_module(name) if importlib.util.find_spec(name) else None
    if not hasattr(module, needed):
        found = "is not installed" if module is None else f"has no {needed}: it is too old"
        raise InputError(
            f"proxy_labels.source is sam2, but the package {name} {found}; run `pip install -U "
            "'weclick[sam2]'`"
        )
    return module


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
