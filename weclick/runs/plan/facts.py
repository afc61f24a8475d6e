"""What is known of a run while its plan is made."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from weclick.common.progress import Bar
from weclick.common.sections import Config
from weclick.manifest import Clip, Manifest
from weclick.runs.experiment import plan as experiments
from weclick.runs.wanted import Wanted
from weclick.store import Store
from weclick.store.index import WINDOW
from weclick.store.older import Older


@dataclass
class Facts:
    """The facts about a run while its plan is made."""

    config: Config
    store: Store
    device: str
    budget_s: float
    until: float
    bar: Bar
    timed: bool
    train: Manifest
    val: Manifest
    experiment: experiments.Plan | None
    notes: list[str] = field(default_factory=list)

    @cached_property
    def wanted(self) -> Wanted:
        """The entries that the run asks for, as far as they are known without a teacher."""
        return Wanted(self.config)

    def lacking(self, kind: str, keys: Mapping[str, str]) -> set[str]:
        """Ids of the clips whose entry no root has."""
        return {clip for clip, key in keys.items() if self.store.find(kind, key) is None}

    def taken(
        self, kind: str, clips: Sequence[Clip], missing: set[str], wanted: Wanted | None = None
    ) -> dict[str, int]:
        """Clip id -> frames of its missing entry that older entries hold."""
        return {clip: len(steps) for clip, steps in self._held(kind, clips, missing, wanted).items()}

    def taken_pairs(self, clips: Sequence[Clip], missing: set[str], need: str) -> dict[str, int]:
        """Clip id -> pairs of its missing entry of a need that older entries hold, or needs before it."""
        functions = self.wanted.needs.functions
        before = [*functions.values()][: [*functions].index(need)]
        held = self._held("flow", clips, missing, need=need)
        for clip in (clip for clip in clips if clip.id in held):
            made = {pair for function in before for pair in function(clip)}
            held[clip.id] |= {i for i, pair in enumerate(functions[need](clip)) if pair in made}
        return {clip: len(steps) for clip, steps in held.items()}

    def _held(
        self,
        kind: str,
        clips: Sequence[Clip],
        missing: set[str],
        wanted: Wanted | None = None,
        need: str = WINDOW,
    ) -> dict[str, set[int]]:
        """Clip id -> steps of its missing entry that older entries hold."""
        lacking = [clip for clip in clips if clip.id in missing]
        asked = {clip.id: (wanted or self.wanted).inputs(kind, clip, need=need) for clip in lacking}
        inputs = {clip: found for clip, found in asked.items() if found is not None}
        older = Older(self.store, kind, "pairs" if kind == "flow" else "frames", inputs.values())
        return {clip: older.listed(found) for clip, found in inputs.items()}

    def budget(self) -> float:
        """Seconds for the next probe: its own bound, and what is left of that of all."""
        return min(self.budget_s, max(self.until - time.perf_counter(), 0.0))

    def seconds(self, value: float) -> float | None:
        """The time, or None if no times were asked for."""
        return value if self.timed else None
