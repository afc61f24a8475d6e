"""A team's cache in a program: `weclick.open_cache`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, overload

from weclick.common.errors import InputError, MissingFileError
from weclick.common.files import read_json
from weclick.runs.api.entries import (
    CachedClassMaps,
    CachedEntry,
    CachedFlow,
    CachedFrames,
    CachedInstances,
    CachedMaps,
    CachedSoftLabels,
)
from weclick.store import LocalRoot, Store, read_index
from weclick.store.index import WINDOW
from weclick.store.roots.s3_root import is_bucket

VIEWS: dict[str, type[CachedEntry]] = {
    "frames": CachedFrames,
    "flow": CachedFlow,
    "soft_labels": CachedSoftLabels,
    "cams": CachedMaps,
    "masks": CachedClassMaps,
    "proxy_labels": CachedClassMaps,
    "confident_labels": CachedClassMaps,
    "instances": CachedInstances,
}
"""Kind of an entry -> what shows it as arrays."""

ClassMapKind = Literal["masks", "proxy_labels", "confident_labels"]


class Clips(Mapping[str, CachedEntry]):
    """The entries of an index: clip id -> entry. An entry is opened when it is asked for.

    Attributes:
        kind: of the entries.
        keys_of: clip id -> key.
    """

    def __init__(self, cache: Cache, kind: str, keys_of: Mapping[str, str]) -> None:
        self._cache, self.kind, self.keys_of = cache, kind, dict(keys_of)

    def __getitem__(self, clip: str) -> CachedEntry:
        """The entry of a clip.

        Raises:
            KeyError: the index has no such clip.
            EntryMissingError, DamagedEntryError: as in `Cache.entry`.
        """
        return self._cache.entry(self.kind, self.keys_of[clip])

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys_of)

    def __len__(self) -> int:
        return len(self.keys_of)

    def __repr__(self) -> str:
        return f"<weclick.Clips {self.kind}: {', '.join(map(repr, self.keys_of))}>"


class Cache:
    """Entries of the store, to read. `weclick.open_cache` makes it. It never writes an entry.

    Attributes:
        roots: that are searched, in order.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.roots = tuple(map(str, store.roots))

    def __repr__(self) -> str:
        return f"<weclick.Cache {', '.join(self.roots)}>"

    @overload
    def entry(self, kind: Literal["frames"], key: str) -> CachedFrames: ...
    @overload
    def entry(self, kind: Literal["flow"], key: str) -> CachedFlow: ...
    @overload
    def entry(self, kind: Literal["soft_labels"], key: str) -> CachedSoftLabels: ...
    @overload
    def entry(self, kind: Literal["cams"], key: str) -> CachedMaps: ...
    @overload
    def entry(self, kind: ClassMapKind, key: str) -> CachedClassMaps: ...
    @overload
    def entry(self, kind: Literal["instances"], key: str) -> CachedInstances: ...
    @overload
    def entry(self, kind: str, key: str) -> Any: ...
    def entry(self, kind: str, key: str) -> Any:
        """An entry by its key.

        Args:
            kind: frames, flow, soft_labels, cams, masks, proxy_labels, confident_labels or instances.
            key: 64 hex digits, as indexes and `keys` give them.

        Returns:
            What shows the entry as arrays, e.g. `CachedFrames`.

        Raises:
            EntryMissingError: no root has it.
            DamagedEntryError: it is not what was committed.
            InputError: there is no such kind, or the key is none.
        """
        return _view(kind)(self._store.get(kind, key))

    def clips(self, *indexes: str | Path, need: str = WINDOW) -> Clips:
        """The entries that the indexes of a run name.

        Args:
            indexes: of the shards of a split, e.g. results/flow/train/0.json; or the folder that holds all.
            need: of flow, what it is for: window, chain, step or stack.

        Raises:
            MissingFileError: there is no such file.
            InputError: a file is no index, or they are of several kinds.

        Example:
            >>> import weclick
            >>> cache = weclick.open_cache("store")
            >>> clips = cache.clips("results/frames/train")
            >>> clip, frames = next(iter(clips.items()))
            >>> len(frames), frames.names[0], frames[0].shape
            (4, 'street_0000_000000', (64, 96, 3))
            >>> flow = cache.clips("results/flow/train/0.json")[clip]
            >>> target, neighbour = flow.pairs[0]
            >>> flow.between(target, neighbour).shape, flow.stride_px
            ((2, 16, 24), 4)
        """
        files = [file for given in indexes for file in _indexes_in(Path(given))]
        kinds = {str(read_json(file, "frames, flow, soft_labels, ...").get("kind")) for file in files}
        if len(kinds) != 1:
            found = f"are of the kinds {', '.join(sorted(kinds))}" if kinds else "are missing"
            raise InputError(f"the indexes {found}; give those of one stage and split, one for each shard")
        (kind,) = kinds
        _view(kind)
        return Clips(self, kind, read_index(files, kind, need))

    def keys(self, kind: str) -> tuple[str, ...]:
        """The keys of all entries of a kind in all roots, in order, each once.

        Raises:
            InputError: there is no such kind.
            UnreachableRootError: a bucket does not answer.
        """
        _view(kind)
        roots = (LocalRoot(root) if isinstance(root, Path) else root.root for root in self._store.roots)
        return tuple(sorted({key for root in roots for key in root.keys(kind)}))


def open_cache(
    roots: str | Path | Sequence[str | Path],
    *,
    trusted_keys: Sequence[str] = (),
    s3: Mapping[str, str | None] | None = None,
) -> Cache:
    """Open the store that runs fill, to read its entries as arrays.

    Each read is checked against the digest that the entry was committed with.

    Args:
        roots: one root or several, searched in order, as in `cache.roots`: folders, and addresses such as
            s3://team/weclick. With a bucket, the last one is a folder of yours, for what is fetched.
        trusted_keys: as in `cache.trusted_keys`. With some, entries of other roots than the last are read
            only if one of these keys signed them.
        s3: `endpoint_url` and `region` of buckets.

    Raises:
        MissingFileError: a folder is not there.
        InputError: there is no root, the last one is a bucket, or a key is none.

    Example:
        >>> import weclick
        >>> cache = weclick.open_cache("store")
        >>> labels = cache.entry("soft_labels", cache.keys("soft_labels")[0])
        >>> labels.classes[:2], labels[0].shape
        (('road', 'sidewalk'), (9, 16, 24))
    """
    given = [roots] if isinstance(roots, str | Path) else [*roots]
    for root in given:
        if not is_bucket(root) and not Path(root).expanduser().is_dir():
            raise MissingFileError(
                f"{root}: there is no such folder; give roots of a store, e.g. store, or a team's share"
            )
    return Cache(Store(given, s3=s3, trusted_keys=trusted_keys))


def _view(kind: str) -> type[CachedEntry]:
    if kind not in VIEWS:
        raise InputError(
            f"there are no arrays in entries of the kind {kind!r}, expected one of {', '.join(VIEWS)}; "
            "networks are read by weclick.load"
        )
    return VIEWS[kind]


def _indexes_in(path: Path) -> list[Path]:
    """An index, or those of a folder, which has one for each shard."""
    if not path.is_dir():
        return [path]
    found = sorted(path.glob("*.json"))
    if not found:
        raise MissingFileError(
            f"{path}: holds no index (0.json, ...); give a split's, e.g. results/flow/train"
        )
    return found
