def proxies_made_from(wildcards, input):
    """The options of the stage that name what it makes labels from, from the rule's inputs."""
    return " ".join(
        [
            flags("--tags", input.get("tags", [])),
            flags("--cams", input.get("cams", [])),
            flags("--flow", input.get("flow", [])),
            flags("--clicks", input.get("clicks", [])),
        ]
    )


def given_to_proxies(stage, path):
    """A file that proxy labels are made from; none if they are made without that stage."""
    return [path] if stage in given_to(config) else []


rule proxy_labels:
    input:
        shards_of("proxy_labels", TRAIN),


rule proxy_labels_shard:
    input:
        manifest=f"{RESULTS}/manifest/{TRAIN}/{{shard}}.json",
        tags=given_to_proxies("tags", f"{RESULTS}/tags/{TRAIN}.h5"),
        cams=given_to_proxies("cams", f"{RESULTS}/cams/{TRAIN}/{{shard}}.json"),
        flow=given_to_proxies("flow", f"{RESULTS}/flow/{TRAIN}/{{shard}}.json"),
        clicks=given_to_proxies("clicks", f"{RESULTS}/clicks/{TRAIN}.h5"),
    output:
        f"{RESULTS}/proxy_labels/{TRAIN}/{{shard}}.json",
    log:
        f"{RESULTS}/logs/proxy_labels_shard/{TRAIN}/{{shard}}.log",
    threads: cores_of(1)
    resources:
        gpu=int(config["proxy_labels"]["source"] in ("network", "sam2")),
    params:
        config=stage_config("proxy_labels"),
        code=code_digest(
            "weclick.proxy_labels.proxy_labels",
            "weclick.proxy_labels.unlabelled",
            "weclick.runs.proxy_source",
            "weclick.evaluate.proxy_quality",
            "weclick.manifest.manifest_file",
        ),
        files=proxy_files,
        made_from=proxies_made_from,
    shell:
        "weclick --log {log:q} proxy-labels --config {params.config:q} --device {config[device]:q}"
        " --manifest {input.manifest:q} {params.made_from} --output {output:q}"
