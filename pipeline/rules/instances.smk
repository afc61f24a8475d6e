def instances_made_from(wildcards, input):
    """The options of the stage that name what it makes instances from, from the rule's inputs."""
    return " ".join(
        flags(f"--{name}", [input.get(name)] if input.get(name) else [])
        for name in ("tags", "cams", "flow", "relation", "clicks")
    )


def given_to_instances(stage, path):
    """A file that instances are made from; none if they are made without that stage."""
    return path if stage in instances_from(config) else []


def given_network(chosen):
    """The detector whose predictions are the instances; none if no detector makes them."""
    section = chosen["instances"]
    return section["network"]["path"] if section["source"] == "network" else []


rule instances:
    input:
        shards_of("instances", TRAIN),


rule instances_shard:
    input:
        manifest=f"{RESULTS}/manifest/{TRAIN}/{{shard}}.json",
        tags=given_to_instances("tags", f"{RESULTS}/tags/{TRAIN}.h5"),
        cams=given_to_instances("cams", f"{RESULTS}/cams/{TRAIN}/{{shard}}.json"),
        flow=given_to_instances("flow", f"{RESULTS}/flow/{TRAIN}/{{shard}}.json"),
        relation=given_to_instances("relation", rules.relation.output.weights),
        clicks=given_to_instances("clicks", f"{RESULTS}/clicks/{TRAIN}.h5"),
        network=given_network(config),
    output:
        f"{RESULTS}/instances/{TRAIN}/{{shard}}.json",
    log:
        f"{RESULTS}/logs/instances_shard/{TRAIN}/{{shard}}.log",
    threads: cores_of(1)
    resources:
        gpu=1,
    params:
        config=stage_config("instances"),
        code=code_digest(
            "weclick.proxy_labels.instances",
            "weclick.runs.instance_source",
            "weclick.evaluate.instances.quality",
        ),
        made_from=instances_made_from,
    shell:
        "weclick --log {log:q} instances --config {params.config:q} --device {config[device]:q}"
        " --manifest {input.manifest:q} {params.made_from} --output {output:q}"
