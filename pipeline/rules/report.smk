import shlex
from glob import glob
import sys

ABLATION_SUMMARY = f"{RESULTS}/ablation/summary.json"

# The page tells the command; as a parameter of the rule it would rerun the page for another --cores.
os.environ.setdefault("WECLICK_COMMAND", shlex.join(["snakemake", *sys.argv[1:]]))


rule report:
    input:
        manifests=[shards_of("manifest", split) for split in SPLITS],
        clicks=rules.clicks.output,
        tags=list(rules.tags.output) if takes(config, "tags") else [],
        classifier=(
            [rules.classifier.output.card, rules.classifier.output.metrics]
            if trains_classifier(config)
            else []
        ),
        cams=taken_shards("cams", TRAIN),
        proxy_labels=taken_shards("proxy_labels", TRAIN),
        frames=shards_of("frames", TRAIN),
        flow=[shards_of("flow", split) for split in SPLITS],
        soft_labels=taken_shards("soft_labels", TRAIN),
        teacher=(
            [rules.teacher.output.card, rules.teacher.output.metrics]
            if SCORES_TEACHER
            else []
        ),
        confident_labels=taken_shards("confident_labels", TRAIN),
        relation=(
            [rules.relation.output.card, rules.relation.output.metrics]
            if takes(config, "relation")
            else []
        ),
        instances=taken_shards("instances", TRAIN),
        network=list(getattr(rules, LAST).output),
        evaluation=rules.evaluate.output,
        style=sorted(glob(f"{PACKAGE}/runs/report/*.j2"))
        + [f"{PACKAGE}/runs/report/style.css"],
        ablation=[ABLATION_SUMMARY] if os.path.exists(ABLATION_SUMMARY) else [],
    output:
        page=f"{RESULTS}/report.html",
        card=f"{RESULTS}/report.json",
    log:
        f"{RESULTS}/logs/report.log",
    params:
        config=lambda wildcards: json.dumps(config, sort_keys=True),
        code=code_digest("weclick.runs.report"),
    shell:
        "weclick --log {log:q} report --config {params.config:q} --results {RESULTS:q}"
        " --output {output.page:q}"
