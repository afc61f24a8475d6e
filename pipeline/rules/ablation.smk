from weclick.runs.ablation import ARMS


rule ablation_summary:
    input:
        f"{EXPERIMENTS}/{ABLATION}/{SUMMARY}",
    output:
        ABLATION_SUMMARY,
        expand(f"{RESULTS}/ablation/{{arm}}/metrics.json", arm=ARMS),
    log:
        f"{RESULTS}/logs/ablation_summary.log",
    localrule: True
    params:
        folder=f"{RESULTS}/ablation",
        code=code_digest("weclick.runs.experiment.files"),
    shell:
        "weclick --log {log:q} ablation --summary {input:q} --folder {params.folder:q}"


use rule report as ablation with:
    input:
        **dict(item for item in rules.report.input.items() if item[0] != "ablation"),
        ablation=ABLATION_SUMMARY,
        experiment=f"{EXPERIMENTS}/{ABLATION}/{PAGE}",
    output:
        page=f"{RESULTS}/ablation/report.html",
    log:
        f"{RESULTS}/logs/ablation.log",
