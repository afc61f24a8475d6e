"""`weclick clicks-import` and `weclick clicks-export`: clicks from other annotation tools, and for them."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from weclick.cli.app import ClassesFile, DataRoot, app


class ImportFormat(StrEnum):
    """What `weclick clicks-import` reads."""

    AUTO = "auto"
    CVAT = "cvat"
    LABELSTUDIO = "labelstudio"
    LABELSTUDIO_MIN = "labelstudio-min"
    LABELME = "labelme"
    COCO = "coco"
    VIA2 = "via2"
    VIA3 = "via3"
    DEEPLABCUT = "deeplabcut"
    CSV = "csv"


class ExportFormat(StrEnum):
    """What `weclick clicks-export` writes."""

    CVAT = "cvat"
    LABELSTUDIO = "labelstudio"
    COCO = "coco"
    CSV = "csv"


class OnError(StrEnum):
    """What becomes of points that cannot be taken."""

    STOP = "stop"
    SKIP = "skip"


@app.command("clicks-import")
def clicks_import(
    files: Annotated[list[Path], typer.Argument(help="Files, zip archives, or folders of them.")],
    root: DataRoot,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write a CSV table instead of adding to <root>/clicks.jsonl.")
    ] = None,
    clip: Annotated[
        str, typer.Option("--clip", help="The clip of all files; wins over what they name.")
    ] = "",
    class_map: Annotated[
        list[str] | None,
        typer.Option(
            "--class-map",
            help="LABEL=CLASS, JSON {label: class}, or a JSON or YAML file; null leaves a label out.",
        ),
    ] = None,
    name_map: Annotated[
        list[str] | None,
        typer.Option(
            "--name-map",
            help="IMAGE=CLIP/FRAME or VIDEO=CLIP, JSON {image: [clip, frame]}, or a file of it.",
        ),
    ] = None,
    label_key: Annotated[
        str, typer.Option("--label-key", help="Attribute or column that holds the class (VIA, CSV).")
    ] = "",
    annotator: Annotated[
        str, typer.Option("--annotator", help="Id or e-mail of the one person to take (Label Studio).")
    ] = "",
    on_error: Annotated[
        OnError,
        typer.Option(
            "--on-error", help="stop: after one wrong point nothing is written. skip: leave it out."
        ),
    ] = OnError.STOP,
    format: Annotated[
        ImportFormat, typer.Option("--format", help="The files' format; auto looks into them.")
    ] = ImportFormat.AUTO,
    classes: ClassesFile = None,
    who: Annotated[str, typer.Option("--who", help="Name beside clicks whose file tells none.")] = "",
    report: Annotated[
        Path | None, typer.Option("--report", help="Also write the counts by reason into this JSON file.")
    ] = None,
) -> None:
    """Take clicks from the files of other annotation tools.

    Formats: CVAT for video and for images 1.1 (XML), Label Studio (JSON, JSON-MIN), labelme, COCO keypoints,
    VIA 2 (CSV, JSON) and 3 (JSON), DeepLabCut, and CSV with named columns. The clicks are added to
    ROOT/clicks.jsonl; an import that is repeated adds nothing. At the end it says what was taken, and how
    many points were not, by reason. A point whose clip, frame, class, place or size is wrong ends it with
    exit status 1, and nothing is written.

        weclick clicks-import annotations.zip --root data/mine
        weclick clicks-import project.json --root data/mine --class-map person=pedestrian --on-error skip
        weclick clicks-import Points.csv --root data/mine --clip park --label-key label --out clicks.csv
    """
    from weclick.clicks.formats.marks import ReadOptions
    from weclick.clicks.importing import ImportOptions
    from weclick.clicks.maps import read_class_map, read_name_map
    from weclick.common.files import write_text
    from weclick.common.strict_json import strict_json
    from weclick.runs.click_files import import_clicks, lines_of

    options = ImportOptions(
        read=ReadOptions(label_key, annotator),
        format="" if format is ImportFormat.AUTO else format.value,
        clip=clip,
        classes=read_class_map(class_map or ()),
        names=read_name_map(name_map or ()),
    )
    skip = on_error is OnError.SKIP
    done = import_clicks(files, root, options, classes=classes, out=out, skip_errors=skip, who=who)
    for told in [*done.found.told, *(told for each in done.found.warnings.values() for told in each)]:
        print(f"weclick: warning: {told}", file=sys.stderr)
    if done.few:
        few = f"{done.few}; a network learns little of such classes: click on more of their objects"
        print(f"weclick: warning: {done.path}: {few}", file=sys.stderr)
    if report:
        write_text(report, strict_json(done.found.report(), indent=1) + "\n")
    for line in lines_of(done):
        print(line)


@app.command("clicks-export")
def clicks_export(
    root: DataRoot,
    out: Annotated[Path, typer.Option("--out", help="File to write.")],
    format: Annotated[ExportFormat, typer.Option("--format", help="The tool to write for.")],
    clip: Annotated[
        list[str] | None, typer.Option("--clip", help="Clip to write; may be repeated. Default: all.")
    ] = None,
    clicks: Annotated[
        Path | None, typer.Option("--clicks", help="A log or a CSV table. Default: <root>/clicks.jsonl.")
    ] = None,
    classes: ClassesFile = None,
) -> None:
    """Write clicks for other annotation tools: CVAT (XML), Label Studio (JSON), COCO keypoints, or CSV.

    Of one video, CVAT's file is that of a task (CVAT for video 1.1), of images CVAT for images 1.1. Label
    Studio and COCO know images only; a video's frames are named as if they lay in frames/CLIP/. What
    clicks-import reads back is the same clicks. Scribbles are left out.

        weclick clicks-export --root data/mine --format cvat --clip park --out park.xml
        weclick clicks-export --root data/mine --format csv --out clicks.csv
    """
    from weclick.runs.click_files import export_clicks

    count, frames = export_clicks(
        root, out, file_format=format.value, only=clip or (), clicks=clicks, classes=classes
    )
    print(f"{count} clicks on {frames} frames: {out}")
