def weights_of(teacher):
    """The file of a teacher: a given one, or that of a seed."""
    if teacher == config["seed"]:
        return rules.teacher.output.weights
    if isinstance(teacher, int):
        return f"{RESULTS}/teachers/{teacher}/model.safetensors"
    return teacher


def labels_made_from(wildcards, input):
    """The options of the stage that name its teachers and its flow, from the rule's inputs."""
    teachers = input.teacher if teachers_of(config_of(wildcards)) else []
    return " ".join(
        [flags("--teacher", teachers), flags("--flow", input.get("flow", []))]
    )


rule soft_labels:
    input:
        shards_of("soft_labels", TRAIN),


rule soft_labels_shard:
    input:
        manifest=f"{RESULTS}/manifest/{TRAIN}/{{shard}}.json",
        teacher=[weights_of(teacher) for teacher in teachers_of(config)],
        flow=(
            [f"{RESULTS}/flow/{TRAIN}/{{shard}}.json"]
            if config["soft_labels"]["fuse"]["neighbours"]
            else []
        ),
    output:
        f"{RESULTS}/soft_labels/{TRAIN}/{{shard}}.json",
    log:
        f"{RESULTS}/logs/soft_labels_shard/{TRAIN}/{{shard}}.log",
    threads: cores_of(1)
    resources:
        gpu=1,
    params:
        config=stage_config("soft_labels"),
        code=code_digest(
            "weclick.proxy_labels.soft_labels", "weclick.runs.label_source"
        ),
        files=label_files,
        made_from=labels_made_from,
    shell:
        "weclick --log {log:q} soft-labels --config {params.config:q} --device {config[device]:q}"
        " --manifest {input.manifest:q} {params.made_from} --output {output:q}"
