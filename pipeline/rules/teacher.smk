rule teacher:
    input:
        manifests=shards_of("manifest", TRAIN),
        clicks=rules.clicks.output,
        frames=shards_of("frames", TRAIN),
        masks=taken_shards("masks", TRAIN),
        proxy_labels=taken_shards("proxy_labels", TRAIN),
        validation=shards_of("manifest", VAL),
    output:
        weights=f"{RESULTS}/teacher/model.safetensors",
        card=f"{RESULTS}/teacher/model.json",
        metrics=f"{RESULTS}/teacher/metrics.jsonl",
    log:
        f"{RESULTS}/logs/teacher.log",
    threads: cores_of(config["devices"])
    resources:
        gpu=config["devices"],
    params:
        config=stage_config("teacher"),
        code=code_digest(
            "weclick.train.stage",
            "weclick.manifest.annotation",
            "weclick.train.data.proxied",
        ),
        data=training_data,
        folder=f"{RESULTS}/teacher",
    shell:
        "weclick --log {log:q} teacher --config {params.config:q} --device {config[device]:q}"
        " --devices {config[devices]:q} {params.data} --set {WATCH:q}"
        " --output {params.folder:q}"


# The same recipe, trained with another seed on the same clicks.
use rule teacher as teacher_of_seed with:
    output:
        weights=f"{RESULTS}/teachers/{{seed}}/model.safetensors",
        card=f"{RESULTS}/teachers/{{seed}}/model.json",
    log:
        f"{RESULTS}/logs/teacher_of_seed/{{seed}}.log",
    params:
        folder=f"{RESULTS}/teachers/{{seed}}",
