"""Networks at work: scores, speed, predictions, exports."""

from weclick.evaluate.instances.images import instance_ap
from weclick.evaluate.instances.video import video_ap

__all__ = [
    "instance_ap",
    "track_predictions",
    "video_ap",
]
