rule classifier:
    input:
        manifests=shards_of("manifest", TRAIN),
        tags=f"{RESULTS}/tags/{TRAIN}.h5",
        frames=shards_of("frames", TRAIN),
        validation=shards_of("manifest", VAL),
    output:
        weights=f"{RESULTS}/classifier/model.safetensors",
        card=f"{RESULTS}/classifier/model.json",
        metrics=f"{RESULTS}/classifier/metrics.jsonl",
    log:
        f"{RESULTS}/logs/classifier.log",
    threads: cores_of(config["devices"])
    resources:
        gpu=config["devices"],
    params:
        config=stage_config("classifier"),
        code=code_digest(
            "weclick.train.stage",
            "weclick.clicks.tags",
            "weclick.manifest.tagged",
            "weclick.train.data.proxied",
        ),
        data=training_data,
        folder=f"{RESULTS}/classifier",
    shell:
        "weclick --log {log:q} classifier --config {params.config:q} --device {config[device]:q}"
        " --devices {config[devices]:q} {params.data} --set {WATCH:q}"
        " --output {params.folder:q}"
