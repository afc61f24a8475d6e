"""A click that a person made on a frame which nobody reads."""

from weclick.clicks.checks import Click
from weclick.clicks.placed import PlacedClick
from weclick.manifest import Classes, Clip, Frame, Manifest
from weclick.manifest.people import Origin

SIZE = 40, 60
CLIP = Clip("a", tuple(Frame(str(i), i, f"{i}.png") for i in range(60)), targets=tuple(range(60)))
MANIFEST = Manifest("folder", "/", "train", 0, 1, Classes(("road", "car"), ((0, 0, 0), (1, 1, 1))), (CLIP,))


def click(who, frame, y, x, class_id):
    told = Click("a", str(frame), y, x, ("road", "car")[class_id])
    return PlacedClick(told, MANIFEST, CLIP, frame, SIZE, class_id, Origin(who=who), "", False, False)
