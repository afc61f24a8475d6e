ONLINE_TEACHER = config["student"]["online"]["teacher"]


rule student:
    input:
        manifests=shards_of("manifest", TRAIN),
        clicks=rules.clicks.output,
        frames=shards_of("frames", TRAIN),
        flow=[] if ONLINE_TEACHER else shards_of("flow", TRAIN),
        soft_labels=[] if ONLINE_TEACHER else shards_of("soft_labels", TRAIN),
        online_teacher=ONLINE_TEACHER or [],
        validation=shards_of("manifest", VAL),
    output:
        weights=f"{RESULTS}/student/model.safetensors",
        card=f"{RESULTS}/student/model.json",
        metrics=f"{RESULTS}/student/metrics.jsonl",
    threads: cores_of(config["devices"])
    resources:
        gpu=config["devices"],
    params:
        config=stage_config("student"),
        code=code_digest(
            "weclick.train.stage", *["weclick.train.online"] * bool(ONLINE_TEACHER)
        ),
        data=training_data,
        folder=f"{RESULTS}/student",
    shell:
        "weclick student --config {params.config:q} --device {config[device]} --devices {config[devices]}"
        " {params.data} --output {params.folder:q}"
