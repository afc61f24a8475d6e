def given_weights(chosen):
    """The file with the weights of a network that makes maps without tags; none if there is no such file."""
    section = chosen["cams"]
    given = reads_weights(section) and section["pretrained"] != "imagenet"
    return [section["pretrained"]] if given else []


def maps_made_from(wildcards, input):
    """The option of the stage that names its classifier, from the rule's inputs."""
    return flags("--classifier", [input.classifier] if input.classifier else [])


rule cams:
    input:
        shards_of("cams", TRAIN),


rule cams_shard:
    input:
        manifest=f"{RESULTS}/manifest/{TRAIN}/{{shard}}.json",
        tags=f"{RESULTS}/tags/{TRAIN}.h5",
        classifier=(
            rules.classifier.output.weights
            if "tags" in map_sources(config["cams"])
            else []
        ),
        weights=given_weights(config),
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
        files=iconic_files,
        made_from=maps_made_from,
    shell:
        "weclick --log {log:q} cams --config {params.config:q} --device {config[device]:q}"
        " --manifest {input.manifest:q} --tags {input.tags:q} {params.made_from} --output {output:q}"
