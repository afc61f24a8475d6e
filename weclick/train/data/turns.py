"""Which target each sample of a training shows: every one in turn, in an order drawn anew for each epoch."""

from __future__ import annotations

from collections.abc import Sequence

from weclick.common.errors import InputError
from weclick.train.data.sample import permutation


class Turns:
    """The order of a training's targets, a function of the seed and of a sample's index.

    With a share, each batch takes that part of its samples from images, which are clips of one frame, and the
    rest from videos. Both have epochs of their own. F2F takes one half each (Lee et al., ICCV 2019).

    Args:
        are_images: for each target, whether its clip has a single frame.
        seed: of the orders.
        batch_size: samples of a batch.
        image_share: 0..1; None: images and videos take turns as they come.

    Raises:
        InputError: a share is given, but one of the two groups has no target or no place in a batch.

    Example:
        >>> turns = Turns([True, True, False], seed=0, batch_size=2, image_share=0.5)
        >>> [turns[i] for i in (1, 3, 5)]
        [2, 2, 2]
    """

    def __init__(
        self, are_images: Sequence[bool], *, seed: int, batch_size: int, image_share: float | None = None
    ):
        self._seed, self._batch_size = seed, batch_size
        every = range(len(are_images))
        if image_share is None:
            self._groups = [(0, batch_size, list(every))]
            return
        images = round(batch_size * image_share)
        self._groups = [
            (0, images, [i for i in every if are_images[i]]),
            (images, batch_size - images, [i for i in every if not are_images[i]]),
        ]
        for (_, places, members), what in zip(self._groups, ("images", "videos"), strict=True):
            if not places or not members:
                raise InputError(
                    f"student.image_share is {image_share:g}, but {len(members)} of {len(are_images)} "
                    f"targets are in {what}, for which a batch of {batch_size} has {places} places; images "
                    "are clips of one frame: bring both, set another share, or set student.image_share: null"
                )

    def __getitem__(self, index: int) -> int:
        """Position of the target that the training's sample with this index shows."""
        batch, place = divmod(index, self._batch_size)
        first, places, members = next(group for group in self._groups if place < group[0] + group[1])
        epoch, turn = divmod(batch * places + place - first, len(members))
        return members[permutation(self._seed, epoch, len(members))[turn]]
