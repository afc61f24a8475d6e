LOCK = f"{RESULTS}/run.lock.json"

STAGE_RULES = {
    "manifest": rules.manifest_shard,
    "clicks": rules.clicks,
    "frames": rules.frames_shard,
    "flow": rules.flow_shard,
    "teacher": rules.teacher,
    "soft_labels": rules.soft_labels_shard,
    "student": rules.student,
    "evaluate": rules.evaluate,
}


rule lock:
    input:
        **dict(
            item
            for item in rules.report.input.items()
            if item[0] not in ("style", "ablation")
        ),
        report=rules.report.output.card,
    output:
        LOCK,
    log:
        f"{RESULTS}/logs/lock.log",
    threads: cores_of(config["devices"])
    params:
        stages=lambda wildcards: json.dumps(
            {stage: str(rule.params.code) for stage, rule in STAGE_RULES.items()}
        ),
        code=code_digest("weclick.runs.lock"),
    shell:
        "weclick --log {log:q} lock --results {RESULTS:q} --code {params.stages:q} --threads {threads:q}"
        " --output {output:q}"
