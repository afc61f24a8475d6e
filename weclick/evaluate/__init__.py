"""Networks at work: scores, speed, predictions, exports."""

from weclick.evaluate.instances.cityscapes import cityscapes_instance_ap
from weclick.evaluate.instances.consistency import instance_consistency
from weclick.evaluate.instances.images import instance_ap
from weclick.evaluate.instances.semantic import semantic_from_instances, semantic_iou
from weclick.evaluate.instances.tracks import link_tracks, track_predictions
from weclick.evaluate.instances.video import video_ap

__all__ = [
    "cityscapes_instance_ap",
    "instance_ap",
    "instance_consistency",
    "link_tracks",
    "semantic_from_instances",
    "semantic_iou",
    "track_predictions",
    "video_ap",
]
