from weclick.runs.ablation import VARIANTS

ABLATION = f"{RESULTS}/ablation"
SEEDS = config["ablation"]["seeds"]


wildcard_constraints:
    variant="|".join(VARIANTS),
    model="|".join(["teacher", *VARIANTS]),


rule ablation_teacher:
    input:
        **dict(rules.teacher.input.items()),
    output:
        weights=f"{ABLATION}/teacher/{{seed}}/model.safetensors",
        card=f"{ABLATION}/teacher/{{seed}}/model.json",
    threads: cores_of(config["devices"])
    resources:
        gpu=config["devices"],
    params:
        config=stage_config("teacher"),
        code=code_digest("weclick.train.stage"),
        data=training_data,
        folder=f"{ABLATION}/teacher/{{seed}}",
    shell:
        "weclick teacher --config {params.config:q} --device {config[device]} --devices {config[devices]}"
        " {params.data} --output {params.folder:q}"


rule ablation_soft_labels:
    input:
        manifest=f"{RESULTS}/manifest/{TRAIN}/{{shard}}.json",
        teacher=rules.ablation_teacher.output.weights,
    output:
        f"{ABLATION}/soft_labels/{{seed}}/{{shard}}.json",
    threads: cores_of(1)
    resources:
        gpu=1,
    params:
        config=stage_config("soft_labels"),
        code=code_digest("weclick.proxy_labels.soft_labels"),
    shell:
        "weclick soft-labels --config {params.config:q} --device {config[device]}"
        " --manifest {input.manifest:q} --teacher {input.teacher:q} --output {output:q}"


def time_budget(wildcards):
    """Model cards that set the length of weakly_same_time: its pace, and the time it may take."""
    if wildcards.variant != "weakly_same_time":
        return []
    return [
        f"{ABLATION}/{variant}/{wildcards.seed}/model.json"
        for variant in ("weakly", "kd_mfd")
    ]


rule ablation_student:
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
    threads: cores_of(config["devices"])
    resources:
        gpu=config["devices"],
    params:
        config=stage_config("student"),
        code=code_digest("weclick.train.stage", "weclick.runs.ablation"),
        data=training_data,
        budget=lambda wildcards, input: (
            "--pace {} --same-time-as {}".format(*map(quote, map(str, input.budget)))
            if input.budget
            else ""
        ),
        folder=f"{ABLATION}/{{variant}}/{{seed}}",
    shell:
        "weclick student --config {params.config:q} --device {config[device]} --devices {config[devices]}"
        " --variant {wildcards.variant} {params.budget} {params.data} --output {params.folder:q}"


rule ablation_evaluate:
    input:
        manifests=rules.evaluate.input.manifests,
        flow=rules.evaluate.input.flow,
        model=f"{ABLATION}/{{model}}/{{seed}}/model.safetensors",
    output:
        f"{ABLATION}/{{model}}/{{seed}}/evaluation/metrics.json",
    threads: cores_of(1)
    resources:
        gpu=1,
    params:
        config=stage_config("evaluate"),
        code=code_digest("weclick.evaluate.stage"),
        data=scored_data,
        folder=f"{ABLATION}/{{model}}/{{seed}}/evaluation",
    shell:
        "weclick evaluate --config {params.config:q} --device {config[device]} {params.data}"
        " --student {input.model:q} --output {params.folder:q}"


rule ablation_summary:
    input:
        expand(
            f"{ABLATION}/{{model}}/{{seed}}/evaluation/metrics.json",
            model=["teacher", *VARIANTS],
            seed=SEEDS,
        ),
    output:
        SUMMARY,
        expand(f"{ABLATION}/{{model}}/metrics.json", model=["teacher", *VARIANTS]),
    localrule: True
    params:
        config=stage_config("ablation"),
        code=code_digest("weclick.runs.ablation"),
    shell:
        "weclick ablation --config {params.config:q} --folder {ABLATION:q}"


rule ablation:
    input:
        **dict(item for item in rules.report.input.items() if item[0] != "ablation"),
        summary=SUMMARY,
    output:
        f"{ABLATION}/report.html",
    params:
        config=lambda wildcards: json.dumps(config, sort_keys=True),
        code=code_digest("weclick.runs.report"),
    shell:
        "weclick report --config {params.config:q} --results {RESULTS:q} --output {output:q}"
