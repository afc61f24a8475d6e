from weclick.runs.ablation import VARIANTS

ABLATION = f"{RESULTS}/ablation"
SEEDS = config["ablation"]["seeds"]


wildcard_constraints:
    variant="|".join(VARIANTS),
    model="|".join(["teacher", *VARIANTS]),


# Each rule is that of the run but for what stands after `with`; of params, only what is named there changes.
use rule teacher as ablation_teacher with:
    output:
        weights=f"{ABLATION}/teacher/{{seed}}/model.safetensors",
        card=f"{ABLATION}/teacher/{{seed}}/model.json",
    log:
        f"{RESULTS}/logs/ablation_teacher/{{seed}}.log",
    params:
        folder=f"{ABLATION}/teacher/{{seed}}",


use rule soft_labels_shard as ablation_soft_labels with:
    input:
        manifest=rules.soft_labels_shard.input.manifest,
        teacher=[rules.ablation_teacher.output.weights],
        flow=rules.soft_labels_shard.input.flow,
    output:
        f"{ABLATION}/soft_labels/{{seed}}/{{shard}}.json",
    log:
        f"{RESULTS}/logs/ablation_soft_labels/{{seed}}/{{shard}}.log",


def time_budget(wildcards):
    """Model cards that set the length of weakly_same_time: its pace, and the time it may take."""
    if wildcards.variant != "weakly_same_time":
        return []
    return [
        f"{ABLATION}/{variant}/{wildcards.seed}/model.json"
        for variant in ("weakly", "kd_mfd")
    ]


def variant_data(wildcards, input):
    """The options of a variant's training: which one, how long it may take, and its data."""
    budget = zip(("--pace", "--same-time-as"), input.budget)
    return " ".join(
        [
            f"--variant {quote(wildcards.variant)}",
            *(flags(option, [card]) for option, card in budget),
            training_data(wildcards, input),
        ]
    )


use rule student as ablation_student with:
    input:
        **dict(item for item in rules.student.input.items() if item[0] != "soft_labels"),
        soft_labels=[
            f"{ABLATION}/soft_labels/{{seed}}/{i}.json"
            for i in range(config["data"]["shards"])
        ],
        budget=time_budget,
    output:
        weights=f"{ABLATION}/{{variant}}/{{seed}}/model.safetensors",
        card=f"{ABLATION}/{{variant}}/{{seed}}/model.json",
    log:
        f"{RESULTS}/logs/ablation_student/{{variant}}/{{seed}}.log",
    params:
        code=code_digest(*STUDENT_CODE, "weclick.runs.ablation"),
        data=variant_data,
        folder=f"{ABLATION}/{{variant}}/{{seed}}",


use rule evaluate as ablation_evaluate with:
    input:
        manifests=rules.evaluate.input.manifests,
        flow=rules.evaluate.input.flow,
        student=f"{ABLATION}/{{model}}/{{seed}}/model.safetensors",
    output:
        f"{ABLATION}/{{model}}/{{seed}}/evaluation/metrics.json",
    log:
        f"{RESULTS}/logs/ablation_evaluate/{{model}}/{{seed}}.log",
    params:
        folder=f"{ABLATION}/{{model}}/{{seed}}/evaluation",


rule ablation_summary:
    input:
        expand(
            rules.ablation_evaluate.output,
            model=["teacher", *VARIANTS],
            seed=SEEDS,
        ),
    output:
        SUMMARY,
        expand(f"{ABLATION}/{{model}}/metrics.json", model=["teacher", *VARIANTS]),
    log:
        f"{RESULTS}/logs/ablation_summary.log",
    localrule: True
    params:
        config=stage_config("ablation"),
        code=code_digest("weclick.runs.ablation"),
    shell:
        "weclick --log {log:q} ablation --config {params.config:q} --folder {ABLATION:q}"


use rule report as ablation with:
    input:
        **dict(item for item in rules.report.input.items() if item[0] != "ablation"),
        summary=SUMMARY,
    output:
        page=f"{ABLATION}/report.html",
    log:
        f"{RESULTS}/logs/ablation.log",
