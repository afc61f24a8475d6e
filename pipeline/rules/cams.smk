def given_weights(chosen):
    """The files with the weights of ImageNet's classes; None if the run's classifier makes the maps."""
    section = chosen["cams"]
    if section["source"] == "tags":
        return None
    return [] if section["pretrained"] == "imagenet" else [section["pretrained"]]


def maps_made_from(wildcards, input):
    """The option of the stage that names its classifier, from the rule's inputs."""
    by_classifier = given_weights(config_of(wildcards)) is None
    return flags("--classifier", [input.network] if by_classifier else [])


rule cams:
    input:
        shards_of("cams", TRAIN),


rule cams_shard:
    input:
        manifest=f"{RESULTS}/manifest/{TRAIN}/{{shard}}.json",
        tags=f"{RESULTS}/tags/{TRAIN}.h5",
        network=(
            rules.classifier.output.weights
            if given_weights(config) is None
            else given_weights(config)
        ),
    output:
        f"{RESULTS}/cams/{TRAIN}/{{shard}}.json",
    log:
        f"{RESULTS}/logs/cams_shard/{TRAIN}/{{shard}}.log",
    threads: cores_of(1)
    resources:
        gpu=1,
    params:
        config=stage_config("cams"),
        code=code_digest("weclick.proxy_labels.cams", "weclick.runs.cam_source"),
        made_from=maps_made_from,
    shell:
        "weclick --log {log:q} cams --config {params.config:q} --device {config[device]:q}"
        " --manifest {input.manifest:q} --tags {input.tags:q} {params.made_from} --output {output:q}"
