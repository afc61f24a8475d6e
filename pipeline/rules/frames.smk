rule frames:
    input:
        [shards_of("frames", split) for split in SPLITS],


rule frames_shard:
    input:
        f"{RESULTS}/manifest/{{split}}/{{shard}}.json",
    output:
        f"{RESULTS}/frames/{{split}}/{{shard}}.json",
    threads: 2
    params:
        config=stage_config("frames"),
        code=code_digest("weclick.datasets.frames"),
    shell:
        "weclick frames --config {params.config:q} --manifest {input:q} --output {output:q}"
