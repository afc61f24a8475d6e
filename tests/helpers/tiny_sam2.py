"""SAM 2's video model with random weights, as small as its classes permit, and clicks for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from weclick.manifest import Classes, Clip, Frame, Manifest
from weclick.manifest.click_table import POINT, ClickTable

SIDE = 64
"""Side of its squares, px."""

SIZE = (32, 48)
NAMES = ("background", "dog", "swan")
DOG, SWAN = 1, 2


def clip_of(frames: int) -> Clip:
    listed = tuple(Frame(f"{t:05}", t, f"park/{t:05}.png", digest=f"{t:064x}") for t in range(frames))
    return Clip("park", listed, targets=(0,), height_px=SIZE[0], width_px=SIZE[1])


def manifest_of(clip: Clip) -> Manifest:
    return Manifest("made_up", ".", "train", 0, 1, Classes(NAMES, ((0, 0, 0), (1, 1, 1), (2, 2, 2))), (clip,))


def tiny_config():
    from transformers import Sam2VideoConfig

    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 8,
        "image_size": [SIDE, SIDE],
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 1, 2, 2],
        "window_size_per_stage": [4, 4, 2, 2],
        "window_positional_embedding_background_size": [4, 4],
        "global_attention_blocks": [3],
    }
    vision = {
        "model_type": "sam2_vision_model",
        "backbone_config": backbone,
        "backbone_channel_list": [64, 32, 16, 8],
        "backbone_feature_sizes": [[SIDE // stride] * 2 for stride in (4, 8, 16)],
        "fpn_hidden_size": 128,
    }
    prompts = {"hidden_size": 128, "image_size": SIDE, "patch_size": 16, "mask_input_channels": 8}
    decoder = {
        "hidden_size": 128,
        "mlp_dim": 32,
        "num_attention_heads": 2,
        "iou_head_hidden_dim": 32,
        "iou_head_depth": 2,
    }
    return Sam2VideoConfig(
        vision_config=vision,
        prompt_encoder_config=prompts,
        mask_decoder_config=decoder,
        image_size=SIDE,
        num_maskmem=3,
        max_object_pointers_in_encoder=4,
        memory_attention_hidden_size=128,
        memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=32,
        memory_attention_rope_feat_sizes=[SIDE // 16] * 2,
        memory_encoder_hidden_size=128,
        memory_encoder_output_channels=64,
        mask_downsampler_embed_dim=128,
        memory_fuser_embed_dim=128,
        memory_fuser_intermediate_dim=32,
        memory_fuser_num_layers=1,
    )


def write_tiny_sam2(folder: Path, seed: int = 0) -> Path:
    """A folder as people name it in `proxy_labels.sam2.model`."""
    from transformers import Sam2VideoModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.manual_seed(seed)
    model = Sam2VideoModel(tiny_config())
    with torch.no_grad():
        for weights in model.mask_decoder.parameters():  # or all objects have nearly the same mask
            weights.mul_(4)
        model.mask_decoder.pred_obj_score_head.proj_out.bias += 100  # no object is ever out of sight
    model.save_pretrained(folder)
    return folder


def clicks_of(frames, scribbles=None):
    """Clicks (y, x, class id) of the clip park by the positions of frames, and numbers of scribbles."""
    named = {("park", f"{t:05}"): np.array([(*c, 0) for c in each], POINT) for t, each in frames.items()}
    lines = {("park", f"{t:05}"): np.int32(each) for t, each in (scribbles or {}).items()}
    return ClickTable("train", NAMES, named, scribbles=lines)
