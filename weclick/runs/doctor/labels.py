"""Checks what makes the soft labels, if it is not the run's own teacher."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from weclick.common.config import ConfigError
from weclick.common.config_checks import check_source
from weclick.common.findings import Finding, many
from weclick.common.progress import progress_bar
from weclick.common.sections import Config
from weclick.common.spread import spread_to_ends
from weclick.datasets import Dataset, open_dataset
from weclick.datasets.base import trim
from weclick.manifest import Clip
from weclick.proxy_labels.folder import Folder
from weclick.runs.doctor.data import SAMPLE
from weclick.runs.doctor.sized import sized_manifest
from weclick.runs.label_source import label_source
from weclick.runs.teachers import teachers_of
from weclick.runs.wanted import Wanted
from weclick.store.model_file import load_model

WHAT = "soft labels"


def check_labels(config: Config, *, quick: bool = False) -> list[Finding]:
    """Look at the files that make the soft labels, and label some frames with them.

    Args:
        config: complete.
        quick: read a sample of the files of a folder; that none is missing is always looked at.
    """
    given = [Path(each) for each in teachers_of(config) if not isinstance(each, int)]
    source = config["soft_labels"]["source"]
    if source == "teacher" and not given:
        return []
    try:
        check_source(config)
        dataset = open_dataset(config["data"], config["clicks"]["mix"], config["tags"])
        clips = dataset.clips(config["data"]["train"])
    except ConfigError as error:
        return [Finding("error", WHAT, str(error), "correct the configuration")]
    except (ValueError, OSError):  # the check of the data set says it
        return []
    needs = Wanted(config).needs
    cut = (trim(clip, needs.reach_frames, whole=needs.whole) for clip in clips)
    clips = tuple(clip for clip in cut if clip.frames)
    try:
        if source == "teacher":
            return [_teachers(given, dataset.classes.names)]
        if source == "onnx":
            return [_onnx(config, dataset, clips)]
        return [_folder(config, dataset, clips, quick)]
    except (ValueError, OSError) as error:
        return [Finding("error", WHAT, str(error), "correct what the line names")]


def _teachers(given: Sequence[Path], classes: Sequence[str]) -> Finding:
    for path in given:
        load_model(path, classes=classes)
    return Finding("ok", WHAT, f"{len(given)} given teachers can be loaded and know the data set's classes")


def _onnx(config: Config, dataset: Dataset, clips: Sequence[Clip]) -> Finding:
    source = label_source(config, dataset.classes.names, ())
    manifest = sized_manifest(dataset, config["data"]["train"], clips[:1])
    assert source is not None, "only teachers can be missing"
    _, labels = next(iter(source.load(manifest, "cpu")([manifest.clips[0].restrict([0])])))
    known = float(labels.any(0).mean())
    path = config["soft_labels"]["onnx"]["path"]
    told = f"{path} labels {100 * known:.0f} % of the first frame, and knows every class of the data set"
    return Finding("ok", WHAT, told)


def _folder(config: Config, dataset: Dataset, clips: Sequence[Clip], quick: bool) -> Finding:
    source = label_source(config, dataset.classes.names, ())
    assert isinstance(source, Folder)
    manifest = sized_manifest(dataset, config["data"]["train"], clips)
    label = source.load(manifest, "cpu")
    frames = [(clip.id, t) for clip in manifest.clips for t in range(len(clip.frames))]
    chosen = set(spread_to_ends(frames, SAMPLE) if quick else frames)
    faults = []
    with progress_bar(WHAT, len(chosen), "frames") as bar:
        for clip in manifest.clips:
            kept = clip.restrict([t for t in range(len(clip.frames)) if (clip.id, t) in chosen])
            try:
                source.files(clip)
                for _ in label([kept]) if kept.frames else ():
                    bar.advance()
            except (ValueError, OSError) as error:
                faults.append(str(error))
    if faults:
        return many("error", WHAT, faults, "correct the files; more may be wrong in the same clips")
    read = f"all {len(frames)}" if len(chosen) == len(frames) else f"{len(chosen)} sampled of {len(frames)}"
    return Finding("ok", WHAT, f"{source.path}: {read} files are {source.kind.replace('_', ' ')} that fit")
