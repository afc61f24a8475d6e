"""From a folder of videos or images to a data set and its configuration."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from weclick.common.errors import InputError
from weclick.common.files import write_text
from weclick.common.gpus import visible_gpus
from weclick.common.sections import Config, Method, Supervision
from weclick.common.stages import METHODS, TAGGED
from weclick.datasets import open_dataset
from weclick.runs.init.bases import MACHINES, Machine
from weclick.runs.init.classes import class_names, classes_text, known_names
from weclick.runs.init.configuration import Choices, check_configuration, configuration_text
from weclick.runs.init.place import find_place, make_links
from weclick.runs.init.seen import Seen, look_at

USUAL_FOLDER = Path("data/mine")
"""Where the shipped configurations have their own clips; taken if nobody names a folder and it is there."""


class Ask(Protocol):
    """Asks the user, or takes the default where nobody can answer."""

    def __call__(self, option: str, question: str, default: str | None, among: Sequence[str] = ()) -> str:
        """The answer; `option` is what else gives it. Raises InputError if there is neither."""


@dataclass(frozen=True)
class Given:
    """What the command line says; None where it says nothing.

    Attributes:
        folder: a data set, or what one is made of.
        data: folder of a data set that is made of another folder.
        classes: names with commas between them.
        method, supervision: as in the configuration.
        machine: small or gpu.
        output: the configuration to write.
        force: whether files may be replaced.
    """

    folder: Path | None
    data: Path | None
    classes: str | None
    method: str | None
    supervision: str | None
    machine: str | None
    output: Path
    force: bool


@dataclass(frozen=True)
class Begun:
    """What was begun.

    Attributes:
        seen: what the data set holds.
        config: the configuration that was written.
    """

    seen: Seen
    config: Config


def begin(given: Given, ask: Ask) -> Begun:
    """Make a data set of a folder, with links where it needs some, and write a configuration of it.

    If anything is wrong, nothing that was made stays.

    Raises:
        InputError: a file is there already, something is missing, or the folder is no data set.
    """
    if given.output.exists() and not given.force:
        raise InputError(
            f"{given.output}: is there already; --force replaces it, --output names another file"
        )
    _check_options(given)
    place = find_place(_folder(given, ask), given.data)
    names = _classes(given, place.root / "classes.yaml", ask)
    with ExitStack() as undo:
        make_links(place, undo)
        seen = look_at(place.root)
        text = configuration_text(seen, _choices(given, seen, ask), given.output)
        if names:
            _write_classes(place.root / "classes.yaml", names, undo)
        config = _checked(text, seen, given.output)
        write_text(given.output, text)
        undo.pop_all()  # all went well
    return Begun(seen, config)


def _check_options(given: Given) -> None:
    """Raises InputError if an option is wrong, whatever the folder holds."""
    if given.classes is not None:
        class_names(given.classes)
    if given.machine is not None:
        _one_of("--size", given.machine, MACHINES)
    if given.method is not None:
        _one_of("--method", given.method, tuple(METHODS))
    if (method := _named_method(given)) and given.supervision is not None:
        _check_supervision(given.supervision, method)


def _write_classes(path: Path, names: Sequence[str], undo: ExitStack) -> None:
    if path.exists():
        undo.callback(write_text, path, path.read_text(encoding="utf-8"))
    else:
        undo.callback(path.unlink)
    write_text(path, classes_text(names))


def _checked(text: str, seen: Seen, output: Path) -> Config:
    """The configuration, complete; its splits are listed if there is something to learn from."""
    config = check_configuration(text, str(output))
    if seen.labelled or seen.clicked or (seen.tags and config["method"] in TAGGED):
        dataset = open_dataset(config["data"], config["clicks"]["mix"], config["tags"])
        for split in (config["data"]["train"], config["data"]["val"]):
            dataset.clips(split)
    return config


def _folder(given: Given, ask: Ask) -> Path:
    named = given.folder or given.data
    usual = str(USUAL_FOLDER) if USUAL_FOLDER.is_dir() else None
    return named or Path(ask("FOLDER", "Folder of your videos or images", usual)).expanduser()


def _classes(given: Given, path: Path, ask: Ask) -> list[str]:
    """Names for a classes file to write; none if it is there and stays."""
    known = known_names(path)
    if known and not given.classes:
        return []
    asked = given.classes or ask("--classes", "Classes, with commas between them, e.g. background,car", None)
    names = class_names(asked)
    if known and known != names and not given.force:
        raise InputError(
            f"{path}: has the classes {', '.join(known)}, but --classes names {', '.join(names)}; leave "
            "--classes out, correct the file, or replace it with --force"
        )
    return names if known != names else []


def _one_of(option: str, value: str, allowed: Sequence[str]) -> str:
    """The value, if it is allowed."""
    if value not in allowed:
        raise InputError(f"{option} is {value!r}, expected {', '.join(allowed)}; choose one of them")
    return value


def _choices(given: Given, seen: Seen, ask: Ask) -> Choices:
    method = _method(given, seen, ask)
    allowed = METHODS[method].supervisions
    supervision = given.supervision or allowed[0]
    if seen.labelled and not given.supervision and len(allowed) > 1:
        supervision = ask("--supervision", "Learn from", allowed[0], ("clicks", "masks", "both"))
    _check_supervision(supervision, method)
    usual = "gpu" if visible_gpus() else "small"
    machine = given.machine or ask("--size", "Machine; for small two cores are enough", usual, MACHINES)
    machine = _one_of("--size", machine, MACHINES)
    return Choices(method, cast("Supervision", supervision), cast("Machine", machine))


def _method(given: Given, seen: Seen, ask: Ask) -> Method:
    if named := _named_method(given):
        return named
    question = "Method; weclick learns from clicks or masks, the others from tags"
    return cast("Method", ask("--method", question, seen.method, tuple(METHODS)))


def _named_method(given: Given) -> Method | None:
    """The method that the options name; None if they leave it open."""
    if given.method or not given.supervision:
        return cast("Method | None", given.method)
    return "two_stream" if given.supervision == "tags" else "weclick"  # as a configuration means it


def _check_supervision(supervision: str, method: Method) -> None:
    """Raises InputError if a method does not learn from that."""
    if supervision not in (allowed := METHODS[method].supervisions):
        raise InputError(
            f"--supervision is {supervision!r}, but method {method} learns from {' or '.join(allowed)}; "
            "leave it out, or choose another --method"
        )
