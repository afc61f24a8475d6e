rule soft_labels:
    input:
        shards_of("soft_labels", TRAIN),


rule soft_labels_shard:
    input:
        manifest=f"{RESULTS}/manifest/{TRAIN}/{{shard}}.json",
        teacher=rules.teacher.output.weights,
    output:
        f"{RESULTS}/soft_labels/{TRAIN}/{{shard}}.json",
    log:
        f"{RESULTS}/logs/soft_labels_shard/{TRAIN}/{{shard}}.log",
    threads: cores_of(1)
    resources:
        gpu=1,
    params:
        config=stage_config("soft_labels"),
        code=code_digest("weclick.proxy_labels.soft_labels"),
    shell:
        "weclick --log {log:q} soft-labels --config {params.config:q} --device {config[device]:q}"
        " --manifest {input.manifest:q} --teacher {input.teacher:q} --output {output:q}"
