"""The interface of flow estimators, and the table of those that the config may name.

A new estimator is a class like `Dis`: a `FlowEstimator` with a class method `describe(**options)`, which
gives its digest without loading anything, and one line in `_ESTIMATORS`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from weclick.common.errors import InputError
from weclick.common.yaml_files import parse_yaml, resolved

if TYPE_CHECKING:  # a job with nothing to do asks for digests alone, and torch takes seconds to load
    from torch import Tensor


class FlowEstimator(Protocol):
    """Estimates where every pixel of a target lies in a neighbour.

    Attributes:
        name: what the config calls it.
        digest: all that determines its output, for the store's keys: name, options, weights' SHA-256.
        licence: what the owners of its weights ask for, or None where there are no weights.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def digest(self) -> Mapping[str, Any]: ...  # noqa: D102

    @property
    def licence(self) -> str | None: ...  # noqa: D102

    def estimate(self, target: Tensor, neighbour: Tensor) -> Tensor:
        """The flow target -> neighbour, on the target's grid.

        Args:
            target: (B, 3, H, W) uint8 RGB.
            neighbour: the same shape.

        Returns:
            (B, 2, H, W) float32 (dx, dy) px, on the estimator's device: what is at (x, y) in the target
            is at (x + dx, y + dy) in the neighbour. So warping the neighbour by it gives the target.
        """
        ...


def build_estimator(name: str, *, device: str = "cpu", **options: Any) -> FlowEstimator:
    """Make a flow estimator ready for use.

    Args:
        name: dis, flownet2 or raft.
        device: where it computes (networks) and where its flow lies.
        options: its own, e.g. preset="medium" or weights="FlowNet2_checkpoint.pth.tar".

    Raises:
        ValueError: an unknown name or option, or weights that do not fit.
        FileNotFoundError: the weights are not there.
    """
    return _find(name, options)(device=device, **options)


def estimate_both(estimator: FlowEstimator, target: Tensor, neighbour: Tensor) -> tuple[Tensor, Tensor]:
    """The flows target -> neighbour and neighbour -> target.

    An estimator that can share work between them has a method `estimate_both`, with the arguments of
    `estimate`.
    """
    if hasattr(estimator, "estimate_both"):
        return estimator.estimate_both(target, neighbour)
    return estimator.estimate(target, neighbour), estimator.estimate(neighbour, target)


def estimator_digest(name: str, **options: Any) -> dict[str, Any]:
    """The `digest` of an estimator, for a key, without building it.

    Raises:
        ValueError: an unknown name or option, or a value it cannot have.
        FileNotFoundError: the weights are not there.
    """
    return _find(name, options).describe(**options)


def parse_estimator(spec: str, option: str) -> tuple[str, dict[str, Any]]:
    """'raft:model=large' -> ("raft", {"model": "large"}), the values read as YAML.

    Args:
        spec: as people write it on a command line.
        option: of the command line, for errors.

    Raises:
        InputError: the text is not of that form.
    """
    name, _, text = spec.partition(":")
    parts = [part.partition("=") for part in text.split(",") if part]
    if not name or not all(key and sign for key, sign, _ in parts):
        raise InputError(
            f"{option} {spec!r} is not of the form name:option=value,option=value; "
            "expected e.g. dis or dis:preset=fast"
        )
    return name, {key: resolved(parse_yaml(value, f"{option} {spec!r}")) for key, _, value in parts}


def _dis() -> type:
    from weclick.flow.dis import Dis

    return Dis


def _raft() -> type:
    from weclick.flow.raft import Raft

    return Raft


def _flownet2() -> type:
    from weclick.flow.flownet2.estimator import FlowNet2Estimator

    return FlowNet2Estimator


_ESTIMATORS: dict[str, Callable[[], type]] = {"dis": _dis, "flownet2": _flownet2, "raft": _raft}
"""Name in the config -> its class, imported only when asked for."""


def _find(name: str, options: Mapping[str, Any]) -> Any:
    if name not in _ESTIMATORS:
        raise ValueError(f"flow.estimator is {name!r}, expected one of {', '.join(sorted(_ESTIMATORS))}")
    estimator: Any = _ESTIMATORS[name]()
    known = list(inspect.signature(estimator.describe).parameters)
    unknown = [option for option in options if option not in known]
    if unknown:
        raise ValueError(
            f"flow.options has {', '.join(map(repr, unknown))}, but the options of {name} are "
            f"{', '.join(known)}; correct the name or remove it"
        )
    return estimator
