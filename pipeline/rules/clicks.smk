rule clicks:
    input:
        manifests=shards_of("manifest", TRAIN),
    output:
        f"{RESULTS}/clicks/{TRAIN}.h5",
    threads: 2
    params:
        config=stage_config("clicks"),
        code=code_digest("weclick.clicks"),
        manifests=lambda wildcards, input: flags("--manifest", input.manifests),
    shell:
        "weclick clicks --config {params.config:q} {params.manifests} --output {output:q}"
