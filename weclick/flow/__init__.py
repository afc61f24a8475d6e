"""Optical flow: estimators, flow files, and the stage that fills the store."""

from typing import TYPE_CHECKING

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
else:  # most of them load torch, which takes seconds; keys of flows do without
    _HOMES = {
        "flow.estimators": ["FlowEstimator", "build_estimator", "estimator_digest"],
        "flow.flownet2.loss": ["endpoint_error", "multiscale_loss"],
        "flow.flownet2.networks": [
            "FlowNet2",
            "FlowNet2C",
            "FlowNet2CS",
            "FlowNet2CSS",
            "FlowNet2S",
            "FlowNet2SD",
        ],
        "flow.formats": ["read_flo", "read_kitti_flow", "write_flo", "write_kitti_flow"],
        "flow.stage": ["compute_flow"],
        "store.flow_entries": ["read_flow"],
    }

    def __getattr__(name: str) -> object:
        """Load the module of a public name that is asked for."""
        from importlib import import_module

        for module, names in _HOMES.items():
            if name in names:
                return getattr(import_module(f"weclick.{module}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


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
