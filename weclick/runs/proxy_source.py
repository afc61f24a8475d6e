"""What makes the proxy labels of a configuration: maps along the flow, a folder, a network, or SAM 2."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weclick.common.config_checks import check_proxy_labels
from weclick.common.digest import file_digest
from weclick.common.errors import InputError
from weclick.common.sections import HUB
from weclick.runs.label_source import folder_listing
from weclick.runs.layout import Layout

if TYPE_CHECKING:  # these load torch
    from weclick.manifest import Manifest
    from weclick.proxy_labels.proxy_sources import ProxySource
    from weclick.proxy_labels.sources import Digests
    from weclick.store import Store

SUFFIXES = (".png",)
"""Of class maps and of saliency maps."""

MODEL_SUFFIXES = (".json", ".safetensors")
"""Of the files of a SAM 2 model."""


@dataclass(frozen=True)
class Given:
    """What a stage is given to make proxy labels from. A source takes what `given_to` names, and no more.

    Attributes:
        tags: table of the training split.
        cams, flow: indexes of shards.
        clicks: table of the training split.
    """

    tags: Path | None = None
    cams: Sequence[Path] = ()
    flow: Sequence[Path] = ()
    clicks: Path | None = None

    @classmethod
    def of_run(cls, config: Mapping[str, Any], layout: Layout) -> Given:
        """The files of a run, which need not be there."""
        train, shards = config["data"]["train"], config["data"]["shards"]
        wanted = given_to(config)

        def indexes(stage: str) -> Sequence[Path]:
            return layout.shards(stage, train, shards) if stage in wanted else ()

        return cls(
            tags=layout.tags(train) if "tags" in wanted else None,
            cams=indexes("cams"),
            flow=indexes("flow"),
            clicks=layout.clicks(train) if "clicks" in wanted else None,
        )


def given_to(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The stages, beside the manifest, whose files a run's proxy labels are made from.

    Args:
        config: complete, or the part that the stage reads.
    """
    section = config["proxy_labels"]
    if section["source"] == "sam2":
        return ("clicks",)
    if section["source"] != "f2f":
        return ()
    reads_flow = section["frames"] > 1 or section["background"] == "motion"
    return ("tags", "cams", "flow") if reads_flow else ("tags", "cams")


def proxy_source(
    config: Mapping[str, Any],
    manifest: Manifest,
    given: Given,
    *,
    store: Store,
    remember: Path | None,
    device: str = "cpu",
) -> ProxySource:
    """What the configuration says that makes the proxy labels.

    Args:
        config: complete, or the part that the stage reads.
        manifest: tells the classes, and how much frames are shrunk.
        given: what it makes them from.
        store: holds maps and flow.
        remember: keeps the digests of files, see `file_digests`.
        device: that networks compute on.

    Raises:
        ConfigError: as in `check_proxy_labels`.
        InputError: something is given and not wanted, or wanted and not given; or a file cannot be read.
    """
    from weclick.datasets.digests import file_digests

    check_proxy_labels(config)
    _check_given(config, given)
    section = config["proxy_labels"]
    parts = Parts(manifest, given, store, partial(file_digests, remember=remember), device)
    return SOURCES[section["source"]](section, parts)


@dataclass(frozen=True)
class Parts:
    """What sources are built from, beside their section; see `proxy_source`."""

    manifest: Manifest
    given: Given
    store: Store
    digests: Digests
    device: str


def _f2f(section: Any, parts: Parts) -> ProxySource:
    from weclick.clicks.tags import read_tags
    from weclick.proxy_labels.background import Saliency
    from weclick.proxy_labels.cams import check_classes
    from weclick.proxy_labels.f2f import F2F
    from weclick.store import read_index

    manifest, given = parts.manifest, parts.given
    assert given.tags is not None, "which _check_given has seen"
    tags = read_tags(given.tags)
    check_classes(manifest, tags)
    saliency = None
    if section["background"] == "saliency_file":
        saliency = Saliency(Path(section["saliency"]), parts.digests, manifest.shrink)
    cams, flow = read_index(given.cams, "cams"), read_index(given.flow, "flow", need="chain")
    return F2F(section, manifest.classes.names, tags, cams, flow, parts.store, saliency)


def _folder(section: Any, parts: Parts) -> ProxySource:
    from weclick.proxy_labels.class_map_folder import ClassMapFolder

    manifest, path = parts.manifest, Path(section["folder"]["path"])
    return ClassMapFolder(path, manifest.classes.names, parts.digests, manifest.shrink)


def _network(section: Any, parts: Parts) -> ProxySource:
    from weclick.proxy_labels.predictions import Predictions

    options = section["network"]
    path, crf = Path(options["path"]), options["crf"]
    return Predictions(parts.manifest, path, crf, options["min_probability"], parts.device)


def _sam2(section: Any, parts: Parts) -> ProxySource:
    from weclick.clicks import read_clicks
    from weclick.manifest.read import read_clip
    from weclick.proxy_labels.sam2 import Sam2

    manifest, clicks = parts.manifest, parts.given.clicks
    assert clicks is not None, "which _check_given has seen"
    read = partial(read_clip, manifest)
    classes = manifest.classes.names
    return Sam2(section["sam2"], classes, read_clicks(clicks), read, parts.digests, parts.device)


SOURCES: dict[str, Callable[[Any, Parts], ProxySource]] = {
    "f2f": _f2f,
    "folder": _folder,
    "network": _network,
    "sam2": _sam2,
}
"""`proxy_labels.source` -> what builds it from the section and the rest."""


def _check_given(config: Mapping[str, Any], given: Given) -> None:
    wanted, source = given_to(config), config["proxy_labels"]["source"]
    for name in ("tags", "cams", "flow", "clicks"):
        files = getattr(given, name)
        if (name in wanted) != bool(files):
            found = "is given" if files else "is not given"
            todo = f"leave --{name} out" if files else f"name its file with --{name}"
            raise InputError(
                f"proxy_labels.source is {source!r}, which {'reads' if name in wanted else 'does not read'} "
                f"what the stage {name} makes, but that {found}; {todo}"
            )


def proxies_of_run(
    config: Mapping[str, Any], manifest: Manifest, layout: Layout, store: Store, device: str = "cpu"
) -> ProxySource | None:
    """What makes the proxy labels of a run; None while something that they are made from is missing.

    Args:
        config: complete.
        manifest: of the training split.
        layout: of the run.
        store: holds maps and flow.
        device: that networks compute on.
    """
    given = Given.of_run(config, layout)
    single = [file for file in (given.tags, given.clicks) if file]
    files = [*single, *given.cams, *given.flow]
    if not all(file.is_file() for file in files):
        return None
    memory = layout.proxy_digests
    remember = memory if memory.is_file() else None
    return proxy_source(config, manifest, given, store=store, remember=remember, device=device)


def proxy_listing(config: Mapping[str, Any], remember: Path) -> str:
    """SHA-256 (hex) over names, sizes and edits of the files that proxy labels are made from: a cheap sign.

    Args:
        config: complete.
        remember: the memory of `proxy_source`. Content is read only where it knows a file that changed since.

    Returns:
        Empty if there are none but those of other stages, which a rule has as its inputs, or of a hub.

    Raises:
        MissingFileError: the folder holds no such file.
    """
    section = config["proxy_labels"]
    if section["source"] == "folder":
        return folder_listing(section["folder"]["path"], "proxy_labels.folder.path", SUFFIXES, remember)
    if section["source"] == "sam2":
        model = section["sam2"]["model"]
        if model.startswith(HUB):
            return ""
        return folder_listing(model, "proxy_labels.sam2.model", MODEL_SUFFIXES, remember)
    if section["source"] == "network":
        return file_digest(Path(section["network"]["path"]))
    if section["background"] == "saliency_file":
        return folder_listing(section["saliency"], "proxy_labels.saliency", SUFFIXES, remember)
    return ""
