rule clicks:
    input:
        manifests=shards_of("manifest", TRAIN),
    output:
        f"{RESULTS}/clicks/{TRAIN}.h5",
    log:
        f"{RESULTS}/logs/clicks.log",
    threads: 2
    params:
        config=stage_config("clicks"),
        code=code_digest("weclick.clicks", "weclick.manifest.manifest_file"),
        manifests=lambda wildcards, input: flags("--manifest", input.manifests),
        optional=optional_clicks,
    shell:
        "weclick --log {log:q} clicks --config {params.config:q} {params.manifests}"
        " {params.optional} --output {output:q}"
