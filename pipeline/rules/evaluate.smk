rule evaluate:
    input:
        manifests=shards_of("manifest", VAL),
        flow=shards_of("flow", VAL),
        student=rules.student.output.weights,
        teacher=rules.teacher.output.weights,
    output:
        f"{RESULTS}/evaluation/metrics.json",
    threads: cores_of(1)
    resources:
        gpu=1,
    params:
        config=stage_config("evaluate"),
        code=code_digest("weclick.evaluate.stage"),
        data=scored_data,
        folder=f"{RESULTS}/evaluation",
    shell:
        "weclick evaluate --config {params.config:q} --device {config[device]} {params.data}"
        " --student {input.student:q} --teacher {input.teacher:q} --output {params.folder:q}"
