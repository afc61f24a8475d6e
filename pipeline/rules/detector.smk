rule detector:
    input:
        manifests=shards_of("manifest", TRAIN),
        frames=shards_of("frames", TRAIN),
        instances=shards_of("instances", TRAIN),
        flow=(shards_of("flow", TRAIN) if config["maskconsist"]["weight"] else []),
        validation=shards_of("manifest", VAL),
    output:
        weights=f"{RESULTS}/detector/model.safetensors",
        card=f"{RESULTS}/detector/model.json",
        metrics=f"{RESULTS}/detector/metrics.jsonl",
    log:
        f"{RESULTS}/logs/detector.log",
    threads: cores_of(config["devices"])
    resources:
        gpu=config["devices"],
    params:
        config=stage_config("detector"),
        code=code_digest(
            "weclick.train.stage",
            "weclick.train.data.proxied",
            "weclick.runs.consist",
        ),
        data=training_data,
        folder=f"{RESULTS}/detector",
    shell:
        "weclick --log {log:q} detector --config {params.config:q} --device {config[device]:q}"
        " --devices {config[devices]:q} {params.data} --set {WATCH:q}"
        " --output {params.folder:q}"
