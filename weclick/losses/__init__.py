"""Losses on the logit grid; one file each, torch only."""

from weclick.losses.affinity_displacement import affinity_displacement
from weclick.losses.balanced_seed_loss import balanced_seed_loss
from weclick.losses.constrain_loss import constrain_loss
from weclick.losses.cross_entropy import cross_entropy
from weclick.losses.expand_loss import expand_loss
from weclick.losses.flow_boundary import flow_boundary
from weclick.losses.gated_crf import GatedCRFKernel, gated_crf
from weclick.losses.grow_cues import grow_cues
from weclick.losses.heatmap_loss import heatmap_loss
from weclick.losses.knowledge_distillation import knowledge_distillation
from weclick.losses.mean_field import mean_field
from weclick.losses.memory_flow import consistency_matrix, memory_flow_distillation
from weclick.losses.multilabel_soft_margin import multilabel_soft_margin
from weclick.losses.partial_cross_entropy import partial_cross_entropy
from weclick.losses.seed_loss import seed_loss
from weclick.losses.tag_loss import tag_loss

__all__ = [
    "GatedCRFKernel",
    "affinity_displacement",
    "balanced_seed_loss",
    "consistency_matrix",
    "constrain_loss",
    "cross_entropy",
    "expand_loss",
    "flow_boundary",
    "gated_crf",
    "grow_cues",
    "heatmap_loss",
    "knowledge_distillation",
    "mean_field",
    "memory_flow_distillation",
    "multilabel_soft_margin",
    "partial_cross_entropy",
    "seed_loss",
    "tag_loss",
]
