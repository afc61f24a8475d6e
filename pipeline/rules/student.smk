ONLINE_TEACHER = config["student"]["online"]["teacher"]
FEEDS_STUDENT = feeders(config, "student")
DISTILS = not ONLINE_TEACHER and takes(config, "soft_labels")
STUDENT_CODE = [
    "weclick.train.stage",
    "weclick.manifest.annotation",
    "weclick.train.data.proxied",
    *["weclick.train.online"] * bool(ONLINE_TEACHER),
]


rule student:
    input:
        manifests=shards_of("manifest", TRAIN),
        clicks=rules.clicks.output,
        frames=shards_of("frames", TRAIN),
        masks=taken_shards("masks", TRAIN),
        proxy_labels=taken_shards("proxy_labels", TRAIN),
        tags=rules.tags.output if "tags" in FEEDS_STUDENT else [],
        cams=shards_of("cams", TRAIN) if "cams" in FEEDS_STUDENT else [],
        flow=(shards_of("flow", TRAIN) if DISTILS or looks_at_stacks(config) else []),
        val_flow=shards_of("flow", VAL) if looks_at_stacks(config) else [],
        soft_labels=shards_of("soft_labels", TRAIN) if DISTILS else [],
        online_teacher=ONLINE_TEACHER or [],
        validation=shards_of("manifest", VAL),
    output:
        weights=f"{RESULTS}/student/model.safetensors",
        card=f"{RESULTS}/student/model.json",
        metrics=f"{RESULTS}/student/metrics.jsonl",
    log:
        f"{RESULTS}/logs/student.log",
    threads: cores_of(config["devices"])
    resources:
        gpu=config["devices"],
    params:
        config=stage_config("student"),
        code=code_digest(*STUDENT_CODE),
        data=training_data,
        folder=f"{RESULTS}/student",
    shell:
        "weclick --log {log:q} student --config {params.config:q} --device {config[device]:q}"
        " --devices {config[devices]:q} {params.data} --set {WATCH:q}"
        " --output {params.folder:q}"
