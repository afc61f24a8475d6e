"""What makes the instances of a configuration: the relation network, clicks, masks, or a detector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weclick.common.config_checks import check_detector
from weclick.common.errors import InputError
from weclick.runs.layout import Layout

if TYPE_CHECKING:  # these load torch
    from weclick.manifest import Manifest
    from weclick.proxy_labels.amplified_maps import MapSource
    from weclick.proxy_labels.instances import InstanceSource
    from weclick.store import Store

STEP = "step"
"""The need of flow whose pairs lead from each training frame to the next one."""


@dataclass(frozen=True)
class GivenToInstances:
    """What a stage is given to make instances from. A source takes what `instances_from` names, and no more.

    Attributes:
        tags: table of the training split.
        cams, flow: indexes of shards.
        relation: weights of the relation network.
        clicks: table of the training split.
    """

    tags: Path | None = None
    cams: Sequence[Path] = ()
    flow: Sequence[Path] = ()
    relation: Path | None = None
    clicks: Path | None = None

    @classmethod
    def of_run(cls, config: Mapping[str, Any], layout: Layout) -> GivenToInstances:
        """The files of a run, which need not be there."""
        train, shards = config["data"]["train"], config["data"]["shards"]
        wanted = instances_from(config)

        def indexes(stage: str) -> Sequence[Path]:
            return layout.shards(stage, train, shards) if stage in wanted else ()

        return cls(
            tags=layout.tags(train) if "tags" in wanted else None,
            cams=indexes("cams"),
            flow=indexes("flow"),
            relation=layout.weights("relation") if "relation" in wanted else None,
            clicks=layout.clicks(train) if "clicks" in wanted else None,
        )

    @property
    def files(self) -> list[Path]:
        """All of them."""
        single = [file for file in (self.tags, self.relation, self.clicks) if file]
        return [*single, *self.cams, *self.flow]


def instances_from(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The stages, beside the manifest, whose files a run's instances are made from.

    Args:
        config: complete, or the part that the stage reads.
    """
    section = config["instances"]
    if section["source"] in ("network", "masks"):
        return ()
    clicks = ("clicks",) if section["source"] == "clicks" else ()
    if clicks and section["clicks_within"] == "frame":
        return ("relation", *clicks)
    flow = ("flow",) if config["fcam"]["motion"] != "none" else ()
    return ("tags", "cams", *flow, "relation", *clicks)


def map_source(
    config: Mapping[str, Any],
    manifest: Manifest,
    tags: Path,
    cams: Sequence[Path],
    flow: Sequence[Path],
    store: Store,
) -> MapSource:
    """The maps that confident labels are made from.

    Args:
        config: complete, or the part that the stage confident_labels reads.
        manifest: tells the classes.
        tags: table of the training split.
        cams, flow: indexes of shards; no flow if maps are not amplified.
        store: holds maps and flow.

    Raises:
        InputError: flow is given and not wanted, or wanted and not given; or a file cannot be read.
    """
    from weclick.clicks.tags import read_tags
    from weclick.proxy_labels.amplified_maps import MapSource
    from weclick.store import read_index

    _check_given("flow", flow, wanted=config["fcam"]["motion"] != "none", why=_moves(config))
    maps, moved = read_index(cams, "cams"), read_index(flow, "flow", need=STEP)
    return MapSource(manifest.classes, read_tags(tags), maps, moved, config["fcam"], store)


def instance_source(
    config: Mapping[str, Any],
    manifest: Manifest,
    given: GivenToInstances,
    *,
    store: Store,
    device: str = "cpu",
) -> InstanceSource:
    """What the configuration says that makes instances.

    Args:
        config: complete, or the part that the stage reads.
        manifest: tells the classes, and how much frames are shrunk.
        given: what it makes them from.
        store: holds maps and flow.
        device: that networks compute on.

    Raises:
        InputError: something is given and not wanted, or wanted and not given; or a file cannot be read.
        ConfigError: a detector makes them, and none is named, or it is not there.
    """
    from weclick.clicks import read_clicks
    from weclick.clicks.tags import read_tags
    from weclick.proxy_labels.cams import check_classes
    from weclick.proxy_labels.instances_from_clicks import FromClicks
    from weclick.proxy_labels.instances_from_network import FromNetwork
    from weclick.proxy_labels.instances_from_relation import FromRelation
    from weclick.store import read_index

    section, wanted = config["instances"], instances_from(config)
    why = f"instances.source is {section['source']!r}"
    if section["source"] == "clicks":
        why += f" and instances.clicks_within {section['clicks_within']!r}"
    for name in ("tags", "cams", "flow", "relation", "clicks"):
        reason = _moves(config) if name == "flow" and "cams" in wanted else why
        _check_given(name, getattr(given, name), wanted=name in wanted, why=reason)
    if section["source"] == "masks":
        from weclick.evaluate.instances.truth import read_true_instances
        from weclick.proxy_labels.instances_from_masks import FromMasks

        return FromMasks(manifest, read_true_instances)
    if section["source"] == "network":
        check_detector(section)
        network = section["network"]
        return FromNetwork(manifest, Path(network["path"]), network["min_score"], device)
    assert given.relation is not None, "which _check_given has seen"
    tags = read_tags(given.tags) if given.tags else None
    if tags:
        check_classes(manifest, tags)
    if section["source"] == "clicks":
        assert given.clicks is not None, "which _check_given has seen"
        clicks = read_clicks(given.clicks)
        maps = map_source(config, manifest, given.tags, given.cams, given.flow, store) if given.tags else None
        return FromClicks(manifest, section, clicks, given.relation, maps, device)
    assert tags is not None, "which _check_given has seen"
    return FromRelation(
        manifest,
        section,
        config["fcam"],
        tags,
        cams=read_index(given.cams, "cams"),
        flow=read_index(given.flow, "flow", need=STEP),
        relation=given.relation,
        store=store,
        device=device,
    )


def maps_for_labels(
    config: Mapping[str, Any], manifest: Manifest, layout: Layout, store: Store
) -> MapSource | None:
    """The maps that a run's confident labels are made from; None while something is missing."""
    train, shards = config["data"]["train"], config["data"]["shards"]
    tags, cams = layout.tags(train), layout.shards("cams", train, shards)
    flow = layout.shards("flow", train, shards) if config["fcam"]["motion"] != "none" else []
    if not all(file.is_file() for file in (tags, *cams, *flow)):
        return None
    return map_source(config, manifest, tags, cams, flow, store)


def instances_of_run(
    config: Mapping[str, Any], manifest: Manifest, layout: Layout, store: Store, device: str = "cpu"
) -> InstanceSource | None:
    """What makes the instances of a run; None while something that they are made from is missing."""
    given = GivenToInstances.of_run(config, layout)
    if not all(file.is_file() for file in given.files):
        return None
    return instance_source(config, manifest, given, store=store, device=device)


def _moves(config: Mapping[str, Any]) -> str:
    return f"fcam.motion is {config['fcam']['motion']!r}"


def _check_given(name: str, files: Any, *, wanted: bool, why: str) -> None:
    if wanted != bool(files):
        found = "is given" if files else "is not given"
        todo = f"leave --{name} out" if files else f"name its file with --{name}"
        raise InputError(
            f"{why}, which {'reads' if wanted else 'does not read'} what the stage {name} makes, but that "
            f"{found}; {todo}"
        )
