"""What the verbs share that train networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from weclick.cli.app import choose_device, keep_freed_memory, open_store
from weclick.common import sections
from weclick.common.stages import CARD, MODELS


@dataclass(frozen=True)
class TrainingFiles:
    """The files that a network is trained on.

    Attributes:
        manifests: of the training split, one per shard.
        scored: manifests of the split to score on.
        indexes: kind of store entries -> its indexes, one per shard.
        clicks: the click table, for a network that learns from clicks or masks, or counts them.
        tags: the table of tags, for one that learns from these.
        scored_flow: indexes of the flow of the split to score on, for one that looks at it.
    """

    manifests: list[Path]
    scored: list[Path]
    indexes: Mapping[str, list[Path]]
    clicks: Path | None = None
    tags: Path | None = None
    scored_flow: Sequence[Path] = ()


def train_network(
    role: sections.Role,
    chosen: sections.Selection,
    output: Path,
    files: TrainingFiles,
    device: str,
    devices: int,
    watch: sections.WatchSection,
) -> None:
    """Train the network of a role, or find it in the store, and put its files into a folder."""
    from weclick.train.watch.packages import check_watch

    check_watch(watch)  # before a GPU is waited for
    device = choose_device(device, devices)
    from weclick.clicks import read_clicks
    from weclick.clicks.tags import read_tags
    from weclick.manifest import read_manifests
    from weclick.runs.cost import stage_cost
    from weclick.runs.metered import MeteredStore
    from weclick.runs.wanted import Wanted
    from weclick.store.index import STACK, read_index, read_indexes
    from weclick.train.data.stream import Caches
    from weclick.train.roles import ROLE_NEEDS
    from weclick.train.stage import train_recipe

    store = MeteredStore(open_store(chosen), MODELS)
    recipe = Wanted(chosen).recipe(
        role,
        train=read_manifests(files.manifests),
        val=read_manifests(files.scored),
        clicks=read_clicks(files.clicks) if files.clicks else None,
        tags=read_tags(files.tags) if files.tags else None,
        caches=Caches.of(store, read_indexes(files.indexes, ROLE_NEEDS[role].flow_need)),
        val_stacks=read_index(files.scored_flow, "flow", need=STACK),
    )
    keep_freed_memory()
    with stage_cost(output / CARD, store):
        train_recipe(recipe, output, device=device, devices=devices, watch=watch)
