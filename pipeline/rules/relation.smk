rule relation:
    input:
        manifests=shards_of("manifest", TRAIN),
        frames=shards_of("frames", TRAIN),
        confident_labels=shards_of("confident_labels", TRAIN),
        flow=(shards_of("flow", TRAIN) if config["flow_boundary"]["weight"] else []),
        validation=shards_of("manifest", VAL),
    output:
        weights=f"{RESULTS}/relation/model.safetensors",
        card=f"{RESULTS}/relation/model.json",
        metrics=f"{RESULTS}/relation/metrics.jsonl",
    log:
        f"{RESULTS}/logs/relation.log",
    threads: cores_of(config["devices"])
    resources:
        gpu=config["devices"],
    params:
        config=stage_config("relation"),
        code=code_digest("weclick.train.stage", "weclick.train.data.proxied"),
        data=training_data,
        folder=f"{RESULTS}/relation",
    shell:
        "weclick --log {log:q} relation --config {params.config:q} --device {config[device]:q}"
        " --devices {config[devices]:q} {params.data} --set {WATCH:q}"
        " --output {params.folder:q}"
