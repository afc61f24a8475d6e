rule frames:
    input:
        [shards_of("frames", split) for split in SPLITS],


rule frames_shard:
    input:
        f"{RESULTS}/manifest/{{split}}/{{shard}}.json",
    output:
        f"{RESULTS}/frames/{{split}}/{{shard}}.json",
    log:
        f"{RESULTS}/logs/frames_shard/{{split}}/{{shard}}.log",
    threads: 2
    params:
        config=stage_config("frames"),
        code=code_digest("weclick.datasets.frames", "weclick.manifest.manifest_file"),
    shell:
        "weclick --log {log:q} frames --config {params.config:q} --manifest {input:q} --output {output:q}"
