rule flow:
    input:
        [shards_of("flow", split) for split in SPLITS],


rule flow_shard:
    input:
        f"{RESULTS}/manifest/{{split}}/{{shard}}.json",
    output:
        f"{RESULTS}/flow/{{split}}/{{shard}}.json",
    log:
        f"{RESULTS}/logs/flow_shard/{{split}}/{{shard}}.log",
    threads: 2
    resources:
        gpu=1,
    params:
        config=stage_config("flow"),
        code=code_digest(
            "weclick.flow.stage",
            "weclick.manifest.manifest_file",
            "weclick.manifest.needs",
        ),
    shell:
        "weclick --log {log:q} flow --config {params.config:q} --device {config[device]:q}"
        " --manifest {input:q} --output {output:q}"
