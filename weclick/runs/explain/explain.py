"""Why the store has, or has not, what a run asks for: the answer of `weclick cache explain`.

An entry's key is the digest of its inputs, so of two keys nothing can be said but that they differ. Inputs
can be compared, and so the nearest entry tells what would have to be the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from weclick.clicks import read_clicks
from weclick.common.config import select
from weclick.common.errors import InputError
from weclick.datasets.frames import frames_inputs
from weclick.flow.estimators import estimator_digest
from weclick.flow.jobs import key_inputs
from weclick.manifest import Clip, Manifest, read_manifests
from weclick.manifest.window import Window, stored_pairs
from weclick.proxy_labels.soft_labels import soft_labels_inputs
from weclick.runs.explain.differences import AT_MOST, differences
from weclick.store import Store, Summary, entry_key, file_digest, look_up, read_index, read_ledger
from weclick.train.data.stream import Caches
from weclick.train.online import OnlineSection
from weclick.train.recipe import Recipe


@dataclass(frozen=True)
class Question:
    """An entry that a run asks for, or why it asks for none.

    Attributes:
        kind: of KINDS.
        inputs: what its key is the digest of; None where the run asks for none.
        why_not: then says why.
        names: digest of a frame -> its name in the data set.
    """

    kind: str
    inputs: Mapping[str, Any] | None
    why_not: str = ""
    names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What the store says to a question.

    Attributes:
        question: that was asked.
        key: of the entry.
        found: the entry in the first root that has it, or None.
        nearest: where it was not found, the entry of its kind that shares most frames; None: none shares any.
        differences: between the inputs of both, each in words.
    """

    question: Question
    key: str = ""
    found: Summary | None = None
    nearest: Summary | None = None
    differences: tuple[str, ...] = ()


def clip_questions(
    clip_id: str, manifests: Sequence[Manifest], config: Mapping[str, Any], teacher: Path
) -> list[Question]:
    """The entries that a run asks for a clip.

    Args:
        clip_id: as in the manifests.
        manifests: of all splits and shards.
        config: complete.
        teacher: its model.safetensors, which need not be there.

    Raises:
        InputError: no manifest lists the clip.
    """
    found = [(manifest, clip) for manifest in manifests for clip in manifest.clips if clip.id == clip_id]
    if not found:
        known = [clip.id for manifest in manifests for clip in manifest.clips]
        raise InputError(
            f"{clip_id!r} is no clip of these manifests; they list {len(known)}, e.g. "
            f"{', '.join(known[:AT_MOST])}"
        )
    manifest, clip = found[0]
    names = {frame.digest: frame.name for frame in clip.frames}
    asked: list[Question] = []
    trained = manifest.split == config["data"]["train"]
    for kind, inputs in (
        ("frames", _frames(clip, config) if trained else _untrained(manifest)),
        ("flow", _flow(clip, config)),
        ("soft_labels", _soft_labels(clip, config, teacher) if trained else _untrained(manifest)),
    ):
        asked.append(
            Question(kind, None, inputs) if isinstance(inputs, str) else Question(kind, inputs, names=names)
        )
    return asked


def network_question(role: str, results: Path, config: Mapping[str, Any], store: Store) -> Question:
    """The network that a run trains next, of the results that its earlier stages left.

    Args:
        role: teacher or student.
        results: folder with manifests, clicks and indexes.
        config: complete.
        store: of the run.

    Raises:
        InputError: a stage has not run yet; it is named.
    """
    chosen, split = select(config, role), config["data"]["train"]
    in_loop = OnlineSection.of(chosen)
    stages = ("frames",) if role == "teacher" or in_loop else ("frames", "flow", "soft_labels")
    indexes = {stage: read_index(_shards(results, stage, split, config), stage) for stage in stages}
    recipe = Recipe(
        role=role,
        config=chosen,
        manifest=read_manifests(_shards(results, "manifest", split, config)),
        clicks=read_clicks(results / "clicks" / f"{split}.h5"),
        caches=Caches(store, indexes["frames"], indexes.get("flow", {}), indexes.get("soft_labels", {})),
        validation=read_manifests(_shards(results, "manifest", config["data"]["val"], config)),
        in_loop=in_loop,
    )
    return Question("models", recipe.inputs())


def _shards(results: Path, stage: str, split: str, config: Mapping[str, Any]) -> list[Path]:
    return [results / stage / split / f"{shard}.json" for shard in range(config["data"]["shards"])]


def answer(questions: Iterable[Question], store: Store) -> list[Answer]:
    """Look up what is asked for, and compare what is not found with the nearest entry of any root.

    Raises:
        DamagedEntryError: an entry is there, but not as it was committed.
        UnreachableRootError: a bucket does not answer.
    """
    roots = [*store.team, store.local]
    answers = []
    for question in questions:
        if question.inputs is None:
            answers.append(Answer(question))
            continue
        key = entry_key(question.kind, question.inputs)
        if found := look_up(roots, question.kind, key):
            answers.append(Answer(question, key, found))
            continue
        near = _nearest(question, read_ledger(roots, [question.kind]).entries)
        told = tuple(_differences(question, near)) if near else ()
        answers.append(Answer(question, key, None, near, told))
    return answers


def _frames(clip: Clip, config: Mapping[str, Any]) -> Mapping[str, Any] | str:
    options = config["frames"]
    if not options["pack"]:
        return "frames.pack is false, so frames stay in their files"
    return frames_inputs(clip, options["chunk_px"], options["codec"])


def _flow(clip: Clip, config: Mapping[str, Any]) -> Mapping[str, Any] | str:
    pairs = stored_pairs(Window(**config["window"]), config["evaluate"]["max_gap_frames"])(clip)
    if not pairs:
        return "the clip has no target with a neighbour in the window, so no flow is asked for"
    options = config["flow"]
    return key_inputs(clip, pairs, estimator_digest(options["estimator"], **options["options"]), options)


def _soft_labels(clip: Clip, config: Mapping[str, Any], teacher: Path) -> Mapping[str, Any] | str:
    if not teacher.is_file():
        return f"{teacher} is not there: soft labels are named by their teacher, which must be trained first"
    options = config["soft_labels"]
    return soft_labels_inputs(clip, file_digest(teacher), options["chunk_px"], options["codec"])


def _untrained(manifest: Manifest) -> str:
    return f"the clip is of split {manifest.split!r}, and a run makes them for the training split alone"


def _nearest(question: Question, entries: Iterable[Summary]) -> Summary | None:
    """The entry that shares most frames with what is asked for, or the role; of equals, the most alike."""
    if question.inputs and question.kind == "models":
        best = [entry for entry in entries if entry.inputs.get("role") == question.inputs["role"]]
    else:
        shared = [(len(question.names.keys() & entry.frames), entry) for entry in entries]
        most = max((count for count, _ in shared), default=0)
        best = [entry for count, entry in shared if count == most > 0]
    return min(best, key=lambda entry: len(list(_differences(question, entry))), default=None)


def _differences(question: Question, entry: Summary) -> Iterator[str]:
    return differences(question.inputs or {}, question.names, entry)
