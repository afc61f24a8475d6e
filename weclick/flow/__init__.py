"""Optical flow: estimators, flow files, and the stage that fills the store."""

from typing import TYPE_CHECKING

from weclick.common.when_asked import load_when_asked

if TYPE_CHECKING:
    from weclick.flow.estimators import FlowEstimator, build_estimator, estimator_digest
    from weclick.flow.flownet2.loss import endpoint_error, multiscale_loss
    from weclick.flow.flownet2.networks import (
        FlowNet2,
        FlowNet2C,
        FlowNet2CS,
        FlowNet2CSS,
        FlowNet2S,
        FlowNet2SD,
    )
    from weclick.flow.formats import read_flo, read_kitti_flow, write_flo, write_kitti_flow
    from weclick.flow.stage import compute_flow
    from weclick.store.flow_entries import read_flow

__all__ = [
    "FlowEstimator",
    "FlowNet2",
    "FlowNet2C",
    "FlowNet2CS",
    "FlowNet2CSS",
    "FlowNet2S",
    "FlowNet2SD",
    "build_estimator",
    "compute_flow",
    "endpoint_error",
    "estimator_digest",
    "multiscale_loss",
    "read_flo",
    "read_flow",
    "read_kitti_flow",
    "write_flo",
    "write_kitti_flow",
]

__getattr__ = load_when_asked(
    __name__,
    {
        "FlowEstimator": "weclick.flow.estimators",
        "FlowNet2": "weclick.flow.flownet2.networks",
        "FlowNet2C": "weclick.flow.flownet2.networks",
        "FlowNet2CS": "weclick.flow.flownet2.networks",
        "FlowNet2CSS": "weclick.flow.flownet2.networks",
        "FlowNet2S": "weclick.flow.flownet2.networks",
        "FlowNet2SD": "weclick.flow.flownet2.networks",
        "build_estimator": "weclick.flow.estimators",
        "compute_flow": "weclick.flow.stage",
        "endpoint_error": "weclick.flow.flownet2.loss",
        "estimator_digest": "weclick.flow.estimators",
        "multiscale_loss": "weclick.flow.flownet2.loss",
        "read_flo": "weclick.flow.formats",
        "read_flow": "weclick.store.flow_entries",
        "read_kitti_flow": "weclick.flow.formats",
        "write_flo": "weclick.flow.formats",
        "write_kitti_flow": "weclick.flow.formats",
    },
)
