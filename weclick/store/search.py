"""The store: a search path of roots. It finds everybody's entries and writes its user's own."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from weclick.common.disk import is_file, is_there, surely
from weclick.common.errors import InputError
from weclick.store.entries import Entry, EntryWriter, open_entry
from weclick.store.keys import entry_key
from weclick.store.leases.leases import Leases
from weclick.store.leases.rounds import LEASE_WAIT_S, Rounds
from weclick.store.meta import META, DamagedEntryError, EntryMissingError, describe_entry, spell_meta
from weclick.store.roots.local_root import LocalRoot
from weclick.store.roots.read_through import FETCHED, MAX_GIB, ReadThrough
from weclick.store.roots.s3_root import S3Root, is_bucket
from weclick.store.signatures import SIGNED, Trust

T = TypeVar("T")

_JOINED = re.compile(rf"{os.pathsep}(?!//)")


@dataclass(frozen=True)
class Bucket:
    """A bucket of entries, and the folder of this machine that holds the fetched ones."""

    root: S3Root
    fetched: ReadThrough

    def __str__(self) -> str:
        return str(self.root)

    def find(self, kind: str, key: str, trust: Trust) -> Entry | None:
        """An entry that was fetched before, or that the bucket has. Its files are fetched on first use."""
        meta = self.fetched.find_meta(kind, key)
        if not meta or (trust and not self.fetched.is_signed(meta, trust)):
            fetched, meta = meta, self.root.find_meta(kind, key)
            if not meta or not trust.accepts(self.root, meta):
                return None
            if fetched:  # before it was signed, or it is another one
                self.fetched.renew(self.root, fetched, meta)
        return Entry(trust.strict(meta), partial(self.fetched.locate, self.root), self.root)


class Store:
    """A search path of roots: read-only ones of the team first, the local writable one last.

    Folders are searched in order, then buckets, so that nothing local is fetched.

    Args:
        roots: folders, and addresses of buckets such as s3://team/weclick. The last one is a folder, and the
            first write makes it.
        s3: `endpoint_url` and `region` of the buckets; see `S3Root`.
        read_through: `path` and `max_gib` of the folder for fetched entries; a path of None is `fetched` in
            the last root.
        lease_wait_s: how long a run waits for others who finish nothing.
        lease_wait: another name of `lease_wait_s`; it counts if it is not None.
        trusted_keys: see `Trust`. An entry of another root than the last is read only if one of them signed
            it; otherwise it counts as not there.

    Raises:
        InputError: there is no root, the last one is not a local folder, or as in `Trust`.
    """

    def __init__(
        self,
        roots: Sequence[str | Path | Bucket],
        *,
        s3: Mapping[str, str | None] | None = None,
        read_through: Mapping[str, Any] | None = None,
        lease_wait_s: float = LEASE_WAIT_S,
        lease_wait: float | None = None,
        trusted_keys: Sequence[str] | Trust = (),
    ):
        if not roots:
            raise InputError("cache.roots is empty, expected at least one folder, the last one writable")
        if is_bucket(roots[-1]):
            raise InputError(
                f"cache.roots ends with {roots[-1]}, expected a local folder last, to write into"
            )
        self.local = LocalRoot(Path(str(roots[-1])).expanduser())
        """The last root; new entries go here."""
        self.trust = trusted_keys if isinstance(trusted_keys, Trust) else Trust(trusted_keys)
        """Decides which entries of other roots are read."""
        self._leases = Leases(self.local.path)
        self.lease_wait_s = lease_wait_s if lease_wait is None else lease_wait
        """How long a run waits for others who finish nothing, in seconds."""
        chosen = {"path": None, "max_gib": MAX_GIB} | dict(read_through or {})
        fetched = ReadThrough(
            Path(chosen["path"] or self.local.path / FETCHED).expanduser(), chosen["max_gib"]
        )
        self.roots = tuple(_root(root, s3 or {}, fetched) for root in roots)
        """All roots, in order."""

    @classmethod
    def from_config(cls, roots: Sequence[str | Path], **others: Any) -> Store:
        """The store of a configuration; WECLICK_CACHE (roots joined by ':') takes precedence."""
        given = [root for root in _JOINED.split(os.environ.get("WECLICK_CACHE", "")) if root]
        return cls(given or roots, **others)

    @property
    def team(self) -> list[LocalRoot | S3Root]:
        """The roots that are only read, not written."""
        return [root.root if isinstance(root, Bucket) else LocalRoot(root) for root in self.roots[:-1]]

    def find(self, kind: str, key: str) -> Entry | None:
        """The entry of that key in the first root that has it, or None.

        Raises:
            DamagedEntryError: the entry is there, but not as it was committed.
            UnreadableError: a disk or share does not let it be known now.
            UnreachableRootError: a bucket does not answer.
        """
        for root in self.roots:
            if isinstance(root, Path) and (entry := self._open(LocalRoot(root), kind, key)):
                return entry
        found = (root.find(kind, key, self.trust) for root in self.roots if isinstance(root, Bucket))
        return next(filter(None, found), None)

    def _open(self, root: LocalRoot, kind: str, key: str) -> Entry | None:
        folder = root.folder(kind, key)
        if not is_file(folder / META):
            return None
        if root.path == self.local.path:
            root.mark_used(kind, key)
        try:
            meta = open_entry(folder, kind, key).meta
        except DamagedEntryError:
            if is_there(folder):
                raise
            return None  # deleted meanwhile
        if self.trust and not self._may_read(root, meta):
            return None
        return Entry(self.trust.strict(meta), lambda _: folder, root)

    def _may_read(self, root: LocalRoot, meta: Mapping[str, Any]) -> bool:
        """Whether an entry is this user's own, or signed.

        Raises:
            InputError: it lies in the last root, belongs to another user and is not signed. It can neither be
                read nor made again.
        """
        if root.path != self.local.path:
            return self.trust.accepts(root, meta)
        folder = root.folder(meta["kind"], meta["key"])
        owner = surely(folder, (folder / META).lstat).st_uid
        if os.getuid() in (owner, 0) or owner == 0 or self.trust.judge(root, meta) == SIGNED:
            return True
        raise InputError(
            f"{folder}: another user made this entry, and no key of cache.trusted_keys signed it; name a "
            "folder of your own as the last of cache.roots (or WECLICK_CACHE), and shared ones before it"
        )

    def get(self, kind: str, key: str) -> Entry:
        """The entry of that key.

        Raises:
            EntryMissingError: no root has it.
            DamagedEntryError, UnreachableRootError: as in `find`.
        """
        entry = self.find(kind, key)
        if entry is None:
            gone = [str(root) for root in self.roots if isinstance(root, Path) and not root.is_dir()]
            lost = f"; not there at all: {', '.join(gone)}" if gone else ""
            self.trust.tell()
            searched = ", ".join(map(str, self.roots))
            rule = "teacher student" if kind == "models" else f"{kind}_shard"
            raise EntryMissingError(
                f"the store has no {kind} entry {key[:12]}… (searched {searched}{lost}); it was deleted or "
                f"the roots changed: run the stage again (`weclick run CONFIG --forcerun {rule}`)"
            )
        return entry

    @contextmanager
    def create(self, kind: str, inputs: Mapping[str, Any]) -> Iterator[EntryWriter]:
        """Write a new entry: fill the yielded writer. The end of the block commits it.

        An exception in the block or a full disk leaves nothing behind. If somebody commits the same key
        meanwhile, theirs stays and ours is thrown away. A lease on the entry ends with the block.

        Args:
            kind: one of KINDS.
            inputs: `entry_key` digests them.

        Raises:
            DiskFullError: there is no room.
        """
        key = entry_key(kind, inputs)
        try:
            with self.local.workspace(kind, key) as folder:
                with closing(EntryWriter(folder)) as writer:
                    yield writer
                meta = describe_entry(folder, kind, key, inputs, writer.attributes)
                (folder / META).write_bytes(spell_meta(meta))
                self.local.commit(folder, kind, key)
        finally:
            self._leases.release(kind, key)

    def share_out(
        self,
        kind: str,
        items: Mapping[str, T],
        *,
        skip: Callable[[T, Entry], Any] = lambda *_: None,
        say: Callable[[str], Any] | None = None,
    ) -> Rounds[T]:
        """Split work among the runs that write into the last root, so that no two make the same entry.

        Stages call `fill` (weclick/store/fill.py), which calls this. Use it in a `with` statement, and
        `create` the entry of every item that you get: that releases the item's lease. It waits for entries
        that others are making, and hands them out here if the others fail.

        Args:
            kind: one of KINDS.
            items: key of a missing entry -> what to work on.
            skip: called with each item whose entry somebody else made, and with that entry.
            say: shows on a terminal whom this run waits for, as `Bar.say`.

        Returns:
            `Rounds` of items; finish one round before you ask for the next.
        """
        return Rounds(
            self._leases,
            kind,
            items,
            find=partial(self._find_anew, kind),
            skip=skip,
            say=say,
            wait_s=self.lease_wait_s,
        )

    @contextmanager
    def alone(self, kind: str, key: str) -> Iterator[Entry | None]:
        """Be the only run that makes an entry. Waits while another run makes it.

        Yields:
            The entry if it exists by now. Otherwise None: `create` it inside the block.
        """
        entry = self.find(kind, key)
        if entry:
            yield entry
            return
        with self.share_out(kind, {key: key}) as rounds:
            mine = next(chain.from_iterable(rounds), None)
            yield None if mine else self.get(kind, key)

    def _find_anew(self, kind: str, key: str) -> Entry | None:
        """As `find`, but not from a network share's cache: opening a folder makes its client ask."""
        for folder in reversed(self.local.folder(kind, key).parents[:3]):
            with suppress(FileNotFoundError):
                surely(folder, partial(_ask_for, folder))
        return self.find(kind, key)


def _ask_for(folder: Path) -> None:
    os.scandir(folder).close()


def open_root(root: str | Path, s3: Mapping[str, str | None]) -> LocalRoot | S3Root:
    """A root by its name.

    Args:
        root: a folder, or an address such as s3://team/weclick.
        s3: see `S3Root`.
    """
    return S3Root(str(root), **s3) if is_bucket(root) else LocalRoot(Path(root).expanduser())


def _root(root: str | Path | Bucket, s3: Mapping[str, str | None], fetched: ReadThrough) -> Path | Bucket:
    opened = root if isinstance(root, Bucket) else open_root(root, s3)
    if isinstance(opened, S3Root):
        return Bucket(opened, fetched)
    return opened.path if isinstance(opened, LocalRoot) else opened
