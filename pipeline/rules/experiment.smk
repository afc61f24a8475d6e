from weclick.runs.ablation import ABLATION
from weclick.runs.experiment.plan import make_plan
from weclick.runs.layout import PAGE, SUMMARY

EXPERIMENTS = f"{RESULTS}/experiment"
MADE = f"{EXPERIMENTS}/made/{{made}}"


wildcard_constraints:
    made=r"[0-9a-f]{12}",
    experiment=r"[a-z0-9][a-z0-9_-]*",


# A street of an experiment's data set may lie anywhere; the run's own is drawn by its own rule.
ruleorder: toy > experiment_toy


@cache
def plan_of(experiment):
    """The plan of the ablation, or of the configured experiment."""
    try:
        return make_plan(config, experiment)
    except ValueError as error:
        raise WorkflowError(str(error)) from error


if config["experiment"]["name"]:
    plan_of(
        config["experiment"]["name"]
    )  # tells what is wrong with it before anything runs


def plans():
    """The plans of this run. The configured experiment comes first: it is asked for most."""
    if config["experiment"]["name"]:
        yield plan_of(config["experiment"]["name"])
    yield plan_of(ABLATION)


def job_of(made):
    """The job of an experiment whose digest names its folder."""
    found = (plan.jobs[made] for plan in plans() if made in plan.jobs)
    if (job := next(found, None)) is None:
        raise WorkflowError(f"no experiment of this configuration makes {made}")
    return job


def home(job):
    """The folder of a job's files: the run's own results if the run makes the same."""
    own = next(plans()).own
    further = job.stage == "teacher" and job.config["seed"] != config["seed"]
    return (
        RESULTS
        if job.digest in own and not further
        else f"{EXPERIMENTS}/made/{job.digest}"
    )


def fed(wildcards, *stages):
    """The jobs of some stages that feed a job."""
    fed_by = job_of(wildcards.made).fed_by
    return [job for stage in stages for job in fed_by.get(stage, ())]


def fed_shard(stage):
    """The file of a stage that feeds a job, for the job's own split and shard."""
    return lambda wildcards: [
        f"{home(job)}/{stage}/{wildcards.split}/{wildcards.shard}.json"
        for job in fed(wildcards, stage)
    ]


def fed_shards(stage, split):
    """The files of a stage that feeds a job, for all shards; `split` is a key of the section `data`."""
    return lambda wildcards: [
        path for job in fed(wildcards, stage) for path in shards_made(job, stage, split)
    ]


def shards_made(job, stage, split):
    """The files of a job of a stage, for all shards; `split` is a key of the section `data`."""
    data = job.config["data"]
    return [
        f"{home(job)}/{stage}/{data[split]}/{shard}.json"
        for shard in range(data["shards"])
    ]


def fed_stacks(split):
    """The flow of a split, for a network that looks at stacks of it; none for others."""

    def shards(wildcards):
        looks = looks_at_stacks(job_of(wildcards.made).config)
        return fed_shards("flow", split)(wildcards) if looks else []

    return shards


def fed_clicks(wildcards):
    """The table of clicks that feeds a job; none if it does without."""
    return [
        f"{home(job)}/clicks/{job.config['data']['train']}.h5"
        for job in fed(wildcards, "clicks")
    ]


def fed_network(*roles):
    """The weights of the network that feeds a job; none if it does without."""

    def weights(wildcards):
        return [
            f"{home(job)}/{job.stage}/model.safetensors"
            for job in fed(wildcards, *roles)
        ]

    return weights


def fed_tag_tables(wildcards):
    """The table of tags that feeds a job; none if it does without."""
    return [
        f"{home(job)}/tags/{job.config['data']['train']}.h5"
        for job in fed(wildcards, "tags")
    ]


def fed_teachers(wildcards):
    """The weights of the teachers that make soft labels: those of seeds, and given ones."""
    given = teachers_of(job_of(wildcards.made).config)
    return [
        *(
            f"{home(job)}/teacher/model.safetensors"
            for job in fed(wildcards, "teacher")
        ),
        *(path for path in given if isinstance(path, str)),
    ]


def street_of(wildcards):
    """The mark of the toy street that a manifest lists."""
    return [f"{job.config['data']['root']}/toy.json" for job in fed(wildcards, "toy")]


def street_config(wildcards):
    """What the stage toy reads, for the street in a folder."""
    for plan in plans():
        for job in plan.jobs.values():
            if job.stage == "toy" and job.config["data"]["root"] == wildcards.street:
                return json.dumps(select(job.config, "toy"), sort_keys=True)
    raise WorkflowError(f"no data set of an experiment lies in {wildcards.street}")


def cards_of_time(wildcards):
    """Model cards that set the length of a training: its pace, and the time it may take."""
    return [
        f"{home(job)}/{job.stage}/model.json" for job in job_of(wildcards.made).time_of
    ]


def timed_data(wildcards, input):
    """The options of a training that may be given a wall time: how long it takes, and its data."""
    time = zip(("--pace", "--same-time-as"), input.time)
    return " ".join(
        [
            *(flags(option, [card]) for option, card in time),
            training_data(wildcards, input),
        ]
    )


def trial_files(wildcards):
    """Scores and model cards of an experiment. What rates pseudo-labels lies beside their indexes."""
    for trial in plan_of(wildcards.experiment).trials:
        if trial.of_labels:
            yield from shards_made(trial.network, "instances", "train")
            for manifest in trial.network.fed_by["manifest"]:
                yield from shards_made(manifest, "manifest", "val")
        else:
            yield f"{home(trial.evaluation)}/evaluation/metrics.json"
            yield f"{home(trial.network)}/{trial.network.stage}/model.json"


# Each rule is that of the run but for what stands after `with`; of params, only what is named there changes.
use rule toy as experiment_toy with:
    output:
        "{street}/toy.json",
    log:
        f"{RESULTS}/logs/experiment_toy/{{street}}.log",
    params:
        config=street_config,


use rule manifest_shard as experiment_manifest with:
    input:
        street_of,
    output:
        f"{MADE}/manifest/{{split}}/{{shard}}.json",
    log:
        f"{RESULTS}/logs/experiment_manifest/{{made}}/{{split}}/{{shard}}.log",


use rule clicks as experiment_clicks with:
    input:
        manifests=fed_shards("manifest", "train"),
    output:
        f"{MADE}/clicks/{{split}}.h5",
    log:
        f"{RESULTS}/logs/experiment_clicks/{{made}}/{{split}}.log",


use rule tags as experiment_tags with:
    input:
        manifests=fed_shards("manifest", "train"),
    output:
        f"{MADE}/tags/{{split}}.h5",
    log:
        f"{RESULTS}/logs/experiment_tags/{{made}}/{{split}}.log",


use rule frames_shard as experiment_frames with:
    input:
        fed_shard("manifest"),
    output:
        f"{MADE}/frames/{{split}}/{{shard}}.json",
    log:
        f"{RESULTS}/logs/experiment_frames/{{made}}/{{split}}/{{shard}}.log",


use rule masks_shard as experiment_masks with:
    input:
        fed_shard("manifest"),
    output:
        f"{MADE}/masks/{{split}}/{{shard}}.json",
    log:
        f"{RESULTS}/logs/experiment_masks/{{made}}/{{split}}/{{shard}}.log",


use rule flow_shard as experiment_flow with:
    input:
        fed_shard("manifest"),
    output:
        f"{MADE}/flow/{{split}}/{{shard}}.json",
    log:
        f"{RESULTS}/logs/experiment_flow/{{made}}/{{split}}/{{shard}}.log",


use rule classifier as experiment_classifier with:
    input:
        manifests=fed_shards("manifest", "train"),
        tags=fed_tag_tables,
        frames=fed_shards("frames", "train"),
        validation=fed_shards("manifest", "val"),
    output:
        weights=f"{MADE}/classifier/model.safetensors",
        card=f"{MADE}/classifier/model.json",
        metrics=f"{MADE}/classifier/metrics.jsonl",
    log:
        f"{RESULTS}/logs/experiment_classifier/{{made}}.log",
    params:
        folder=f"{MADE}/classifier",


use rule cams_shard as experiment_cams with:
    input:
        manifest=fed_shard("manifest"),
        tags=fed_tag_tables,
        classifier=fed_network("classifier"),
        weights=lambda wildcards: given_weights(job_of(wildcards.made).config),
    output:
        f"{MADE}/cams/{{split}}/{{shard}}.json",
    log:
        f"{RESULTS}/logs/experiment_cams/{{made}}/{{split}}/{{shard}}.log",


use rule proxy_labels_shard as experiment_proxy_labels with:
    input:
        manifest=fed_shard("manifest"),
        tags=fed_tag_tables,
        cams=fed_shard("cams"),
        flow=fed_shard("flow"),
        clicks=fed_clicks,
    output:
        f"{MADE}/proxy_labels/{{split}}/{{shard}}.json",
    log:
        f"{RESULTS}/logs/experiment_proxy_labels/{{made}}/{{split}}/{{shard}}.log",


use rule confident_labels_shard as experiment_confident_labels with:
    input:
        manifest=fed_shard("manifest"),
        tags=fed_tag_tables,
        cams=fed_shard("cams"),
        flow=fed_shard("flow"),
    output:
        f"{MADE}/confident_labels/{{split}}/{{shard}}.json",
    log:
        f"{RESULTS}/logs/experiment_confident_labels/{{made}}/{{split}}/{{shard}}.log",


use rule relation as experiment_relation with:
    input:
        manifests=fed_shards("manifest", "train"),
        frames=fed_shards("frames", "train"),
        confident_labels=fed_shards("confident_labels", "train"),
        flow=fed_shards("flow", "train"),
        validation=fed_shards("manifest", "val"),
    output:
        weights=f"{MADE}/relation/model.safetensors",
        card=f"{MADE}/relation/model.json",
        metrics=f"{MADE}/relation/metrics.jsonl",
    log:
        f"{RESULTS}/logs/experiment_relation/{{made}}.log",
    params:
        folder=f"{MADE}/relation",


use rule instances_shard as experiment_instances with:
    input:
        manifest=fed_shard("manifest"),
        tags=fed_tag_tables,
        cams=fed_shard("cams"),
        flow=fed_shard("flow"),
        relation=fed_network("relation"),
        clicks=fed_clicks,
        network=lambda wildcards: given_network(job_of(wildcards.made).config),
    output:
        f"{MADE}/instances/{{split}}/{{shard}}.json",
    log:
        f"{RESULTS}/logs/experiment_instances/{{made}}/{{split}}/{{shard}}.log",


use rule teacher as experiment_teacher with:
    input:
        manifests=fed_shards("manifest", "train"),
        clicks=fed_clicks,
        frames=fed_shards("frames", "train"),
        masks=fed_shards("masks", "train"),
        proxy_labels=fed_shards("proxy_labels", "train"),
        validation=fed_shards("manifest", "val"),
    output:
        weights=f"{MADE}/teacher/model.safetensors",
        card=f"{MADE}/teacher/model.json",
        metrics=f"{MADE}/teacher/metrics.jsonl",
    log:
        f"{RESULTS}/logs/experiment_teacher/{{made}}.log",
    params:
        folder=f"{MADE}/teacher",


use rule soft_labels_shard as experiment_soft_labels with:
    input:
        manifest=fed_shard("manifest"),
        teacher=fed_teachers,
        flow=fed_shard("flow"),
    output:
        f"{MADE}/soft_labels/{{split}}/{{shard}}.json",
    log:
        f"{RESULTS}/logs/experiment_soft_labels/{{made}}/{{split}}/{{shard}}.log",


use rule student as experiment_student with:
    input:
        manifests=fed_shards("manifest", "train"),
        clicks=fed_clicks,
        frames=fed_shards("frames", "train"),
        masks=fed_shards("masks", "train"),
        proxy_labels=fed_shards("proxy_labels", "train"),
        tags=fed_tag_tables,
        cams=fed_shards("cams", "train"),
        flow=fed_shards("flow", "train"),
        val_flow=fed_stacks("val"),
        soft_labels=fed_shards("soft_labels", "train"),
        online_teacher=ONLINE_TEACHER or [],
        validation=fed_shards("manifest", "val"),
        time=cards_of_time,
    output:
        weights=f"{MADE}/student/model.safetensors",
        card=f"{MADE}/student/model.json",
        metrics=f"{MADE}/student/metrics.jsonl",
    log:
        f"{RESULTS}/logs/experiment_student/{{made}}.log",
    params:
        code=code_digest(*STUDENT_CODE, "weclick.runs.experiment.pace"),
        data=timed_data,
        folder=f"{MADE}/student",


use rule detector as experiment_detector with:
    input:
        manifests=fed_shards("manifest", "train"),
        frames=fed_shards("frames", "train"),
        instances=fed_shards("instances", "train"),
        flow=fed_shards("flow", "train"),
        validation=fed_shards("manifest", "val"),
    output:
        weights=f"{MADE}/detector/model.safetensors",
        card=f"{MADE}/detector/model.json",
        metrics=f"{MADE}/detector/metrics.jsonl",
    log:
        f"{RESULTS}/logs/experiment_detector/{{made}}.log",
    params:
        folder=f"{MADE}/detector",


use rule evaluate as experiment_evaluate with:
    input:
        manifests=fed_shards("manifest", "val"),
        flow=fed_shards("flow", "val"),
        network=fed_network("student", "teacher", "detector"),
        targets=fed_shards("manifest", "train"),
        clicks=fed_clicks,
        target_flow=fed_stacks("train"),
    output:
        f"{MADE}/evaluation/metrics.json",
    log:
        f"{RESULTS}/logs/experiment_evaluate/{{made}}.log",
    params:
        code=lambda wildcards: code_digest(SCORES_CODE[last_of(wildcards)]),
        folder=f"{MADE}/evaluation",


rule experiment_summary:
    input:
        trials=trial_files,
        style=rules.report.input.style,
    output:
        summary=f"{EXPERIMENTS}/{{experiment}}/{SUMMARY}",
        page=f"{EXPERIMENTS}/{{experiment}}/{PAGE}",
    log:
        f"{RESULTS}/logs/experiment_summary/{{experiment}}.log",
    localrule: True
    params:
        config=lambda wildcards: json.dumps(config),  # arms keep their order
        code=code_digest("weclick.runs.experiment.files"),
    shell:
        "weclick --log {log:q} experiment --config {params.config:q} --device {config[device]:q}"
        " --name {wildcards.experiment:q}"


rule experiment:
    input:
        lambda wildcards: f"{EXPERIMENTS}/{plan_of('').name}/{PAGE}",
