rule masks:
    input:
        shards_of("masks", TRAIN),


rule masks_shard:
    input:
        f"{RESULTS}/manifest/{TRAIN}/{{shard}}.json",
    output:
        f"{RESULTS}/masks/{TRAIN}/{{shard}}.json",
    log:
        f"{RESULTS}/logs/masks_shard/{TRAIN}/{{shard}}.log",
    threads: 2
    params:
        config=stage_config("masks"),
        code=code_digest("weclick.proxy_labels.masks", "weclick.manifest.manifest_file"),
    shell:
        "weclick --log {log:q} masks --config {params.config:q} --manifest {input:q} --output {output:q}"
