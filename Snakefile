"""weclick: from video and clicks to a compact segmentation network and a report.

    snakemake --cores 8 all                                          the toy street
    snakemake --cores 8 all --configfile config/camvid.yaml          a data set
    snakemake --cores 8 flow --configfile config/folder.yaml         up to one stage

Rules stand in the order of the data. What a stage computes lies in pipeline/rules/<stage>.smk (who feeds
whom) and in weclick/ (how).
"""

if not workflow.config_settings.configfiles:

    configfile: f"{workflow.basedir}/config/demo.yaml"


include: "pipeline/rules/common.smk"
include: "pipeline/rules/manifest.smk"
include: "pipeline/rules/clicks.smk"
include: "pipeline/rules/tags.smk"
include: "pipeline/rules/frames.smk"
include: "pipeline/rules/masks.smk"
include: "pipeline/rules/flow.smk"
include: "pipeline/rules/classifier.smk"
include: "pipeline/rules/cams.smk"
include: "pipeline/rules/proxy_labels.smk"
include: "pipeline/rules/confident_labels.smk"
include: "pipeline/rules/relation.smk"
include: "pipeline/rules/instances.smk"
include: "pipeline/rules/teacher.smk"
include: "pipeline/rules/soft_labels.smk"
include: "pipeline/rules/student.smk"
include: "pipeline/rules/detector.smk"
include: "pipeline/rules/evaluate.smk"
include: "pipeline/rules/report.smk"
include: "pipeline/rules/lock.smk"
include: "pipeline/rules/experiment.smk"
include: "pipeline/rules/ablation.smk"


rule all:
    default_target: True
    input:
        lambda wildcards: (
            [*rules.report.output, *rules.lock.output]
            if can_be_scored()
            else [*getattr(rules, LAST).output]
        ),
