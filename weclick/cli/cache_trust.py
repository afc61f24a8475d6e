"""`weclick cache keygen` and `sign`: a team signs the entries that it vouches for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from weclick.cli.app import DEFAULT, Config, Set
from weclick.cli.cache import Kinds, Listed, cache, chosen_of, opened, root_of, roots_do
from weclick.runs.listed import wanted_of


@cache.command()
def keygen(
    path: Annotated[Path, typer.Argument(help="File of the new private key; FILE.pub gets the public one.")],
) -> None:
    """Make a pair of Ed25519 keys to sign entries with.

    Keep the private file to yourself; whoever has it can sign. Give the public one to all who read your
    entries: they name it, or the line in it, in cache.trusted_keys. `ssh-keygen -t ed25519 -N ''` makes the
    same kind of keys.

    Example:

        weclick cache keygen ~/.config/weclick-team
    """
    from weclick.store.signatures import make_key

    print(f"{make_key(path)}\nprivate key: {path}; public key: {path}.pub, for cache.trusted_keys")


@cache.command()
def sign(
    listed: Listed = None,
    key: Annotated[
        Path, typer.Option("--key", help="File of your private key, made by `weclick cache keygen`.")
    ] = ...,  # type: ignore[assignment]
    root: Annotated[
        str | None, typer.Option("--root", help="A folder, or s3://bucket/prefix. Default: the local root.")
    ] = None,
    kind: Kinds = None,
    config: Config = DEFAULT,
    change: Set = None,
) -> None:
    """Sign entries of a root, all or those of a run.

    You vouch that they hold what their keys say. So sign what you computed, in your own root, before you
    publish it; `weclick cache audit` computes a share of other people's entries again. Each entry is read
    whole before it is signed. A damaged one is not signed, and the exit status is 1.

    A signature is a small file in <root>/signatures; publish, fetch and mirror carry it along. People who
    name your public key in cache.trusted_keys read no entry of a team root that you did not sign.

    Examples:

        weclick cache sign --key ~/.config/weclick-team

        weclick cache sign results --key ~/.config/weclick-team --root s3://team/weclick
    """
    from concurrent.futures import ThreadPoolExecutor

    from weclick.common.progress import progress_bar
    from weclick.store.roots.transfer import THREADS
    from weclick.store.signatures import SIGNED, Trust, read_private_key, sign_entry, spell_key

    private = read_private_key(key)
    public = spell_key(private.public_key())
    loaded, store = opened(config, change, defaults=roots_do(listed))
    chosen = root_of(root, loaded) if root else store.local
    mine = Trust([public])

    def sign_one(each: tuple[str, str]) -> str:
        meta = chosen.find_meta(*each)
        if meta is None or mine.judge(chosen, meta) == SIGNED:
            return "missing" if meta is None else "there"
        if faults := chosen.faults(*each):
            return f"fault: {faults[0]}"
        if (chosen.find_meta(*each) or {}).get("digest") != meta["digest"]:
            return f"fault: {chosen}: {each[0]} entry {each[1]} was replaced while it was read"
        sign_entry(chosen, meta, private)
        return "signed"

    wanted = chosen_of(kind, chosen, wanted_of(listed, loaded) if listed else None)
    with progress_bar(f"sign {chosen}", len(wanted), "entries") as bar, ThreadPoolExecutor(THREADS) as pool:
        outcomes = []
        for outcome in pool.map(sign_one, wanted):
            outcomes.append(outcome)
            bar.advance()
    faults = [outcome for outcome in outcomes if outcome.startswith("fault")]
    print(*faults, sep="\n", end="\n" if faults else "")
    signed, there, missing = (outcomes.count(word) for word in ("signed", "there", "missing"))
    print(f"{chosen}: {signed} entries signed by {public}, {there} were signed before")
    if missing:
        print(f"{missing} entries are not in this root")
    if faults or missing:
        raise typer.Exit(1)
