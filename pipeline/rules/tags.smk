rule tags:
    input:
        manifests=shards_of("manifest", TRAIN),
    output:
        f"{RESULTS}/tags/{TRAIN}.h5",
    log:
        f"{RESULTS}/logs/tags.log",
    threads: 2
    params:
        config=stage_config("tags"),
        code=code_digest(
            "weclick.clicks.tags",
            "weclick.manifest.manifest_file",
            "weclick.runs.tag_listing",
        ),
        files=tag_files,
        manifests=lambda wildcards, input: flags("--manifest", input.manifests),
    shell:
        "weclick --log {log:q} tags --config {params.config:q} {params.manifests} --output {output:q}"
