TOY = f"{config['data']['root']}/toy.json"


rule toy:
    output:
        TOY,
    threads: 2
    params:
        config=stage_config("toy"),
        code=code_digest("weclick.datasets.toy.draw"),
    shell:
        "weclick toy --config {params.config:q}"


rule manifest:
    input:
        [shards_of("manifest", split) for split in SPLITS],


rule manifest_shard:
    input:
        [TOY] if config["data"]["name"] == "toy" else [],
    output:
        f"{RESULTS}/manifest/{{split}}/{{shard}}.json",
    params:
        config=stage_config("manifest"),
        code=code_digest("weclick.datasets"),
        listing=listing,
    shell:
        "weclick manifest --config {params.config:q} --split {wildcards.split} --shard {wildcards.shard}"
        " --output {output:q}"
