"""Label Studio's JSON, to be imported into a project with local files below the data set's root.

Its labelling interface needs `<Image name="image" value="$image"/>` and `<KeyPointLabels name="class"
toName="image">` with the classes.
"""

from __future__ import annotations

from urllib.parse import quote

from weclick.clicks.formats.sheet import Sheet, centre
from weclick.common.strict_json import strict_json

_DOT_PERCENT = 0.5


def write_labelstudio(sheet: Sheet) -> str:
    """The clicks as tasks with one annotation each, in per cent of the image."""
    tasks = []
    for number, frame in enumerate(sheet.frames, 1):
        height, width = frame.size
        result = [
            {
                "id": f"{number}-{position}",
                "type": "keypointlabels",
                "from_name": "class",
                "to_name": "image",
                "original_width": width,
                "original_height": height,
                "image_rotation": 0,
                "value": {
                    "x": centre(click.x) / width * 100,
                    "y": centre(click.y) / height * 100,
                    "width": _DOT_PERCENT,
                    "keypointlabels": [click.class_name],
                },
            }
            for position, click in enumerate(frame.clicks)
        ]
        image = f"/data/local-files/?d={quote(f'frames/{frame.image}')}"
        tasks.append(
            {"id": number, "data": {"image": image}, "annotations": [{"id": number, "result": result}]}
        )
    return strict_json(tasks, indent=1)
