"""`weclick cache audit`: computes a share of a run's entries again, and compares."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated

import typer

from weclick.cli.app import DEFAULT, Config, Device, Set, choose_device
from weclick.cli.cache import Kinds, cache, opened
from weclick.common.errors import InputError

DIFFERS_STATUS = 4
"""Exit status if an entry is not what its stage computes."""


@cache.command()
def audit(
    results: Annotated[
        Path | None, typer.Argument(help="Folder of the run's results. Default: that of the configuration.")
    ] = None,
    sample: Annotated[
        str, typer.Option("--sample", help="How many entries of each kind: a percentage, or a number.")
    ] = "5%",
    seed: Annotated[
        int | None, typer.Option("--seed", help="Draws the same entries again. Default: a random one.")
    ] = None,
    kind: Kinds = None,
    device: Device = "auto",
    config: Config = DEFAULT,
    change: Set = None,
) -> None:
    """Compute a share of a run's entries again, and compare them with every copy in the roots.

    Digests say that an entry is whole. They do not say that it is right, since whoever may write into a root
    can write digests, too. This verb runs the stages frames, masks, flow and soft labels on a few clips, in a
    temporary folder (TMPDIR), and never writes into the store. Networks and clicks are not computed again: a
    lock pins networks (`weclick reproduce`), and clicks lie in the results, not in the store.

    On the machine that made them, entries come out equal bit by bit. Another processor or GPU adds up in
    another order. So in each frame or pair, 1 % of the values may be off by more than 0.5 px of the grid
    (flow) or 0.05 (soft labels). Frames must be equal. What is off by less is told, and is no fault.

    Exit status 4 if an entry differs; a line names it and its root. If one entry in ten is wrong, a sample of
    20 finds that nearly nine times out of ten. --sample 100% looks at all.

    Examples:

        weclick cache audit results

        weclick cache audit results --sample 100% --kind flow --config config/camvid.yaml

        weclick cache audit results --sample 3 --seed 17
    """
    from weclick.runs.audit import AUDITED, CLOSE, DIFFERS, EQUAL, draw, entries_of_run
    from weclick.runs.audit import audit as run_audit

    loaded, store = opened(config, change)
    results = results or Path(loaded["results"])
    for other in set(kind or ()) - set(AUDITED):
        raise InputError(f"--kind is {other!r}, expected one of {', '.join(AUDITED)}")
    seed = secrets.randbelow(2**31) if seed is None else seed
    entries = entries_of_run(results, loaded, kind or AUDITED)
    drawn = draw(entries, sample, seed)
    print(f"audit: {len(drawn)} of {len(entries)} entries, drawn with --seed {seed}")
    found = run_audit(drawn, results, loaded, store, device=choose_device(device))
    for each in found:
        if each.verdict != EQUAL:
            where = f"{each.root}: {each.drawn.kind} entry {each.drawn.key} (clip {each.drawn.clip.id})"
            print(f"{each.verdict}: {where}: {each.told}")
    counts = [sum(each.verdict == verdict for each in found) for verdict in (EQUAL, CLOSE, DIFFERS)]
    nowhere = len({each.key for each in drawn} - {each.drawn.key for each in found})
    print("{} copies in the roots: {} equal, {} within the bound, {} differ".format(len(found), *counts))
    if nowhere:
        print(f"{nowhere} of the drawn entries are in no root")
    if counts[2]:
        raise typer.Exit(DIFFERS_STATUS)
    if not found:
        raise typer.Exit(1)
