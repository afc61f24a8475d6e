"""Weights that a run will download and packages that it needs, and whether all can be had: said before it."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from weclick.common.config_checks import reads_weights
from weclick.common.crf_package import crf_fault
from weclick.common.sections import TIMM, Config, Role
from weclick.common.stages import ROLES, takes
from weclick.runs.cam_source import trains_classifier
from weclick.train.watch.packages import watch_faults

TIMEOUT_S = 5.0
"""How long a server is waited for."""


@dataclass(frozen=True)
class Download:
    """Weights that are not on this machine yet.

    Attributes:
        option: of the configuration, which asks for them.
        url: where they come from.
        path: where torch looks for them first, and puts them. None: where the option says, since the library
            that fetches them keeps them under names that nobody would guess.
        without: what else the option may be set to, if it can do without weights.
    """

    option: str
    url: str
    path: Path | None
    without: str = ""


def trained_roles(config: Mapping[str, Any]) -> list[Role]:
    """The networks that a run trains; no classifier, if all its maps are made without."""
    taken = [role for role in ROLES if takes(config, role)]
    return [role for role in taken if role != "classifier" or trains_classifier(config)]


def needed_downloads(config: Config) -> list[Download]:
    """The weights that a configuration asks for by name and that are not on this machine."""
    wanted = [*_of_networks(config), *_of_flow(config)]
    return [download for download in wanted if not (download.path and download.path.is_file())]


def missing_packages(config: Config) -> list[str]:
    """A sentence for each network, watcher, and the CRF, that needs a package which is not installed."""
    watching = watch_faults(config["watch"])
    return [*_missing_timm(config), *watching, *filter(None, [evaluation_fault(config)])]


def evaluation_fault(config: Config) -> str:
    """Why a run's class maps cannot be post-processed as it asks; empty if they can."""
    crf = config["evaluate"]["crf"]
    return crf_fault(f"evaluate.crf is {crf}") if crf and takes(config, "evaluate") else ""


def _missing_timm(config: Config) -> list[str]:
    return [
        f"{role}.backbone is {backbone}, which needs timm, but that is not installed; run "
        "`pip install 'weclick[timm]'`, or take another backbone"
        for role in trained_roles(config)
        if (backbone := config[role]["backbone"]).startswith(TIMM) and find_spec("timm") is None
    ]


def offline_words(config: Config) -> list[str]:
    """A sentence for each download that cannot be made from here; it asks every server once.

    Weights are not needed for a network that the store already holds.
    """
    answers: dict[str, str] = {}
    told = []
    for download in needed_downloads(config):
        host = urlsplit(download.url).netloc
        if host not in answers:
            answers[host] = _fault(download.url)
        if answers[host]:
            place = f"put it into {download.path.parent}/, or " if download.path else ""
            told.append(
                f"{download.option}: the weights are not on this machine, and {host} cannot be reached "
                f"({answers[host]}); fetch {download.url} on a connected machine and {place}set "
                f"{download.option} to a file that you have{download.without}"
            )
    return told


def _of_networks(config: Config) -> list[Download]:
    asking = {
        f"{role}.pretrained": config[role]["backbone"]
        for role in trained_roles(config)
        if config[role]["pretrained"] == "imagenet"
    }
    maps = config["cams"]
    if takes(config, "cams") and reads_weights(maps) and maps["pretrained"] == "imagenet":
        asking["cams.pretrained"] = maps["backbone"]
    if not asking or _missing_timm(config):
        return []  # torchvision takes seconds to load
    from weclick.models.build import imagenet_source

    found = []
    for option, backbone in asking.items():
        with suppress(ValueError):  # no such network: `weclick doctor` and the training say so
            found.append(Download(option, *imagenet_source(backbone), _without(option)))
    return found


def _without(option: str) -> str:
    """What `pretrained` of a network may be but a file; maps of ImageNet's classes need weights."""
    return "" if option == "cams.pretrained" else ", or to null to begin with random weights"


def _of_flow(config: Config) -> list[Download]:
    flow = config["flow"]
    if flow["estimator"] != "raft" or flow["options"].get("weights", "default") != "default":
        return []
    from weclick.flow.raft import default_weights

    return [Download("flow.options.weights", *default_weights(flow["options"].get("model", "small")))]


def _fault(url: str) -> str:
    """Why a server does not answer; empty if it does."""
    try:
        opener = urllib.request.build_opener()  # that of urlopen keeps the proxies of its first use
        with opener.open(urllib.request.Request(url, method="HEAD"), timeout=TIMEOUT_S):
            return ""
    except urllib.error.HTTPError as error:
        return f"it answers {error.code}"
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error))
