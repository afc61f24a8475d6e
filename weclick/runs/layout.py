"""Where the files of a run lie in its results folder; the rules in `pipeline/` write them there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from weclick.common.stages import CARD, INDEXED, METRICS, SCORES, STEPS, WEIGHTS

LOCK = "run.lock.json"
SUMMARY = "summary.json"
"""File of an experiment or an ablation, in its folder."""

PAGE = "report.html"
"""The page of a run or an experiment, in its folder."""

DIGESTS = "digests.sqlite"
"""File beside the manifests that remembers the digests of frames."""

_FOLDERS = {step.name: step.folder for step in STEPS}


@dataclass(frozen=True)
class Layout:
    """The files of one run. None of them needs to be there.

    Attributes:
        folder: of the results.
    """

    folder: Path

    def of(self, stage: str) -> Path:
        """The folder of a stage."""
        return self.folder / _FOLDERS[stage]

    def shards(self, stage: str, split: str, count: int) -> list[Path]:
        """Manifests, or indexes of store entries, of all `count` shards of a split."""
        return [self.of(stage) / split / f"{shard}.json" for shard in range(count)]

    def found(self, stage: str, split: str = "") -> list[Path]:
        """The manifests or indexes that exist, of one split or of all."""
        folder = self.of(stage)
        return sorted((folder / split).glob("*.json") if split else folder.glob("*/*.json"))

    @property
    def digests(self) -> Path:
        """The file in which the manifest stage remembers the digests of frames."""
        return self.of("manifest") / DIGESTS

    @property
    def label_digests(self) -> Path:
        """The file in which the soft_labels stage remembers the digests of predictions that it was given."""
        return self.of("soft_labels") / DIGESTS

    @property
    def tag_digests(self) -> Path:
        """The file in which the tags stage remembers the digests of annotation files."""
        return self.of("tags") / DIGESTS

    @property
    def cam_digests(self) -> Path:
        """The file in which the cams stage remembers the digests of iconic images."""
        return self.of("cams") / DIGESTS

    @property
    def proxy_digests(self) -> Path:
        """The file in which the proxy_labels stage remembers the digests of files that it was given."""
        return self.of("proxy_labels") / DIGESTS

    def tags(self, split: str) -> Path:
        """The table of tags of a split."""
        return self.of("tags") / f"{split}.h5"

    def clicks(self, split: str) -> Path:
        """The click table of a split."""
        return self.of("clicks") / f"{split}.h5"

    def weights(self, role: str) -> Path:
        """The network of a role."""
        return self.of(role) / WEIGHTS

    def teacher(self, seed: int | None = None) -> Path:
        """The network of a teacher of another seed than the run's; None: of the run's own."""
        return self.weights("teacher") if seed is None else self.teachers / str(seed) / WEIGHTS

    @property
    def teachers(self) -> Path:
        """The folder of the teachers of other seeds."""
        return self.folder / "teachers"

    def card(self, role: str) -> Path:
        """The model card of a role's network."""
        return self.of(role) / CARD

    def curves(self, role: str) -> Path:
        """The log of a training."""
        return self.of(role) / METRICS

    @property
    def scores(self) -> Path:
        """Figures of the evaluation; the pictures that they name lie beside them."""
        return self.of("evaluate") / SCORES

    @property
    def report_card(self) -> Path:
        """The facts about the run that `weclick compare` and the lock need."""
        return self.folder / "report.json"

    @property
    def lock(self) -> Path:
        """The lock, which pins the run down."""
        return self.folder / LOCK

    @property
    def config(self) -> Path:
        """The configuration of a repeated run."""
        return self.folder / "run.config.json"

    @property
    def ablation(self) -> Path:
        """The folder of an ablation."""
        return self.folder / "ablation"

    def experiment(self, name: str) -> Path:
        """The folder of an experiment: its summary and its page."""
        return self.folder / "experiment" / name

    def made(self, digest: str) -> Layout:
        """The files of one job of the experiments, see `weclick.runs.experiment.lineage`."""
        return Layout(self.experiment("made") / digest)


DEFAULT = Layout(Path("results"))
"""The run that verbs look at by default."""

STUDENT = DEFAULT.weights("student")
"""Its student."""


def stage_of(path: Path) -> str:
    """The stage whose manifest or index a file is, judged by its folder; empty for any other file."""
    sharded = {step.folder: step.name for step in STEPS if step.sharded}
    return sharded.get(path.parts[-3:][0], "") if path.suffix == ".json" else ""


def is_index(path: Path) -> bool:
    """Whether a file is an index of store entries, judged by its folder."""
    return stage_of(path) in {stage.name for stage in INDEXED}
