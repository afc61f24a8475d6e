"""Says why the store has or lacks an entry that a run asks for, for `weclick cache explain`.

An entry's key is the digest of its inputs, so two keys only tell that they differ. Inputs can be compared.
So the nearest entry shows which inputs would have to be the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from weclick.clicks import read_clicks
from weclick.clicks.tags import read_tags
from weclick.common.errors import InputError
from weclick.common.stages import INDEXED, MODELS, Stage, looks_at_stacks, taken_by, takes
from weclick.manifest import Clip, Manifest, read_manifests
from weclick.runs.cam_source import maps_of_run
from weclick.runs.explain.differences import AT_MOST, differences
from weclick.runs.instance_source import instances_of_run, maps_for_labels
from weclick.runs.label_source import label_source
from weclick.runs.layout import Layout
from weclick.runs.proxy_source import proxies_of_run
from weclick.runs.wanted import Wanted
from weclick.store import Store, Summary, entry_key, look_up, read_ledger
from weclick.store.index import STACK, WINDOW, read_index, read_indexes
from weclick.train.data.stream import Caches
from weclick.train.roles import ROLE_NEEDS


@dataclass(frozen=True)
class Question:
    """An entry that a run asks for, or why it asks for none.

    Attributes:
        kind: of KINDS.
        inputs: the entry's key is their digest; None if the run asks for no entry.
        why_not: the reason, if the run asks for no entry.
        names: digest of a frame -> its name in the data set.
        need: of a flow, if it is another one than `window`.
    """

    kind: str
    inputs: Mapping[str, Any] | None
    why_not: str = ""
    names: Mapping[str, str] = field(default_factory=dict)
    need: str = ""


@dataclass(frozen=True)
class Answer:
    """The store's answer to a question.

    Attributes:
        question: the one that was asked.
        key: of the entry.
        found: the entry in the first root that has it, or None.
        nearest: if it was not found, the entry of its kind that shares most frames; None if none shares any.
        differences: between the inputs of both, each in words.
    """

    question: Question
    key: str = ""
    found: Summary | None = None
    nearest: Summary | None = None
    differences: tuple[str, ...] = ()


def clip_questions(
    clip_id: str,
    manifests: Sequence[Manifest],
    config: Mapping[str, Any],
    teachers: Sequence[Path],
    results: Path,
    store: Store,
) -> list[Question]:
    """The entries that a run asks for a clip.

    Args:
        clip_id: as in the manifests.
        manifests: of all splits and shards.
        config: complete.
        teachers: files of the networks that make the soft labels, which need not be there.
        results: folder with tags, classifier and what proxy labels are made from, which need not be there.
        store: of the run.

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
    names, layout, proxies, confident, found_in = manifest.classes.names, Layout(results), None, None, None
    maps = maps_of_run(config, names, results) if takes(config, "cams") else None
    if manifest.split == config["data"]["train"]:
        if takes(config, "proxy_labels"):
            proxies = proxies_of_run(config, manifest, layout, store)
        if takes(config, "confident_labels"):
            confident = maps_for_labels(config, manifest, layout, store)
        if takes(config, "instances"):
            found_in = instances_of_run(config, manifest, layout, store)
    wanted = Wanted(config, label_source(config, names, teachers), maps, proxies, confident, found_in)
    gone = [str(file) for file in teachers if not file.is_file()]
    absent = f"{', '.join(gone)} {'are' if gone[1:] else 'is'} not there"
    return [
        _clip_question(stage, wanted, manifest, clip, absent, need)
        for stage in taken_by(config, INDEXED)
        for need in wanted.needs_of(stage.kind)
    ]


def _clip_question(
    stage: Stage, wanted: Wanted, manifest: Manifest, clip: Clip, absent: str, need: str
) -> Question:
    told = "" if need == WINDOW else need
    if "val" not in stage.splits and manifest.split != wanted.config["data"]["train"]:
        why = f"the clip is of split {manifest.split!r}, and a run makes them for the training split alone"
        return Question(stage.kind, None, why)
    if inputs := wanted.inputs(stage.kind, clip, manifest.classes, need):
        names = {frame.digest: frame.name for frame in clip.frames}
        return Question(stage.kind, inputs, names=names, need=told)
    why_not = {
        "frames": "frames.pack is false, so frames stay in their files",
        "masks": "the clip has no target with a label",
        "flow": (
            "the clip has no target with a neighbour in the window, so no flow is asked for"
            if need == WINDOW
            else f"the clip has no pair of frames that {need} needs"
        ),
        "cams": "tags or classifier are not there, on which the key of maps depends: run them first",
        "soft_labels": f"{absent}: the key of soft labels depends on their teachers, so train them first",
        "confident_labels": "tags, maps or flow are not there, on which the key of confident labels depends: "
        "make them first",
        "instances": "what instances are made from is not there, on which their key depends: make it first",
        "proxy_labels": "tags, maps or flow are not there, on which the key of proxy labels depends: make "
        "them first",
    }
    return Question(stage.kind, None, why_not[stage.kind], need=told)


def network_question(role: str, results: Path, config: Mapping[str, Any], store: Store) -> Question:
    """The network that a run trains next from the results of its earlier stages.

    Args:
        role: classifier, teacher or student.
        results: folder with manifests, clicks and indexes.
        config: complete.
        store: of the run.

    Raises:
        InputError: a stage has not run yet; the message names it.
    """
    layout, wanted, data = Layout(results), Wanted(config), config["data"]

    def shards(stage: str, split: str) -> list[Path]:
        return layout.shards(stage, split, data["shards"])

    train, val = data["train"], data["val"]
    files = {stage: shards(stage, train) for stage in wanted.caches_of(role)}
    indexes = read_indexes(files, ROLE_NEEDS[role].flow_need)
    recipe = wanted.recipe(
        role,
        train=read_manifests(shards("manifest", train)),
        val=read_manifests(shards("manifest", val)),
        **_annotation(role, config, layout),
        caches=Caches.of(store, indexes),
        val_stacks=read_index(shards("flow", val), "flow", STACK) if looks_at_stacks(config) else {},
    )
    return Question(MODELS, recipe.inputs())


def _annotation(role: str, config: Mapping[str, Any], layout: Layout) -> dict[str, Any]:
    """What a network learns from, by its name in a recipe."""
    split = config["data"]["train"]
    if ROLE_NEEDS[role].losses:
        return {}
    by_tags = ROLE_NEEDS[role].tags or config["supervision"] == "tags"
    found: dict[str, Any] = {"tags": read_tags(layout.tags(split))} if by_tags else {}
    return found if ROLE_NEEDS[role].tags else {**found, "clicks": read_clicks(layout.clicks(split))}


def answer(questions: Iterable[Question], store: Store) -> list[Answer]:
    """Look up the entries, and compare each missing one with the nearest entry of any root.

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
        found = look_up(roots, question.kind, key)
        if found and (not store.trust or store.find(question.kind, key)):  # an unsigned one is not read
            answers.append(Answer(question, key, found))
            continue
        near = _nearest(question, read_ledger(roots, [question.kind]).entries)
        told = tuple(_differences(question, near)) if near else ()
        answers.append(Answer(question, key, None, near, told))
    return answers


def _nearest(question: Question, entries: Iterable[Summary]) -> Summary | None:
    """The entry that shares the role or most frames; among equals, the one with the fewest differences."""
    if question.inputs and question.kind == MODELS:
        best = [entry for entry in entries if entry.inputs.get("role") == question.inputs["role"]]
    else:
        shared = [(len(question.names.keys() & entry.frames), entry) for entry in entries]
        most = max((count for count, _ in shared), default=0)
        best = [entry for count, entry in shared if count == most > 0]
    return min(best, key=lambda entry: len(list(_differences(question, entry))), default=None)


def _differences(question: Question, entry: Summary) -> Iterator[str]:
    return differences(question.inputs or {}, question.names, entry)
