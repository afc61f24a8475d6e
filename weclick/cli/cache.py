"""`weclick cache`: copies entries to and from team roots, and checks that they are whole."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, cast

import typer

from weclick.cli.app import DEFAULT, UNCHECKED_STATUS, Config, Set, app, open_store
from weclick.common import sections
from weclick.common.config import load_config
from weclick.common.disk import is_folder, is_there
from weclick.common.errors import InputError, MissingFileError, UnreadableError
from weclick.common.stages import KINDS
from weclick.runs.layout import stage_of
from weclick.runs.listed import wanted_of

if TYPE_CHECKING:  # importing the store takes longer than printing help
    from weclick.store import LocalRoot, S3Root, Store
    from weclick.store.pins import Pins
    from weclick.store.signatures import Trust

Accept = Callable[[Any, Mapping[str, Any]], bool]
"""Says of a root and an entry.json whether it may be copied."""


class Outcome(NamedTuple):
    """How many entries are damaged or missing, and how many could not be checked."""

    failed: int
    unchecked: int


cache = typer.Typer(
    no_args_is_help=True,
    help="Share entries of the store, check and sign them, see what is there, and make room.",
)
app.add_typer(cache, name="cache")

Kinds = Annotated[
    list[str] | None,
    typer.Option("--kind", help=f"{', '.join(KINDS)}; may be repeated. Default: all."),
]
Listed = Annotated[
    list[Path] | None,
    typer.Argument(
        help="A run's results or run.lock.json, indexes (results/flow/train/0.json), manifests or model.json."
    ),
]


@cache.command()
def publish(
    root: Annotated[str, typer.Argument(help="A team root: a folder, or s3://bucket/prefix.")],
    listed: Listed = None,
    kind: Kinds = None,
    config: Config = DEFAULT,
    change: Set = None,
) -> None:
    """Copy entries of the local root, all or those of a run, into a team root.

    An entry that is already there stays as it is. After an interruption, a second call goes on.

    Examples:

        weclick cache publish s3://team/weclick

        weclick cache publish /share/weclick results --kind flow
    """
    loaded, store = opened(config, change, defaults=roots_do(listed))
    wanted = wanted_of(listed, loaded) if listed else _held(store.local)
    _copy("publish", [store.local], root_of(root, loaded), _of(kind, wanted))


@cache.command()
def fetch(listed: Listed = None, kind: Kinds = None, config: Config = DEFAULT, change: Set = None) -> None:
    """Copy the entries that a run needs from the team roots into the local one.

    For a manifest, these are its frames, flows and masks under the configuration. For a lock, they are all
    that it names. Results with a run.lock.json pin the content of their entries: an entry of other content
    under the same key is not copied, an error names it and its root, and the exit status is 1. With
    cache.trusted_keys, entries count as not there that none of the keys has signed.

    Examples:

        weclick cache fetch results

        weclick cache fetch theirs.lock.json

        weclick cache fetch results/manifest/train/0.json --config config/camvid.yaml
    """
    loaded, store = opened(config, change, defaults=roots_do(listed))
    if not store.team:
        raise InputError(f"cache.roots names {store.local} alone; name the team's roots before it")
    listed = listed or [Path(loaded["results"])]
    wanted = list(_of(kind, wanted_of(listed, loaded)))
    _end(_copied(f"fetch: {store.local}", store.team, store.local, wanted, _accept(store, _pins(listed))))


@cache.command()
def mirror(
    one: Annotated[str, typer.Argument(help="A root: a folder, or s3://bucket/prefix.")],
    other: Annotated[str, typer.Argument(help="Another root.")],
    kind: Kinds = None,
    config: Config = DEFAULT,
    change: Set = None,
) -> None:
    """Copy the entries that one root has and the other lacks, both ways.

    Example:

        weclick cache mirror /share/weclick s3://team/weclick
    """
    loaded, store = opened(config, change, defaults=True)
    roots = root_of(one, loaded), root_of(other, loaded)
    held = [list(_of(kind, _held(root))) for root in roots]
    _end(
        *(
            _copied(f"{source} -> {target}", [source], target, entries, _accept(store, {}, target))
            for source, target, entries in zip(roots, roots[::-1], held, strict=True)
        )
    )


@cache.command()
def verify(
    root: Annotated[
        str | None,
        typer.Argument(help="Folder or s3://bucket/prefix. Default: all roots of the search path."),
    ] = None,
    kind: Kinds = None,
    quarantine: Annotated[
        bool,
        typer.Option("--quarantine", help="Move damaged entries of the local root to <root>/quarantine."),
    ] = False,
    config: Config = DEFAULT,
    change: Set = None,
) -> None:
    """Compare all entries with their digests, keys and schemas.

    Damaged entries are printed, and the exit status is 1. Entries of team roots are only printed. To move
    them, somebody who may write there runs this with that root as the last one. No run reads entries in
    quarantine; a run that needs one makes it anew. If a disk or share fails while an entry is read, the entry
    is not called damaged and stays where it is: it "could not be checked", and the exit status is 3.

    With cache.trusted_keys, it also counts signed and unsigned entries. A signature of a trusted key that
    does not fit its entry is a fault.

    Examples:

        weclick cache verify

        weclick cache verify s3://team/weclick --kind flow
    """
    from weclick.store import LocalRoot

    loaded, store = opened(config, change, defaults=True)
    roots = [root_of(root, loaded)] if root else [*store.team, store.local]
    for each in roots[: 1 if root else -1]:
        if isinstance(each, LocalRoot) and not is_folder(each.path):
            raise MissingFileError(f"{each}: there is no such root; mount it, or correct the name")
    verified = [_verified(each, kind, quarantine and str(each) == str(store.local)) for each in roots]
    _end(*verified, *(Outcome(_unfit(each, kind, store.trust), 0) for each in roots))


def _verified(root: LocalRoot | S3Root, kind: list[str] | None, quarantine: bool) -> Outcome:
    """Check the entries of a root, and print what is damaged or could not be checked."""
    from concurrent.futures import ThreadPoolExecutor

    from weclick.common.progress import progress_bar
    from weclick.store.roots.transfer import THREADS

    try:
        held = list(_of(kind, _held(root)))
    except UnreadableError as error:
        print(error)
        return Outcome(0, 1)
    damaged = unchecked = 0
    with progress_bar(f"verify {root}", len(held), "entries") as bar, ThreadPoolExecutor(THREADS) as pool:
        found = pool.map(partial(_check, root), held)
        for each, (faults, doubt) in zip(held, found, strict=True):
            damaged, unchecked = damaged + bool(faults), unchecked + bool(doubt)
            for line in (*(f"fault: {fault}" for fault in faults), *([doubt] if doubt else [])):
                print(line)
            if faults and quarantine:
                _move_away(root, *each)
            bar.advance()
    told = f", {unchecked} could not be checked" if unchecked else ""
    print(f"{root}: {len(held)} entries, {damaged} damaged{told}")
    return Outcome(damaged, unchecked)


def _check(root: LocalRoot | S3Root, each: tuple[str, str]) -> tuple[list[str], str]:
    """The faults of an entry, and why it could not be checked. An entry deleted meanwhile has neither."""
    from weclick.store import LocalRoot, UnreachableRootError

    try:
        faults = root.faults(*each)
        gone = faults and isinstance(root, LocalRoot) and not is_there(root.folder(*each))
    except (UnreadableError, UnreachableRootError) as error:
        return [], str(error)
    return ([] if gone else faults), ""


def _move_away(root: LocalRoot | S3Root, kind: str, key: str) -> None:
    """Move an entry into quarantine if a second look finds it damaged, too."""
    from weclick.store import LocalRoot

    if isinstance(root, LocalRoot) and _check(root, (kind, key))[0]:
        print(f"moved to {root.quarantine(kind, key)}")


def _unfit(root: LocalRoot | S3Root, kind: list[str] | None, trust: Trust) -> int:
    """Count the signatures by trusted keys that do not fit, and print how many entries are signed."""
    from weclick.store import DamagedEntryError
    from weclick.store.signatures import UNFIT

    judged: Counter[str] = Counter()
    for each in _of(kind, _held(root)) if trust else ():
        with suppress(DamagedEntryError, UnreadableError):  # told before
            if meta := root.find_meta(*each):
                judged[found := trust.judge(root, meta)] += 1
                if found == UNFIT:
                    print(f"fault: {root}: {each[0]} entry {each[1]} is {UNFIT}")
    if judged:
        print(f"{root}: {', '.join(f'{count} {found}' for found, count in sorted(judged.items()))}")
    return judged[UNFIT]


def opened(config: str, change: list[str] | None, *, defaults: bool = False) -> tuple[sections.Config, Store]:
    """The complete configuration, and its store.

    Args:
        config: as given, or DEFAULT.
        change: values over it.
        defaults: the verb asks only for the roots and how to reach them, so the defaults do where no file is
            named and DEFAULT is not there, as outside of a checkout.
    """
    if defaults and config == DEFAULT and not Path(DEFAULT).exists():
        config = "{}"
    loaded = load_config(config, change or ())
    return loaded, open_store(loaded)


def roots_do(listed: list[Path] | None) -> bool:
    """Whether no listed file is a manifest, whose entries follow from the configuration."""
    return not any(stage_of(path) == "manifest" for path in listed or ())


def root_of(given: str, config: sections.Config) -> LocalRoot | S3Root:
    """A root by its name, as people type it."""
    from weclick.store import open_root

    s3 = cast("Mapping[str, str | None]", config["cache"]["s3"])  # mypy takes its values for objects
    return open_root(given, s3)


def _held(root: LocalRoot | S3Root) -> Iterator[tuple[str, str]]:
    """Kind and key of all entries of a root."""
    return ((kind, key) for kind in KINDS for key in root.keys(kind))


def _of(kinds: list[str] | None, entries: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    chosen = kinds_of(kinds)
    return (entry for entry in entries if entry[0] in chosen)


def chosen_of(
    kinds: list[str] | None, root: LocalRoot | S3Root, wanted: Iterable[tuple[str, str]] | None
) -> list[tuple[str, str]]:
    """Kind and key of the wanted entries, or of all that a root holds, of some kinds; each once."""
    return list(dict.fromkeys(_of(kinds, _held(root) if wanted is None else wanted)))


def kinds_of(given: list[str] | None) -> tuple[str, ...]:
    """The kinds of entries that --kind names, by default all.

    Raises:
        InputError: it names another one.
    """
    for kind in set(given or ()) - set(KINDS):
        raise InputError(f"unknown kind of entry {kind!r}, expected one of {', '.join(KINDS)}")
    return tuple(given or KINDS)


def _copy(
    what: str,
    sources: list[LocalRoot | S3Root],
    target: LocalRoot | S3Root,
    wanted: Iterable[tuple[str, str]],
) -> None:
    _end(_copied(f"{what}: {target}", sources, target, wanted))


def _copied(
    what: str,
    sources: list[LocalRoot | S3Root],
    target: LocalRoot | S3Root,
    wanted: Iterable[tuple[str, str]],
    accept: Accept = lambda *_: True,
) -> Outcome:
    """Copy with a bar, and print a summary."""
    from weclick.common.progress import progress_bar
    from weclick.common.words import count_bytes
    from weclick.store import copy_entries

    entries = list(dict.fromkeys(wanted))
    with progress_bar(what, len(entries), "entries") as bar:
        done = copy_entries(sources, target, entries, bar.advance, accept=accept)
    size = count_bytes(done.copied_bytes)
    print(f"{what}: {done.copied} entries copied ({size}), {done.skipped} were there")
    for notice, count in done.licences.items():
        print(f"licence of {count} copied entries: {notice}")
    for fault in done.faults:
        print(f"fault: {fault}")
    for doubt in done.unchecked:
        print(doubt)
    if done.refused:
        print(f"{done.refused} entries hold other content than a lock pins")
    if done.missing:
        kind, key = done.missing[0]
        print(f"{len(done.missing)} entries are in no root, e.g. {kind} {key}")
    return Outcome(len(done.faults) + len(done.missing), len(done.unchecked))


def _accept(store: Store, pins: Pins, target: LocalRoot | S3Root | None = None) -> Accept:
    """What may be copied: pinned content, and into the local root only what trusted keys signed."""
    from weclick.store.pins import check_pin

    asked = str(target or store.local) == str(store.local)

    def accept(root: LocalRoot | S3Root, meta: Mapping[str, Any]) -> bool:
        if asked and str(root) != str(store.local) and not store.trust.accepts(root, meta):
            return False
        check_pin(pins, root, meta)
        return True

    return accept


def _pins(listed: Iterable[Path]) -> Pins:
    """What the locks of these results pin; a line on stderr tells of those that pin nothing."""
    from weclick.runs.lock import read_lock
    from weclick.runs.pins import locks_of, pins_of

    locks = {path: read_lock(path) for path in locks_of(listed)}
    for path in (path for path, lock in locks.items() if "contents" not in lock):
        print(f"{path}: this lock is of an earlier weclick and pins no contents of entries", file=sys.stderr)
    return pins_of(locks.values())


def _end(*outcomes: Outcome) -> None:
    if any(outcome.failed for outcome in outcomes):
        raise typer.Exit(1)
    if any(outcome.unchecked for outcome in outcomes):
        raise typer.Exit(UNCHECKED_STATUS)
