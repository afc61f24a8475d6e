"""What `weclick manifest` says of a split while it lists it. `weclick doctor` says the same, and more."""

from __future__ import annotations

from collections.abc import Sequence

from weclick.common.errors import InputError
from weclick.common.findings import Finding
from weclick.common.spread import spread_to_ends
from weclick.common.words import plural
from weclick.datasets.base import Dataset
from weclick.datasets.beside import beside_findings
from weclick.datasets.label_facts import label_facts
from weclick.datasets.label_findings import label_findings
from weclick.datasets.window_findings import consistency_findings, gap_findings, shift_findings
from weclick.manifest import Clip, Frame
from weclick.manifest.frame_size import frame_size
from weclick.manifest.window import Window

SAMPLE, SAMPLE_PX, LARGEST_SAMPLE = 8, 2**18, 64
"""Labels that are read for it: SAMPLE, and of small ones as many as have SAMPLE_PX together, which takes less
than 0.1 s. Faults of an export are mostly in all files."""


def split_findings(dataset: Dataset, split: str, window: Window, max_gap_frames: int) -> list[Finding]:
    """What is strange in a whole split, from its names and a sample of its labels.

    Args:
        dataset: from `open_dataset`.
        split: e.g. train.
        window: of the training.
        max_gap_frames: largest gap between frames whose consistency is scored.
    """
    clips, what = dataset.clips(split), f"labels of {split}"
    labelled = labelled_frames(dataset, clips)
    sample = spread_to_ends(labelled, _sample_size(dataset, labelled))
    return [
        *unscored_findings(dataset, split),
        *number_findings(dataset, split, window, max_gap_frames),
        *label_findings(dataset.classes, what, label_facts(dataset, split, sample)),
    ]


def _sample_size(dataset: Dataset, labelled: Sequence[tuple[Clip, Frame]]) -> int:
    if len(labelled) <= SAMPLE:
        return SAMPLE
    try:
        height, width = frame_size(dataset.root / labelled[0][1].image)
    except InputError:  # whoever reads the frame tells what is wrong with it
        return SAMPLE
    return min(max(SAMPLE, SAMPLE_PX // max(height * width, 1)), LARGEST_SAMPLE)


def unscored_findings(dataset: Dataset, split: str) -> list[Finding]:
    """A split without a single labelled or clicked frame, where people's clicks train the networks."""
    clips = dataset.clips(split)
    if any(clip.targets or clip.scored for clip in clips):
        return []
    todo = (
        "the run ends with the trained network, without scores and report; `weclick predict` shows what it "
        "does. Click in some frames of this split, or label them, to score it; single objects are scored by "
        "labels with instance files"
    )
    have = "has" if len(clips) == 1 else "have"
    found = f"its {plural(len(clips), 'clip')} {have} no labelled or clicked frame, so nothing can be scored"
    return [Finding("warning", f"split {split}", found, todo)]


def number_findings(dataset: Dataset, split: str, window: Window, max_gap_frames: int) -> list[Finding]:
    """What is strange in frames' names and numbers. Data sets of their own layout look at that themselves.

    Args:
        dataset, split, window, max_gap_frames: as in `split_findings`.
    """
    if dataset.name != "folder":
        return list(dataset.look(split))
    clips = dataset.clips(split)
    return [
        *beside_findings(f"frames of {split}", clips),
        *gap_findings(clips, window),
        *consistency_findings(clips, max_gap_frames),
        *shift_findings(f"labels of {split}", clips),
    ]


def labelled_frames(
    dataset: Dataset, clips: Sequence[Clip], *, masked: bool = False
) -> list[tuple[Clip, Frame]]:
    """The frames whose labels a run reads: scored ones, and targets that learn from masks or their clicks.

    Args:
        dataset: that the clips are of.
        clips: of a split.
        masked: whether networks learn from masks, which are the labels of targets also beside clicks.
    """
    read = masked or not dataset.click_file or dataset.mix == "human_else_masks"
    wanted = [(clip, sorted({*clip.scored, *(clip.targets if read else ())})) for clip in clips]
    return [(clip, clip.frames[i]) for clip, found in wanted for i in found if clip.frames[i].label]
