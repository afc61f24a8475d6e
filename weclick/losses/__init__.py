"""Losses on the logit grid; one file each, torch only."""

from weclick.losses.cross_entropy import cross_entropy
from weclick.losses.gated_crf import GatedCRFKernel, gated_crf
from weclick.losses.knowledge_distillation import knowledge_distillation
from weclick.losses.memory_flow import consistency_matrix, memory_flow_distillation
from weclick.losses.partial_cross_entropy import partial_cross_entropy

__all__ = [
    "GatedCRFKernel",
    "consistency_matrix",
    "cross_entropy",
    "gated_crf",
    "knowledge_distillation",
    "memory_flow_distillation",
    "partial_cross_entropy",
]
