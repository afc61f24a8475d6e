rule confident_labels:
    input:
        shards_of("confident_labels", TRAIN),


rule confident_labels_shard:
    input:
        manifest=f"{RESULTS}/manifest/{TRAIN}/{{shard}}.json",
        tags=f"{RESULTS}/tags/{TRAIN}.h5",
        cams=f"{RESULTS}/cams/{TRAIN}/{{shard}}.json",
        flow=(
            f"{RESULTS}/flow/{TRAIN}/{{shard}}.json"
            if config["fcam"]["motion"] != "none"
            else []
        ),
    output:
        f"{RESULTS}/confident_labels/{TRAIN}/{{shard}}.json",
    log:
        f"{RESULTS}/logs/confident_labels_shard/{TRAIN}/{{shard}}.log",
    params:
        config=stage_config("confident_labels"),
        code=code_digest(
            "weclick.proxy_labels.confident",
            "weclick.runs.instance_source",
            "weclick.clicks.tags",
        ),
        made_from=lambda wildcards, input: flags(
            "--flow", [input.flow] if input.flow else []
        ),
    shell:
        "weclick --log {log:q} confident-labels --config {params.config:q}"
        " --manifest {input.manifest:q} --tags {input.tags:q} --cams {input.cams:q} {params.made_from}"
        " --output {output:q}"
