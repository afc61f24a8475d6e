import atexit
import json
import os
import re
import sys
import time
from functools import cache
from pathlib import Path
from shlex import quote

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

from weclick.common.code_digest import PACKAGE, code_digest
from weclick.common.config import load_configs, select
from weclick.common.config_checks import check_run, map_sources, reads_weights
from weclick.common.files import check_readable
from weclick.common.gpus import visible_gpus
from weclick.common.schemas import load_schema
from weclick.common.stages import METHODS, does_without_clicks, looks_at_stacks, takes
from weclick.common.typed import paths_of
from weclick.datasets import listing_digest, open_dataset
from weclick.runs.cam_source import iconic_listing, trains_classifier
from weclick.runs.downloads import missing_packages, offline_words
from weclick.runs.experiment.lineage import feeders
from weclick.runs.in_use import hold_results
from weclick.runs.instance_source import instances_from
from weclick.runs.label_source import label_listing
from weclick.runs.last_lines import failures, last_lines
from weclick.runs.layout import Layout
from weclick.runs.proxy_source import given_to, proxy_listing
from weclick.runs.tag_listing import tag_listing
from weclick.runs.teachers import teachers_of, trains_teacher

try:
    # Snakemake's own reading lets a key stand twice and makes False of `no`.
    complete = load_configs(workflow.configfiles, workflow.config_settings.config)
    check_run(complete)
    if missing := missing_packages(complete):
        raise ValueError("; ".join(missing))
    check_readable(path for _, path in paths_of(complete, load_schema("config")))
except ValueError as error:
    raise WorkflowError(str(error)) from error

config.clear()
config.update(complete)

BEGAN_S = time.time()
HELD = []  # files that stay open until this process ends
RESULTS = config["results"]
TRAIN, VAL = config["data"]["train"], config["data"]["val"]
SPLITS = sorted({TRAIN, VAL})
# In no parameter of a rule, since no training runs again for another watcher.
WATCH = f"watch={json.dumps(config['watch'])}"
SCORES_TEACHER = trains_teacher(config)
(LAST,) = METHODS[config["method"]].last

if workflow.is_main_process and "gpu" not in workflow.global_resources:
    # As many GPU jobs at once as there are GPUs; without one, one such job at a time has all cores.
    workflow.register_resource("gpu", max(1, len(visible_gpus())))


onstart:
    if workflow.is_main_process:
        try:
            HELD.append(hold_results(Path(RESULTS)))
        except (ValueError, OSError) as error:
            raise WorkflowError(str(error)) from error
    for sentence in offline_words(config):
        logger.warning(f"warning: {sentence}")


def made_files():
    """The files of all rules of the run, whether made now or before."""
    return {Path(path) for job in workflow.dag.jobs for path in job.output}


def tell_if_nothing_was_to_be_done():
    """Say what a run ends with, if all of it was there: then Snakemake calls neither handler below."""
    if workflow.scheduler and not workflow.dryrun and not len(workflow.dag):
        try:
            lines = last_lines(Layout(Path(RESULTS)), made_files())
        except (ValueError, OSError) as error:
            lines = [f"error: {error}"]
        print(*lines, sep="\n", end="\n" * bool(lines), file=sys.stderr, flush=True)


if workflow.is_main_process:
    atexit.register(tell_if_nothing_was_to_be_done)


onsuccess:
    # At exit, since Snakemake itself says more after this: where its log lies, and the time that it took.
    if lines := last_lines(Layout(Path(RESULTS)), made_files()):
        atexit.register(print, *lines, sep="\n", file=sys.stderr, flush=True)


onerror:
    logs = {Path(path) for job in workflow.dag.jobs for path in job.log}
    if lines := failures(sorted(logs), BEGAN_S):
        atexit.register(print, *lines, sep="\n", file=sys.stderr, flush=True)


wildcard_constraints:
    split=r"[\w .+-]+",
    shard=r"\d+",
    seed=r"\d+",


def cores_of(gpus):
    """Cores of a job on so many GPUs: its share of this machine's, or all that a cluster's job may have."""

    def cores(wildcards):
        if not (workflow.is_main_process and workflow.local_exec):
            return workflow.cores
        offered = max(1, workflow.global_resources["gpu"].value)
        return max(1, workflow.cores * min(gpus, offered) // offered)

    return cores


def shards_of(stage, split):
    """The files of a sharded stage for one split."""
    return [
        f"{RESULTS}/{stage}/{split}/{shard}.json"
        for shard in range(config["data"]["shards"])
    ]


def taken_shards(stage, split):
    """The files of a sharded stage for one split; none if the run does not take the stage."""
    return shards_of(stage, split) if takes(config, stage) else []


def stage_config(stage):
    """The part of the configuration that a stage reads, as text: what it is given, and what reruns it."""
    return lambda wildcards: json.dumps(
        select(config_of(wildcards), stage), sort_keys=True
    )


def config_of(wildcards):
    """The configuration of a job: that of the run, with another seed, or that of a trial in an experiment."""
    made, seed = (getattr(wildcards, name, None) for name in ("made", "seed"))
    if made:
        return job_of(made).config
    return {**config, "seed": int(seed)} if seed else config


def last_of(wildcards):
    """The network that the method of a job ends with."""
    (last,) = METHODS[config_of(wildcards)["method"]].last
    return last


def optional_clicks(wildcards):
    """The option by which targets need no click; empty if networks learn from clicks, or all may have one."""
    return "--optional" if does_without_clicks(config_of(wildcards)) else ""


def flags(option, files):
    """`--option FILE` for every file, for the shell."""
    return " ".join(f"{option} {quote(str(file))}" for file in files)


def layout_of(wildcards):
    """Where the files of a job lie: in the run's own results, or in the folder of a job of an experiment."""
    made = getattr(wildcards, "made", None)
    return Layout(Path(RESULTS)).made(made) if made else Layout(Path(RESULTS))


def listing(wildcards):
    """Digest over the files that a manifest shard covers; edits count by content. A rule draws the toy."""
    chosen = config_of(wildcards)
    data = chosen["data"]
    if data["name"] == "toy":
        return ""
    layout = layout_of(wildcards)
    try:
        dataset = _dataset(*adapter_config(chosen))
        clips = dataset.clips(wildcards.split)
        check_readable(frame.image for clip in clips for frame in clip.frames)
        return listing_digest(
            dataset,
            wildcards.split,
            int(wildcards.shard),
            data["shards"],
            remember=layout.digests,
            made=layout.of("manifest") / wildcards.split / f"{wildcards.shard}.json",
        )
    except (ValueError, OSError) as error:
        raise WorkflowError(str(error)) from error


def label_files(wildcards):
    """Digest over the files that make soft labels where no teacher does; edits count by content."""
    return _label_files(json.dumps(config_of(wildcards)["soft_labels"]))


@cache
def _label_files(section):
    try:
        return label_listing(
            {"soft_labels": json.loads(section)}, Layout(Path(RESULTS)).label_digests
        )
    except (ValueError, OSError) as error:
        raise WorkflowError(str(error)) from error


def proxy_files(wildcards):
    """Digest over the files that a user gave to make proxy labels from; edits count by content."""
    section = json.dumps(config_of(wildcards)["proxy_labels"])
    return _proxy_files(section, layout_of(wildcards).proxy_digests)


@cache
def _proxy_files(section, remember):
    try:
        return proxy_listing({"proxy_labels": json.loads(section)}, remember)
    except (ValueError, OSError) as error:
        raise WorkflowError(str(error)) from error


def iconic_files(wildcards):
    """Digest over the iconic images that maps are made from; edits count by content."""
    chosen = config_of(wildcards)
    sections = json.dumps({name: chosen[name] for name in ("method", "cams")})
    return _iconic_files(sections, layout_of(wildcards).cam_digests)


@cache
def _iconic_files(sections, remember):
    try:
        return iconic_listing(json.loads(sections), remember)
    except (ValueError, OSError) as error:
        raise WorkflowError(str(error)) from error


def tag_files(wildcards):
    """Digest over the files that tell the tags, where no label does; edits count by content."""
    chosen = config_of(wildcards)
    sections = json.dumps({name: chosen[name] for name in ("data", "tags")})
    return _tag_files(sections, layout_of(wildcards).tag_digests)


@cache
def _tag_files(sections, remember):
    try:
        return tag_listing(json.loads(sections), remember)
    except (ValueError, OSError) as error:
        raise WorkflowError(str(error)) from error


def can_be_scored():
    """Whether there may be scores and a report; people's clicks train where there is nothing to score."""
    if config["data"]["name"] != "folder":
        return True
    try:
        dataset = _dataset(*adapter_config(config))
        return not dataset.unscored or any(clip.scored for clip in dataset.clips(VAL))
    except (ValueError, OSError) as error:
        raise WorkflowError(str(error)) from error


def adapter_config(config):
    """What an adapter reads, as texts: they tell data sets apart."""
    return (
        json.dumps(config["data"]),
        config["clicks"]["mix"],
        json.dumps(config["tags"]),
    )


@cache
def _dataset(data, mix, tags):
    return open_dataset(json.loads(data), mix, json.loads(tags))


def training_data(wildcards, input):
    """The options of a training that name its data, from the rule's inputs."""
    return " ".join(
        [
            flags("--manifest", input.manifests),
            *[
                flags(f"--{name}", [input.get(name)])
                for name in ("clicks", "tags")
                if input.get(name)
            ],
            flags("--frames", input.frames),
            flags("--masks", input.get("masks", [])),
            flags("--proxy-labels", input.get("proxy_labels", [])),
            flags("--confident-labels", input.get("confident_labels", [])),
            flags("--instances", input.get("instances", [])),
            flags("--cams", input.get("cams", [])),
            flags("--flow", input.get("flow", [])),
            flags("--val-flow", input.get("val_flow", [])),
            flags("--soft-labels", input.get("soft_labels", [])),
            flags("--val-manifest", input.validation),
        ]
    )


def scored_data(wildcards, input):
    """The options of an evaluation that name its data and its networks, from the rule's inputs."""
    return " ".join(
        [
            flags("--manifest", input.manifests),
            flags("--flow", input.flow),
            flags(f"--{last_of(wildcards)}", [input.network]),
            flags("--teacher", input.get("teacher", [])),
            flags("--target-manifest", input.get("targets", [])),
            flags("--clicks", input.get("clicks", [])),
            flags("--target-flow", input.get("target_flow", [])),
        ]
    )
