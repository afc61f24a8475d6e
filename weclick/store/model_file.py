"""A trained network as one safetensors file that explains itself."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from weclick.common.bounded_json import parse_json
from weclick.common.errors import InputError, MissingFileError
from weclick.common.schemas import schema_fault
from weclick.common.stages import METHODS
from weclick.common.words import plural
from weclick.geometry import StackOptions
from weclick.manifest import Classes, class_list, read_class_list
from weclick.models import rebuild
from weclick.models.build import ARCHITECTURES, CLASSIFIER, TWO_STREAM, MissingPackageError

Shape = tuple[int, ...]

MAX_CHANNELS, MAX_SHRINK = 4096, 1024
"""What a model card may claim. A network of this width takes a gigabyte."""

MAX_FLOWS, MAX_STRIDE_PX, MIN_SCALE_PX = 256, 1024, 1e-3
"""What a model card may claim of its stacks of flow."""

OF_CLASSES = (*ARCHITECTURES, TWO_STREAM, CLASSIFIER)
"""Architectures that give maps of classes. Those of relations and detectors answer otherwise."""

MODEL_BYTES = 2**32
"""The largest file that is opened."""


@dataclass(frozen=True)
class ModelCard:
    """A checkpoint's description of itself: enough to build the network, feed it and name its classes.

    Attributes:
        options: those of `rebuild`.
        classes: the label space.
        shrink: the network was trained on frames at 1/shrink of their size.
        motion: for a network that looks at stacks of flow, how these are made.
    """

    options: dict[str, Any]
    classes: Classes
    shrink: int = 1
    motion: Motion | None = None


@dataclass(frozen=True)
class Motion:
    """The motion that a network of two streams has learned from.

    Attributes:
        stack: how stacks are made.
        estimator: the digest of the flow's estimator: its name, and its options.
        stride_px: of the grid on which the flow was kept.
    """

    stack: StackOptions
    estimator: dict[str, Any]
    stride_px: int

    def as_card(self) -> dict[str, Any]:
        """As plain values, for a model card."""
        return {**asdict(self), "stack": self.stack._asdict()}

    @classmethod
    def from_card(cls, raw: Any) -> Motion:
        """The inverse of `as_card`.

        Raises:
            KeyError, TypeError, ValueError: the values are not such.
        """
        stack = StackOptions(**raw["stack"])
        told = stack.length, stack.first, raw["stride_px"]
        named = stack.edge in ("repeat", "zero") and stack.motion in ("raw", "residual")
        scaled = type(stack.scale_px) in (int, float) and MIN_SCALE_PX <= stack.scale_px <= 1 / MIN_SCALE_PX
        if any(type(value) is not int for value in told) or not (named and scaled):
            raise ValueError(f"its motion is {raw!r}")
        near = 1 <= stack.length <= MAX_FLOWS and abs(stack.first) <= MAX_FLOWS
        if not (near and 1 <= raw["stride_px"] <= MAX_STRIDE_PX):
            raise ValueError(f"stack {stack.length} from {stack.first}, or stride_px, is out of range")
        estimator = dict(raw["estimator"])
        plain = all(isinstance(value, str | int | float | None) for value in estimator.values())
        if not plain or not isinstance(estimator.get("name"), str):
            raise ValueError(f"its flow is of {raw['estimator']!r}")
        return cls(stack, estimator, raw["stride_px"])


def model_bytes(
    model: nn.Module, classes: Classes, *, shrink: int = 1, motion: Motion | None = None
) -> bytes:
    """A network's weights and its card as the content of a .safetensors file."""
    card = {"options": model.options, "classes": class_list(classes), "shrink": shrink}
    card |= {"motion": motion.as_card()} if motion else {}
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    return save(state, metadata={"weclick": json.dumps(card, sort_keys=True)})


def load_model(
    path: Path,
    device: str = "cpu",
    *,
    classes: Sequence[str] | None = None,
    with_motion: bool = False,
    architectures: Collection[str] | None = OF_CLASSES,
) -> tuple[nn.Module, ModelCard]:
    """Build the network that a checkpoint describes, load its weights, and put it in eval mode.

    This executes and unpickles nothing from the file.

    Args:
        path: of a model.safetensors.
        device: cpu or cuda.
        classes: names, in order, that the network must have; None takes any.
        with_motion: whether the caller has stacks of flow for a network that looks at them.
        architectures: those whose answers the caller understands; by default all that give maps of classes;
            None takes any.

    Raises:
        MissingFileError: there is no such file.
        InputError: the file is no weclick checkpoint, is damaged, has other classes or weights that are not
            finite, or holds a network of another architecture, or one that looks at flow, which the caller
            has not.
    """
    if not Path(path).exists():
        raise MissingFileError(f"{path}: cannot be read, there is no such checkpoint; {_instead(Path(path))}")
    with _opened(path, device) as file:
        model, card = _described(path, (file.metadata() or {}).get("weclick"))
        if classes is not None and card.classes.names != tuple(classes):
            raise InputError(
                f"{path}: was trained for the classes {', '.join(card.classes.names)}, but the data set has "
                f"{', '.join(classes)}; name a network of these classes, or train one on this data set"
            )
        if architectures is not None and card.options["architecture"] not in architectures:
            raise InputError(
                f"{path}: its network is of the architecture {card.options['architecture']}, expected "
                f"{' or '.join(architectures)}; give the model.safetensors of a stage that makes such a one"
            )
        if card.motion and not with_motion:
            raise InputError(
                f"{path}: its network looks at the flow around a frame, and here it would see single images; "
                "name a network of another architecture"
            )
        names = list(file.keys())
        own = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        _check_fit(path, own, {name: tuple(file.get_slice(name).get_shape()) for name in names})
        state = {name: file.get_tensor(name) for name in names}
    _check_finite(path, state)
    model.to_empty(device=device).load_state_dict(state)
    return model.eval(), card


def _instead(path: Path) -> str:
    """What to do where a checkpoint is missing: its run may have trained a network of another method."""
    lasts = dict.fromkeys(role for method in METHODS.values() for role in method.last)
    there = [found for role in lasts if (found := path.parent.parent / role / path.name).is_file()]
    if there:
        return f"its run has made {there[0]}: name that one"
    return "the teacher, student and detector stages make model.safetensors: `weclick run CONFIG` runs them"


@contextmanager
def _opened(path: Path, device: str) -> Iterator[Any]:
    try:
        if (found := Path(path).stat().st_size) > MODEL_BYTES:
            raise ValueError(f"it has {found} bytes, at most {MODEL_BYTES} are read")
        with safe_open(str(path), framework="pt", device=device) as file:
            yield file
    except InputError:
        raise
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(
            f"{path}: cannot be read as a .safetensors checkpoint ({error}); give the model.safetensors of a "
            "trained teacher, student or detector. If this was one, it is damaged: delete it, and run that "
            "stage again"
        ) from error


def _described(path: Path, text: str | None) -> tuple[nn.Module, ModelCard]:
    """The network of a checkpoint's model card."""
    if text is None:
        raise InputError(
            f"{path}: is a safetensors file without weclick's model card; give the model.safetensors of a "
            "trained teacher, student or detector, e.g. results/student/model.safetensors"
        )
    try:
        raw = parse_json(text.encode())
    except ValueError as error:
        raise _no_network(path, error) from error
    return described_network(path, raw)


def described_network(path: Path, raw: Any) -> tuple[nn.Module, ModelCard]:
    """The network of a model card, without weights, so without memory.

    Args:
        path: of the file that holds the card, for errors.
        raw: the card as plain values, of any origin.

    Raises:
        InputError: it describes no network of this version, or a package that it needs is missing.
    """
    try:
        faults = [
            schema_fault(raw.get("options"), "models", "options"),
            schema_fault(raw.get("classes"), "manifest", "classes"),
        ]
        if any(faults) or type(raw.get("shrink", 1)) is not int:
            raise ValueError("; ".join(filter(None, faults)) or f"shrink is {raw['shrink']!r}")
        motion = Motion.from_card(raw["motion"]) if "motion" in raw else None
        card = ModelCard(raw["options"], read_class_list(raw["classes"]), raw.get("shrink", 1), motion)
        width = max(card.options.get(name, 0) for name in ("channels", "hidden"))
        if not 1 <= card.shrink <= MAX_SHRINK or width > MAX_CHANNELS:
            raise ValueError(f"shrink {card.shrink} or channels {width} is out of range")
        with torch.device("meta"):  # takes no memory, whatever sizes the card claims
            model = rebuild(card.options)
        if model.stack_length != (card.motion.stack.length if card.motion else 0):
            raise ValueError(
                f"the network looks at {model.stack_length} flows, but its motion says otherwise"
            )
        return model, card
    except MissingPackageError as error:
        raise InputError(f"{path}: cannot be used here: {error}") from error
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise _no_network(path, error) from error


def _no_network(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path}: its model card describes no network of this version ({type(error).__name__}: {error}); "
        "train the network again"
    )


def _check_fit(path: Path, own: Mapping[str, Shape], given: Mapping[str, Shape]) -> None:
    """Raises InputError if a checkpoint lacks the keys and shapes of the network that it describes."""
    missing = [f"{key} missing" for key in own if key not in given]
    unknown = [f"{key} unknown" for key in given if key not in own]
    wrong = [
        f"{key} {given[key]} instead of {own[key]}" for key in own if key in given and given[key] != own[key]
    ]
    if missing or unknown or wrong:
        faults = [*missing, *unknown, *wrong]
        raise InputError(
            f"{path}: its weights are of another network than its model card: {len(faults)} keys differ, "
            f"first {'; '.join(faults[:3])}; train the network again, or give the file that the "
            "card belongs to"
        )


def _check_finite(path: Path, state: Mapping[str, torch.Tensor]) -> None:
    """Raises InputError if a weight is NaN or infinite: a network of such weights predicts nonsense.

    Such a weight makes the sum of its tensor not finite, too. The weights themselves are looked at only then,
    since sums take one pass and no memory.
    """
    floating = {name: tensor for name, tensor in state.items() if tensor.is_floating_point()}
    sums = [tensor.sum(dtype=torch.float32) for tensor in floating.values()]
    if not sums or torch.stack(sums).isfinite().all():
        return
    counts = {name: int((~tensor.isfinite()).sum()) for name, tensor in floating.items()}
    if faulty := {name: count for name, count in counts.items() if count}:
        name, count = next(iter(faulty.items()))
        raise InputError(
            f"{path}: {plural(sum(faulty.values()), 'weight')} in {len(faulty)} of {len(state)} keys are NaN "
            f"or infinite, first {count} of {state[name].numel()} in {name}; expected finite numbers: its "
            "training has diverged, or the file was altered; train it again with a lower learning rate"
        )
