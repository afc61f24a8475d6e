"""Predictions of images, videos and streams from a checkpoint alone; they need nothing else of a run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from weclick.common.crf_package import require_crf
from weclick.common.errors import (
    DiskFullError,
    InputError,
    UnreadableError,
    UnwritableError,
    room_to_write,
)
from weclick.common.interrupts import stopped_by_interrupt
from weclick.common.progress import Bar, progress_bar
from weclick.evaluate.answers import MIN_SCORE, Answer, Network, draw, read_network
from weclick.evaluate.engines import Precision
from weclick.evaluate.flow_in_loop import Estimator
from weclick.evaluate.instance_files import InstanceFiles
from weclick.evaluate.jobs import Job, jobs_of
from weclick.evaluate.json_lines import json_lines
from weclick.evaluate.own_files import is_own
from weclick.evaluate.own_overlays import (
    LINES,
    MASKS,
    OVERLAY,
    check_no_instance_files,
    check_not_in_use,
    lines_file,
    mask_writer,
    overlay_writer,
)
from weclick.evaluate.predicted import Pace, Predicted, Tally, one_fault
from weclick.evaluate.reading import Reader
from weclick.evaluate.sources import Source, Tell, find_sources
from weclick.manifest import Classes

Faults = list[InputError | UnreadableError]
Write = Callable[[Answer], None]


@dataclass(frozen=True)
class Output:
    """What predict writes, and where.

    Attributes:
        folder: gets it.
        masks: class maps; of a detector instances.json and tracks.json.
        overlay: frames with colours over them.
        json: a file of JSON Lines for each source.
        opacity: of the colours, 0..1.
    """

    folder: Path
    masks: bool
    overlay: bool
    json: bool
    opacity: float

    @property
    def places(self) -> list[str]:
        """The folders that it writes into."""
        return [MASKS] * self.masks + [OVERLAY] * self.overlay + [LINES] * self.json


def predict_files(
    source: Path | str | Sequence[Path | str],
    checkpoint: Path,
    folder: Path,
    *,
    masks: bool,
    overlay: bool,
    opacity: float,
    device: str,
    json: bool = False,
    crf: str | None = None,
    flow: Estimator | None = None,
    min_score: float = MIN_SCORE,
    batch_size: int = 1,
    drop: bool | None = None,
    precision: Precision | None = None,
) -> Predicted:
    """Predict every frame of one or several sources, and write what is asked for.

    A video file is predicted whole, or nothing of it is written. Of a stream what came is kept. What is wrong
    with one of several sources is told at the end, see `Predicted.fault`.

    Args:
        source: images, videos, folders of them (at any depth), patterns, lists and streams; see
            `find_sources`.
        checkpoint: model.safetensors of a teacher, student or detector; or model.onnx, model.int8.onnx or
            model.xml of `weclick export`, which run on the processor.
        folder: gets masks/<name>.png, palette PNGs of class ids, and overlay/<name>.jpg. A video gives
            masks/<video>/<frame>.png and overlay/<video>.mp4 (H.264, its frames at the source's times; an odd
            last row or column is doubled, since that format needs even sides). A detector gives
            instances.json and tracks.json in the place of masks; of a stream json/<name>.jsonl, since those
            would grow without end. What predict wrote before is replaced.
        masks: write class maps.
        overlay: write frames with the classes' colours over them and lines between the classes, or with
            objects.
        opacity: of the colours, 0..1.
        device: cpu or cuda.
        json: write json/<name>.jsonl, see `json_lines`.
        crf: a preset of `weclick.losses.mean_field`; post-process the class maps by this dense CRF.
        flow: for a network of two streams, the estimator of the flow that it looks at; None: that of its
            training. Images of one folder that follow each other there, all of one size, are a clip.
        min_score: of a detector's objects that are shown and linked.
        batch_size: so many frames of one size go through the network together.
        drop: whether streams drop frames where the network is slower; None: cameras and live addresses do.
        precision: of weights and features of a network of class maps; None: float32.

    Raises:
        MissingFileError: there is no such source or checkpoint.
        InputError: no source has a frame that can be read, two would have results of one name, the file is
            no checkpoint or that of a classifier, the name of a file leads out of the folder, a file there
            is not predict's own, the CRF's package is missing, or the network looks at no flow, or at one
            whose weights nobody gave.
        DiskFullError: there is no room.
    """
    if crf:
        require_crf(f"--crf is {crf}")
    given = [source] if isinstance(source, Path | str) else list(source)
    out = Output(folder, masks, overlay, json, opacity)
    both = [folder / place for place in (MASKS, OVERLAY)]
    faults: Faults = []
    jobs = jobs_of(find_sources(given, is_own=is_own, leave_out=both, tell=faults.append))
    if drop is not None and jobs and not any(job.is_stream for job in jobs):
        raise InputError(
            "--drop and --wait are of streams, but all sources are files, which give every frame; leave "
            "them out"
        )
    counts = _counted(jobs, faults.append)
    if not counts and (fault := one_fault(faults)):
        raise fault
    check_not_in_use([*counts], folder, out.places)
    network, card = read_network(
        checkpoint, device, flow=flow, crf=crf, min_score=min_score, precision=precision
    )
    if network.finds_objects and masks:
        check_no_instance_files(folder)
        check_not_in_use([job for job in counts if job.is_stream], folder, [LINES])
    run = _Run(network, card.classes, out, faults, batch_size, drop)
    total = sum(count or 0 for count in counts.values())
    told = str(next(iter(counts))) if len(counts) == 1 else f"{len(counts)} sources"
    endless = any(job.is_stream for job in counts)
    with room_to_write(folder), progress_bar(f"predict {told}", None if endless else total, "frames") as bar:
        run.all(counts, bar)
    return run.outcome()


def _counted(jobs: Sequence[Job], tell: Tell) -> dict[Job, int | None]:
    """How many frames each job has, without those that cannot be read."""
    counts: dict[Job, int | None] = {}
    for job in jobs:
        try:
            counts[job] = job.frames()
        except (InputError, UnreadableError) as error:
            tell(error)
    return counts


class _Run:
    """A network that goes through jobs, and what came out of it."""

    def __init__(
        self,
        network: Network,
        classes: Classes,
        out: Output,
        faults: Faults,
        batch_size: int,
        drop: bool | None,
    ) -> None:
        self._network, self._classes, self._out = network, classes, out
        self._faults, self._batch_size, self._drop = faults, batch_size, drop
        self._files = InstanceFiles()
        self._tally, self._pace = Tally(len(classes.names)), Pace()

    def all(self, counts: dict[Job, int | None], bar: Bar) -> None:
        """Do one job after the other. A fault in one keeps none of the others."""
        began, jobs = time.perf_counter(), [*counts]
        for at, job in enumerate(jobs):
            bar.say(job.name if len(jobs) > 1 else "")
            with stopped_by_interrupt() if job.is_stream else nullcontext(Event()) as stop:
                done = self._one(job, stop, bar)
            bar.advance(max(0, (counts[job] or 0) - done))
            if stop.is_set() and jobs[at + 1 :]:
                left = ", ".join(map(str, jobs[at + 1 :]))
                self._faults.append(InputError(f"{left}: not predicted, since the run was interrupted"))
                break
        if self._out.masks:
            with self._pace.writing():
                self._files.write(self._out.folder, self._classes.names)
        self._pace.seconds = time.perf_counter() - began

    def outcome(self) -> Predicted:
        """What came out.

        Raises:
            InputError, UnreadableError: not one frame was predicted.
        """
        fault, tally = one_fault(self._faults), self._tally
        if not tally.frames:
            raise fault or InputError(
                "the sources gave no frame; give an image, a folder, a video or a stream"
            )
        self._pace.frames, self._pace.network_seconds = tally.frames, self._network.seconds
        share = tally.pixels[: len(self._classes.names)] / tally.pixels.sum()
        objects = tally.objects if self._network.finds_objects else None
        return Predicted(tally.frames, share, self._classes, self._pace, self._network.told, objects, fault)

    def _one(self, job: Job, stop: Event, bar: Bar) -> int:
        """Do a job; how many of its frames the bar has seen."""
        began, tally = time.perf_counter(), Tally(len(self._classes.names))
        waiting = max(2, self._batch_size)
        reader = Reader(drop=self._drop, waiting=waiting, stop=stop, tell=self._faults.append)
        try:
            self._predict(job, reader, tally, bar)
        except (DiskFullError, UnwritableError):
            raise
        except (InputError, UnreadableError) as error:
            self._faults.append(error)
            return tally.frames
        finally:
            self._pace.decoding_seconds += reader.seconds
            self._pace.dropped += reader.dropped
        self._tally.merge(tally)
        if job.is_video and reader.rate and tally.frames:
            self._pace.count_video(tally.frames, reader.rate, time.perf_counter() - began)
        return tally.frames

    def _predict(self, job: Job, reader: Reader, tally: Tally, bar: Bar) -> None:
        linked = self._network.finds_objects and (job.is_video or self._network.in_time)
        with ExitStack() as of_job:
            of_all_clips = self._of_job(job, reader, of_job)
            for clip in job.clips(in_time=self._network.in_time, tell=self._faults.append):
                with ExitStack() as of_clip:
                    writers = [*of_all_clips, *self._of_clip(clip[0], reader, of_clip, linked=linked)]
                    for answer in self._network(
                        reader.frames(clip), batch_size=self._batch_size, linked=linked, endless=job.is_stream
                    ):
                        with self._pace.writing():
                            for write in writers:
                                write(answer)
                        tally.add(answer)
                        bar.advance()
                    with self._pace.writing():
                        of_clip.close()

    def _of_job(self, job: Job, reader: Reader, open_files: ExitStack) -> list[Write]:
        instead = self._out.masks and self._network.finds_objects and job.is_stream
        if not self._out.json and not instead:
            return []
        path, names = lines_file(self._out.folder, job), self._classes.names
        return [json_lines(path, str(job), names, lambda: reader.rate, open_files)]

    def _of_clip(self, first: Source, reader: Reader, open_files: ExitStack, *, linked: bool) -> list[Write]:
        out, classes = self._out, self._classes
        writers: list[Write] = []
        if out.masks and not self._network.finds_objects:
            save = mask_writer(out.folder / MASKS, first, classes, open_files)
            writers.append(lambda answer: save(answer.frame, answer.class_ids))
        elif out.masks and not first.address:
            writers.append(open_files.enter_context(self._files.clip(self._network, linked=linked)))
        if out.overlay:
            show = overlay_writer(out.folder / OVERLAY, first, lambda: reader.rate, open_files)
            writers.append(lambda answer: show(answer.frame, draw(answer, classes, out.opacity)))
        return writers
