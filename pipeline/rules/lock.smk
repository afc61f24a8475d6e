from weclick.common.stages import taken_by

LOCK = f"{RESULTS}/run.lock.json"


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
            {
                step.name: str(getattr(rules, step.rule).params.code)
                for step in taken_by(config)
            }
        ),
        code=code_digest("weclick.runs.lock"),
    shell:
        "weclick --log {log:q} lock --results {RESULTS:q} --code {params.stages:q} --threads {threads:q}"
        " --output {output:q}"
