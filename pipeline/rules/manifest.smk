# A street has its mark beside its clips. For another data set, nobody asks for it.
TOY = (
    f"{config['data']['root'] if config['data']['name'] == 'toy' else RESULTS}/toy.json"
)


rule toy:
    output:
        TOY,
    log:
        f"{RESULTS}/logs/toy.log",
    threads: 2
    params:
        config=stage_config("toy"),
        code=code_digest("weclick.datasets.toy.draw"),
    shell:
        "weclick --log {log:q} toy --config {params.config:q}"


rule manifest:
    input:
        [shards_of("manifest", split) for split in SPLITS],


rule manifest_shard:
    input:
        [TOY] if config["data"]["name"] == "toy" else [],
    output:
        f"{RESULTS}/manifest/{{split}}/{{shard}}.json",
    log:
        f"{RESULTS}/logs/manifest_shard/{{split}}/{{shard}}.log",
    params:
        config=stage_config("manifest"),
        code=code_digest(
            "weclick.datasets",
            "weclick.datasets.findings",
            "weclick.manifest.manifest_file",
            "weclick.manifest.needs",
        ),
        listing=listing,
    shell:
        "weclick --log {log:q} manifest --config {params.config:q} --split {wildcards.split:q}"
        " --shard {wildcards.shard:q} --output {output:q}"
