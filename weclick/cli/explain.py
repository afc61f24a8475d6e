"""`weclick cache explain`: why the store has or lacks an entry that a run asks for."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weclick.cli.app import DEFAULT, Config, Set
from weclick.cli.cache import cache, opened
from weclick.common.errors import MissingFileError
from weclick.common.stages import MODELS, ROLES
from weclick.manifest import read_manifest
from weclick.runs.layout import Layout
from weclick.runs.teachers import teacher_files

if TYPE_CHECKING:  # importing it takes longer than printing help
    from weclick.runs.explain.explain import Answer
    from weclick.store import Store, Summary


@cache.command()
def explain(
    clip: Annotated[
        str, typer.Argument(help="Id of a clip; or classifier, teacher or student for that network.")
    ],
    manifest: Annotated[
        list[Path] | None,
        typer.Option(help="Manifests that list the clip. Default: those of the configuration's results."),
    ] = None,
    teacher: Annotated[
        list[Path] | None,
        typer.Option(help="A teacher of soft labels; may be repeated. Default: those of the configuration."),
    ] = None,
    config: Config = DEFAULT,
    change: Set = None,
) -> None:
    """For a clip or a network, say which entries a run asks for, and where they are or why they are missing.

    An entry is found by the content and the options that it was made from. If it is missing, the answer
    names the nearest entry of any root, and lists its differences by name with both values.

    Examples:

        weclick cache explain street_0003

        weclick cache explain street_0003 --set flow.options.preset=fast

        weclick cache explain student
    """
    from weclick.runs.explain.explain import answer, clip_questions, network_question

    loaded, store = opened(config, change)
    layout = Layout(Path(loaded["results"]))
    if clip in ROLES:
        questions = [network_question(clip, layout.folder, loaded, store)]
    else:
        files = manifest or layout.found("manifest")
        if not files:
            raise MissingFileError(
                f"{layout.of('manifest')}: there is no manifest; run that stage, or give --manifest"
            )
        teachers = teacher or teacher_files(loaded, layout)
        manifests = [read_manifest(file) for file in files]
        questions = clip_questions(clip, manifests, loaded, teachers, layout.folder, store)
    for each in answer(questions, store):
        _print(each, store)


def _print(answer: Answer, store: Store) -> None:
    kind, roots = answer.question.kind, ", ".join(map(str, store.roots))
    kind += f" ({answer.question.need})" if answer.question.need else ""
    if answer.question.inputs is None:
        print(f"{kind}: not asked for: {answer.question.why_not}")
    elif answer.found:
        print(f"{kind}: found, {_told(answer.found)}")
    elif answer.nearest:
        print(f"{kind}: not found as {answer.key[:12]}… in {roots}; the nearest is {_told(answer.nearest)}")
        for difference in answer.differences:
            print(f"  {difference}")
    else:
        near = "role" if answer.question.kind == MODELS else "frames"
        print(f"{kind}: not found as {answer.key[:12]}… in {roots}, and no entry shares its {near}")


def _told(entry: Summary) -> str:
    made = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(entry.created_unix_s))
    return f"{entry.key[:12]}… in {entry.root}, made by {entry.user or 'somebody'} on {made}"
