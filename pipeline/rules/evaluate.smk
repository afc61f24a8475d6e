SCORES_CODE = {
    "student": "weclick.evaluate.stage",
    "detector": "weclick.evaluate.instances.stage",
}


rule evaluate:
    input:
        manifests=shards_of("manifest", VAL),
        flow=shards_of("flow", VAL),
        network=getattr(rules, LAST).output.weights,
        teacher=[rules.teacher.output.weights] if SCORES_TEACHER else [],
        targets=shards_of("manifest", TRAIN),
        clicks=[*rules.clicks.output],
        target_flow=shards_of("flow", TRAIN) if looks_at_stacks(config) else [],
    output:
        f"{RESULTS}/evaluation/metrics.json",
    log:
        f"{RESULTS}/logs/evaluate.log",
    threads: cores_of(1)
    resources:
        gpu=1,
    params:
        config=stage_config("evaluate"),
        code=code_digest(SCORES_CODE[LAST]),
        data=scored_data,
        folder=f"{RESULTS}/evaluation",
    shell:
        "weclick --log {log:q} evaluate --config {params.config:q} --device {config[device]:q}"
        " {params.data} --output {params.folder:q}"
