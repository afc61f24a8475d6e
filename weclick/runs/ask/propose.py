"""What `weclick ask` does: look at the frames of a data set, and list the places to ask about."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from weclick.clicks.asking import AskOptions, propose
from weclick.common import words
from weclick.common.digest import file_digest
from weclick.common.errors import MissingFileError
from weclick.common.progress import progress_bar
from weclick.manifest.click_log import CLICK_LOG, ClickLog, LoggedClick
from weclick.runs.ask.answers import Honest, Place, void_places
from weclick.runs.ask.ask_list import AskList, NamedAsk
from weclick.runs.ask.look import Observer, frames_to_look_at
from weclick.runs.click.media import Media


def propose_asks(
    root: Path,
    checkpoint: Path,
    *,
    classes: Path | None,
    count: int,
    every_s: float,
    at_most: int,
    options: AskOptions,
    seed: int | None,
    device: str,
) -> tuple[AskList, list[dict[str, Any]]]:
    """Places to ask about, chosen by the present student.

    Args:
        root: of the data set.
        checkpoint: the student's model.safetensors.
        classes: another classes file than `<root>/classes.yaml`.
        count: how many places.
        every_s, at_most: which frames are looked at, as in `frames_to_look_at`.
        options: how places are chosen.
        seed: of the draws; None draws one.
        device: cpu or cuda.

    Returns:
        The list, and the events of the log of clicks.

    Raises:
        MissingFileError: there is no student yet.
        InputError: the student, the clips or the log cannot be used.
    """
    media = Media(root, classes=classes, per_clip=1)
    if not checkpoint.is_file():
        raise MissingFileError(
            f"{checkpoint}: there is no student yet; click some frames (`weclick click --root {root}`), "
            "train one (`weclick run CONFIG`; `weclick init` writes CONFIG), or name another results "
            "folder with --results"
        )
    seed = secrets.randbits(32) if seed is None else seed
    rng = np.random.default_rng(seed)
    log = ClickLog(media.root / CLICK_LOG)
    log.read_on()
    places = frames_to_look_at(media, every_s, at_most)
    looked = []
    with progress_bar("look", len(places), "frames") as bar:
        for each in Observer(checkpoint, media, device).look(places, rng):
            looked.append(each)
            bar.advance()
    names = [media.names(place) for place in places]
    pixels = _clicked(log.clicks(), void_places(log.events))
    found = propose(looked, [np.array(pixels.get(name, [])) for name in names], count, rng, options)
    classes_of = media.classes.names
    asks = [
        NamedAsk(*names[ask.frame], ask.y, ask.x, ask.kind, classes_of[ask.predicted], round(ask.margin, 4))
        for ask in found
    ]
    net = file_digest(checkpoint)[:12]
    return AskList(net, len(places), options, seed, tuple(asks)), log.events


def _clicked(
    clicks: Iterable[LoggedClick], void: Iterable[Place]
) -> Mapping[tuple[str, str], list[tuple[int, int]]]:
    """The pixels of each frame that have a click, or of which somebody could not tell."""
    pixels: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for click in clicks:
        pixels.setdefault((click.clip, click.frame), []).extend(click.points or [(click.y, click.x)])
    for clip, frame, y, x in void:
        pixels.setdefault((clip, frame), []).append((y, x))
    return pixels


def lines_of(asked: AskList, honest: Iterable[Honest]) -> list[str]:
    """The list as a short table: where the network is unsure, by the class that it predicts."""
    asks = asked.asks
    frames = len({(ask.clip, ask.frame) for ask in asks})
    unsure = [ask for ask in asks if ask.kind == "margin"]
    table = [f"{'predicted':<20}{'unsure':>8}{'margin':>8}{'random':>8}"]
    for name in sorted({ask.predicted for ask in asks}):
        found = [ask.margin for ask in unsure if ask.predicted == name]
        drawn = sum(ask.kind == "random" and ask.predicted == name for ask in asks)
        mean = f"{np.mean(found):.2f}" if found else words.DASH
        table.append(f"{name:<20}{len(found):>8}{mean:>8}{drawn:>8}")
    told = f"{len(asks)} places on {frames} of {asked.looked_frames} frames that were looked at, "
    return [*table, told + f"{len(asks) - len(unsure)} of them drawn uniformly", *map(honest_line, honest)]


def honest_line(honest: Honest) -> str:
    """What the random answers say of a network."""
    share = (
        f"{words.percent(honest.accuracy)} % ({words.percent(honest.low)} to {words.percent(honest.high)} %)"
        if honest.answers
        else "not known yet"
    )
    void = f", and {honest.void} that nobody could tell" if honest.void else ""
    return f"network {honest.net}: honest accuracy {share} from {honest.answers} random places{void}"
