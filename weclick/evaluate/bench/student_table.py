"""The table of `weclick bench student`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from weclick.common.load import busy_words


def show(result: Mapping[str, Any]) -> None:
    """Print the figures of `bench_students`; they are not cut off where the output is no terminal."""
    console = Console()
    console = console if console.is_terminal else Console(width=120)
    heads = ("network", "size", "parameters", "mult.-adds", "mode", "ms a frame", "frames/s", "paper, V100")
    table = Table(
        title=f"Students on {result['machine']['device']}, one frame at a time", title_justify="left"
    )
    for head in heads:
        words = head in ("network", "size", "mode")
        table.add_column(head, justify="left" if words else "right", overflow="fold")
    last = None
    for row in result["table"]:
        if last not in (None, (row["network"], row["size_px"])):
            table.add_section()
        last = row["network"], row["size_px"]
        table.add_row(
            escape(row["network"]),
            spell_size(row["size_px"]),
            f"{row['parameters'] / 1e6:.2f} M",
            f"{row['multiply_adds'] / 1e9:.1f} G",
            row["mode"],
            f"{row['ms_per_frame']:.1f}",
            f"{row['frames_per_second']:.2f}",
            "-" if row["paper_frames_per_second"] is None else f"{row['paper_frames_per_second']:.2f}",
        )
    console.print(table)
    if busy := busy_words(result["machine"].get("load")):
        console.print(f"{busy}: measure again on an idle one", highlight=False)


def spell_size(size: Sequence[int]) -> str:
    """(H, W) -> "HxW"."""
    return "x".join(map(str, size))
