"""What is measured once a training has ended, and becomes part of the network."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from weclick.common.progress import progress_bar
from weclick.datasets.frames import unpacked_key
from weclick.manifest import Manifest
from weclick.manifest.read import read_frame
from weclick.models import normalize
from weclick.models.relation import Relation
from weclick.train.data.stream import Caches


@torch.no_grad()
def measure_mean_shift(network: Relation, manifest: Manifest, caches: Caches, device: torch.device) -> None:
    """Measure the mean displacement of a network of relations, which it takes away from then on.

    Its losses look at differences of displacements alone, so all of them may drift together. The public code
    of IRN (Ahn et al. 2019) takes the mean over the training images away, too. Here each target counts once,
    as a whole frame at its own size.

    Args:
        network: changed in place; ends in eval mode.
        manifest: of the training, with its targets.
        caches: hold its frames.
        device: of the network.
    """
    network.train()  # in this mode it takes no mean away
    total, count = torch.zeros(2, dtype=torch.float64), sum(len(clip.targets) for clip in manifest.clips)
    with progress_bar("mean displacement", count, "frames") as bar:
        for image in whole_targets(manifest, caches):
            _, displacement = network(normalize(image.to(device).float()))
            total += displacement.double().mean((0, 2, 3)).cpu()
            bar.advance()
    network.mean_shift.copy_(total / max(count, 1))
    network.eval()


def whole_targets(manifest: Manifest, caches: Caches) -> Iterator[Tensor]:
    """(1, 3, H, W) uint8 of each target."""
    for clip in manifest.clips:
        key, positions = caches.frames[clip.id], clip.targets
        if key == unpacked_key(clip):
            frames: Iterator[np.ndarray] = (read_frame(manifest, clip, target) for target in positions)
        else:
            entry = caches.store.get("frames", key)
            listed, array = entry.meta["inputs"]["frames"], entry.array("rgb")
            frames = (array[listed.index(clip.frames[target].digest)] for target in positions)
        for frame in frames:
            yield torch.from_numpy(np.array(frame)).movedim(-1, 0)[None]
