SUMMARY = f"{RESULTS}/ablation/summary.json"


rule report:
    input:
        manifests=[shards_of("manifest", split) for split in SPLITS],
        clicks=rules.clicks.output,
        flow=[shards_of("flow", split) for split in SPLITS],
        teacher=[rules.teacher.output.card, rules.teacher.output.metrics],
        student=[rules.student.output.card, rules.student.output.metrics],
        evaluation=rules.evaluate.output,
        style=multiext(
            f"{workflow.basedir}/weclick/report/", "template.html.j2", "style.css"
        ),
        ablation=[SUMMARY] if os.path.exists(SUMMARY) else [],
    output:
        f"{RESULTS}/report.html",
    params:
        config=lambda wildcards: json.dumps(config, sort_keys=True),
        code=code_digest("weclick.report"),
    shell:
        "weclick report --config {params.config:q} --results {RESULTS} --output {output}"
