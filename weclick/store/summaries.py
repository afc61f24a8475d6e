"""What the entries of a root say of themselves: what they are of, their size, their maker, their last use.

It serves to look, to tidy, and to find what older entries hold. Reading an entry's data trusts nothing of it.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from weclick.common.disk import is_there, open_plain, surely
from weclick.common.errors import InputError, UnreadableError
from weclick.common.progress import progress_bar
from weclick.store.meta import KINDS, META, META_BYTES, damaged, entry_name
from weclick.store.roots.local_root import LocalRoot
from weclick.store.roots.s3_root import UnreachableRootError
from weclick.store.roots.transfer import THREADS, Root, Wanted

_AT_ONCE = 16
"""Files that a thread opens before it reads the first. All threads together stay below any system's limit."""

_FILES, _AFTER_FILES = b'\n "files": {', b'\n "entry_bytes"'


@dataclass(frozen=True)
class Summary:
    """An entry's description of itself, without its list of files.

    Attributes:
        root: that holds it.
        kind, key: of the entry.
        inputs: its key is their digest.
        attributes: what the stage said of its data.
        entry_bytes: size of all its files except entry.json.
        user: who made it; empty if it does not say.
        created_unix_s: when it was made.
        used_unix_s: when it was last used, to a day; None in a bucket, where uses are not marked.
        mine: whether this user owns its files or is root; False in a bucket.
    """

    root: str
    kind: str
    key: str
    inputs: Mapping[str, Any] = field(repr=False)
    attributes: Mapping[str, Any] = field(repr=False)
    entry_bytes: int
    user: str
    created_unix_s: int
    used_unix_s: int | None = None
    mine: bool = False

    @property
    def made_with(self) -> str:
        """Estimator of a flow, teacher of soft labels, role and network of a model; empty for frames."""
        inputs = self.inputs
        if self.kind == "flow":
            return str(inputs.get("estimator", {}).get("name", ""))
        if self.kind == "soft_labels":
            return _labels_made_with(inputs)
        options = inputs.get("options", {})
        words = (inputs.get("role"), options.get("architecture"), options.get("backbone"))
        return " ".join(str(word) for word in words if word)

    @property
    def last_unix_s(self) -> int:
        """When it was last used, or made if no use is known."""
        return self.used_unix_s or self.created_unix_s

    @property
    def codec(self) -> str:
        """How its arrays are stored; empty for a model."""
        return str(self.inputs.get("codec", ""))

    @property
    def frames(self) -> list[str]:
        """Digests of the frames that it was made from, each once; a model names other entries instead."""
        pairs, frames = self.inputs.get("pairs", ()), self.inputs.get("frames", ())
        named = chain.from_iterable(pairs) if pairs else () if self.kind == "models" else frames
        return list(dict.fromkeys(named))

    @property
    def first_frame(self) -> str:
        """The name that its first frame had when it was made."""
        named = self.attributes.get("frames") or next(iter(self.attributes.get("pairs", ())), ())
        return str(next(iter(named), ""))


def _labels_made_with(inputs: Mapping[str, Any]) -> str:
    fused = ", fused" if "fuse" in inputs else ""
    if "predictions" in inputs:
        return f"{inputs['predictions'].get('kind')} {str(inputs['predictions'].get('sha256'))[:12]}{fused}"
    digests = inputs.get("teachers_sha256") or inputs.get("onnx", {}).get("sha256")
    told = ", ".join(str(each)[:12] for each in digests or [inputs.get("teacher_sha256", "")])
    if "onnx" in inputs:
        return f"ONNX {told}{fused}"
    return f"{len(digests)} teachers {told}{fused}" if digests else f"teacher {told}{fused}"


@dataclass
class Ledger:
    """What some roots hold.

    Attributes:
        entries: in no order.
        faults: one line for each entry that cannot be read.
    """

    entries: list[Summary] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def read_ledger(roots: Iterable[Root], kinds: Iterable[str] = KINDS) -> Ledger:
    """Read what roots hold, with a bar.

    Args:
        roots: a missing folder counts as empty.
        kinds: some of KINDS.

    Raises:
        UnreachableRootError: a bucket does not answer.
    """
    ledger, kinds = Ledger(), tuple(kinds)
    for root in roots:
        held = [(kind, key) for kind in kinds for key in root.keys(kind)]
        with progress_bar(f"look through {root}", len(held), "entries") as bar:
            for part in _read(root, held):
                # parsed in one thread: Python runs one at a time, and switching costs more than it saves
                found = [_summarise(root, each) if isinstance(each, _Content) else each for each in part]
                ledger.entries += (each for each in found if isinstance(each, Summary))
                ledger.faults += (each for each in found if isinstance(each, str))
                bar.advance(len(found))
    return ledger


def summaries(root: Root, kind: str) -> Iterator[Summary]:
    """The entries of one kind that a root holds, without a bar; those that cannot be read are left out."""
    for part in _read(root, [(kind, key) for key in root.keys(kind)]):
        found = (_summarise(root, each) if isinstance(each, _Content) else each for each in part)
        yield from (each for each in found if isinstance(each, Summary))


def look_up(roots: Iterable[Root], kind: str, key: str) -> Summary | None:
    """The entry of a key, in the first root that has it.

    Raises:
        DamagedEntryError: it is not what was committed.
        UnreachableRootError: a bucket does not answer.
    """
    for root in roots:
        if meta := root.find_meta(kind, key):
            if isinstance(root, LocalRoot):
                return _summary(root, meta, (root.folder(kind, key) / META).stat())
            return _summary(root, meta)
    return None


def _read(root: Root, held: Sequence[Wanted]) -> Iterator[list[_Content | Summary | str]]:
    """Read the held entries in parts, by threads, since shares and buckets answer slowly.

    The threads read only a few parts ahead. Where answers come at once, most threads sleep.
    """
    parts = (held[start : start + _AT_ONCE] for start in range(0, len(held), _AT_ONCE))
    with ThreadPoolExecutor(THREADS) as pool:
        begun = deque(pool.submit(_read_part, root, part) for part in islice(parts, 2 * THREADS))
        while begun:
            done = begun.popleft().result()
            begun.extend(pool.submit(_read_part, root, part) for part in islice(parts, 1))
            yield done


def _read_part(root: Root, held: Iterable[Wanted]) -> list[_Content | Summary | str]:
    if isinstance(root, LocalRoot):
        folders = [f"{root}/{entry_name(*each)}" for each in held]
        opened = [_open(f"{folder}/{META}") for folder in folders]
        read = [_read_local(*each) for each in zip(folders, opened, strict=True)]
        return [each for each in read if each]
    return [found for each in held if (found := _read_remote(root, *each))]


class _Content(NamedTuple):
    """An entry.json without its part `files`, and the file's status."""

    folder: str
    data: bytes
    stat: os.stat_result


def _open(path: str) -> int | OSError:
    """Open an entry.json and let the system begin to fetch it: a disk fetches many in the time of one."""
    try:
        file = open_plain(path)
    except OSError as error:
        return error
    with suppress(OSError, AttributeError):  # not every file system supports it, and macOS has no such call
        os.posix_fadvise(file, 0, META_BYTES, os.POSIX_FADV_WILLNEED)
    return file


def _read_local(folder: str, opened: int | OSError) -> _Content | str | None:
    """The content of an entry.json, its fault, or None if the entry was deleted since it was listed."""
    path = f"{folder}/{META}"
    try:
        if isinstance(opened, OSError):  # a hiccup, or too many open files: those before are closed by now
            opened = surely(path, lambda: open_plain(path))
    except UnreadableError as error:
        return str(error)
    except OSError as error:
        return _fault(folder, error) if is_there(Path(folder)) else None
    try:
        found = os.fstat(opened)
        if found.st_size > META_BYTES:
            raise ValueError(f"it is longer than {META_BYTES} bytes")
        data = surely(path, partial(os.pread, opened, found.st_size, 0))
        return _Content(folder, _without_files(data), found)
    except UnreadableError as error:
        return str(error)
    except (OSError, ValueError) as error:
        return _fault(folder, error)
    finally:
        os.close(opened)


def _summarise(root: Root, read: _Content) -> Summary | str:
    try:
        return _summary(root, json.loads(read.data.decode()), read.stat)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        return _fault(read.folder, error)


def _fault(folder: str, error: Exception) -> str:
    return str(damaged(folder, f"{META} is no description of an entry ({error})"))


def _read_remote(root: Root, kind: str, key: str) -> Summary | str | None:
    try:
        return look_up([root], kind, key)  # None: deleted since it was listed
    except UnreachableRootError:
        raise
    except (InputError, UnreadableError) as error:  # damaged, or of another version
        return str(error)


def _without_files(data: bytes) -> bytes:
    """An entry.json without `files`, most of its size. It stays whole if weclick did not spell it."""
    start, end = data.find(_FILES), data.rfind(_AFTER_FILES)
    return data[:start] + data[end:] if 0 <= start < end else data


def _summary(root: Root, meta: Mapping[str, Any], found: os.stat_result | None = None) -> Summary:
    return Summary(
        root=str(root),
        kind=meta["kind"],
        key=meta["key"],
        inputs=dict(meta["inputs"]),
        attributes=dict(meta["attributes"]),
        entry_bytes=int(meta["entry_bytes"]),
        user=str(meta["producer"].get("user", "")),
        created_unix_s=int(meta["created_unix_s"]),
        used_unix_s=int(found.st_mtime) if found else None,
        mine=found is not None and os.getuid() in (found.st_uid, 0),
    )
