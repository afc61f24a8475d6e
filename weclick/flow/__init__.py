"""Optical flow: estimators, flow files, and the stage that fills the store."""

from weclick.flow.estimators import FlowEstimator, build_estimator, estimator_digest
from weclick.flow.flownet2.loss import endpoint_error, multiscale_loss
from weclick.flow.flownet2.networks import FlowNet2, FlowNet2C, FlowNet2CS, FlowNet2CSS, FlowNet2S, FlowNet2SD
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
