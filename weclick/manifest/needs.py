"""What each method needs of flow: which pairs of a clip, and how far a clip is read for them.

A need is a pure function of a clip that gives (target, neighbour) positions in its frames. One store entry
holds one need of one clip. Gaps are counted in frames of the source video (`Frame.number`). A training clip
is one with targets; all of its frames in the manifest are training frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Literal, get_args

from weclick.common.sections import Method
from weclick.manifest import Clip
from weclick.manifest.window import Window, reach_frames, wanted_pairs

Need = Literal["window", "chain", "step", "pair", "stack"]
Pairs = tuple[tuple[int, int], ...]
"""(target, neighbour) positions in a clip's frames."""

NEEDS: tuple[Need, ...] = get_args(Need)
"""All needs, in the order in which their entries are made: a later one takes pairs over from the earlier."""


def chain(clip: Clip, gap_frames: int, target: str = "last") -> Pairs:
    """i -> i - gap for every training frame i: the steps of F2F's union (Lee et al. 2019).

    A union that ends in the `middle` of its frames also comes from later ones: it needs i -> i + gap too.
    """
    gaps = [-gap_frames, gap_frames] if target == "middle" else [-gap_frames]
    return _pairs(clip, _training(clip), [(0, gap) for gap in gaps])


def step(clip: Clip) -> Pairs:
    """t -> t + 1 for every training frame t: the motion that flowIRN looks at (Liu et al. 2021)."""
    return _pairs(clip, _training(clip), [(0, 1)])


def pair(clip: Clip, delta_frames: int) -> Pairs:
    """t -> t + delta and back for every training frame t: the pairs of MaskConsist (Liu et al. 2021)."""
    return _pairs(clip, _training(clip), [(0, delta_frames), (delta_frames, 0)])


def stack(clip: Clip, first: int, length: int) -> Pairs:
    """t' -> t' + 1 for `length` frames t' from t + first on, t a target or scored: the input of the motion
    stream of Saleh et al. (2017)."""
    anchors = sorted({*clip.targets, *clip.scored})
    return _pairs(clip, anchors, [(gap, gap + 1) for gap in range(first, first + length)])


def _training(clip: Clip) -> Iterable[int]:
    return range(len(clip.frames)) if clip.targets else ()


def _pairs(clip: Clip, anchors: Iterable[int], gaps: Iterable[tuple[int, int]]) -> Pairs:
    """The pairs at some gaps from each anchor, as far as the clip has both frames; each pair once."""
    position = {frame.number: i for i, frame in enumerate(clip.frames)}
    numbers = [clip.frames[i].number for i in anchors]
    asked = [(number + target, number + other) for number in numbers for target, other in gaps]
    found = [(position[a], position[b]) for a, b in asked if a in position and b in position]
    return tuple(dict.fromkeys(found))


@dataclass(frozen=True)
class Served:
    """What a method needs beside `window`.

    Attributes:
        pairs: need -> its function.
        far_frames: how far these reach from targets and scored frames.
        whole: whether training clips are kept whole.
    """

    pairs: Mapping[Need, Callable[[Clip], Pairs]] = field(default_factory=dict)
    far_frames: int = 0
    whole: bool = False


def _f2f(config: Mapping[str, Any]) -> Served:
    """A run of frames may lie anywhere in its clip, so clips stay whole. Only the flow reads the rest."""

    def of_runs(clip: Clip) -> Pairs:
        return chain(clip, config["proxy_labels"]["gap_frames"], config["proxy_labels"]["target"])

    return Served({"chain": of_runs}, whole=True)


def _two_stream(config: Mapping[str, Any]) -> Served:
    first, length = config["stack"]["first"], config["stack"]["length"]
    far_frames = max(abs(first), abs(first + length))
    return Served({"stack": partial(stack, first=first, length=length)}, far_frames)


def _maskconsist(config: Mapping[str, Any]) -> Served:
    delta_frames = config["pair"]["delta_frames"]
    return Served({"step": step, "pair": partial(pair, delta_frames=delta_frames)}, delta_frames)


NEEDS_OF: dict[Method, Callable[[Mapping[str, Any]], Served]] = {
    "weclick": lambda config: Served(),
    "f2f": _f2f,
    "two_stream": _two_stream,
    "maskconsist": _maskconsist,
}
"""Method -> what it needs beside `window`, from the configuration."""


@dataclass(frozen=True)
class Needs:
    """What the served methods need, all together.

    All of them need `window`: it holds the pairs whose temporal consistency is scored. The neighbours of
    targets are in it for WeClick alone.

    Attributes:
        window: of WeClick's training; one without neighbours if WeClick is not served.
        max_gap_frames: largest gap between frames whose consistency is scored.
        served: what each served method needs beside that.
    """

    window: Window
    max_gap_frames: int
    served: tuple[Served, ...] = ()

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Needs:
        """The needs of the methods that `serves` names.

        Args:
            config: complete, or what the stages manifest and flow read of it.
        """
        serves: list[Method] = config["serves"]
        window = Window(**config["window"]) if "weclick" in serves else Window(frames=1)
        served = tuple(NEEDS_OF[method](config) for method in serves)
        return cls(window, config["evaluate"]["max_gap_frames"], served)

    @property
    def names(self) -> tuple[str, ...]:
        """The needs that are served, in the order of NEEDS."""
        return tuple(self.functions)

    @property
    def reach_frames(self) -> int:
        """How far a clip is read around its targets and scored frames; see also `whole`."""
        far_frames = (served.far_frames for served in self.served)
        return max(reach_frames(self.window, self.max_gap_frames), *far_frames, 0)

    @property
    def whole(self) -> bool:
        """Whether training clips are kept whole."""
        return any(served.whole for served in self.served)

    def pairs(self, clip: Clip, need: str = "window") -> Pairs:
        """The pairs of one need of a clip; none if it is not served."""
        return self.functions[need](clip) if need in self.functions else ()

    def all_pairs(self, clip: Clip) -> Pairs:
        """Every pair of a clip that gets a flow, each once, need by need."""
        return tuple(dict.fromkeys(pair for function in self.functions.values() for pair in function(clip)))

    @cached_property
    def functions(self) -> dict[str, Callable[[Clip], Pairs]]:
        """Each need that is served, in the order of NEEDS -> its pairs of a clip."""
        window = partial(wanted_pairs, window=self.window, max_gap_frames=self.max_gap_frames)
        found: dict[Need, Callable[[Clip], Pairs]] = {"window": window}
        for served in self.served:
            found |= served.pairs
        return {need: found[need] for need in NEEDS if need in found}
