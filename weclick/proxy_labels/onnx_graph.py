"""Opens ONNX files that a stranger may have made, by the extra `export`."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from weclick.common.bounded_json import parse_json
from weclick.common.content import RUN_AGAIN, check_content, read_content
from weclick.common.disk import real_path
from weclick.common.errors import InputError, MissingFileError
from weclick.common.files import is_inside
from weclick.proxy_labels.sources import Digests

MODEL_BYTES, WEIGHT_BYTES = 2**31, 2**33
"""The largest .onnx file, since protobuf takes no larger one, and the largest file of weights beside it."""

CARD = "weclick"
"""Metadata in which weclick's exports tell their classes, see weclick/evaluate/export.py."""

HALF_PIXEL = ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric")
"""Conventions of ONNX that are that of weclick.geometry."""

DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}


@dataclass(frozen=True)
class About:
    """What a file is, without running it.

    Attributes:
        sha256: name -> digest of the file, and of the files of weights beside it.
        names: of its classes, if weclick exported it.
    """

    sha256: dict[str, str]
    names: list[str] | None


@dataclass(frozen=True)
class Session:
    """A network that runs.

    Attributes:
        path: of its file.
        size: (H, W) px that it takes; None takes any.
    """

    path: Path
    size: tuple[int, int] | None
    _session: Any
    _output: str

    def run(self, rgb: np.ndarray) -> np.ndarray:
        """(1, 3, H, W) float32 -> (1, C, h, w) of any float type.

        Raises:
            InputError: it does not run, or gives something else.
        """
        (given,) = self._session.get_inputs()
        try:
            (scores,) = self._session.run([self._output], {given.name: rgb.astype(DTYPES[given.type])})
        except MemoryError:
            raise
        except Exception as error:  # onnxruntime raises errors of its own
            height, width = rgb.shape[-2:]
            raise _refused(
                self.path,
                f"cannot be run on an image of {height}x{width} px (HxW): {_line(error)}",
                "name a size that it takes in soft_labels.onnx.size, or export it anew",
            ) from error
        is_array = isinstance(scores, np.ndarray)  # or a sequence, or a map
        if not is_array or scores.ndim != 4 or scores.shape[0] != 1 or scores.dtype.kind != "f":
            found = f"{scores.dtype} of shape {scores.shape}" if is_array else f"a {type(scores).__name__}"
            raise _refused(
                self.path,
                f"gives {found}, expected float (1, channels, height, width)",
                "export it without its arg-max, or give its class maps by soft_labels.source: folder",
            )
        if not np.isfinite(scores).all():
            raise _refused(self.path, "gives values that are not finite", "check mean and std")
        return scores


def look_into(path: Path, digests: Digests) -> About:
    """Read a file's description and digests.

    Args:
        path: of the file.
        digests: takes those of the file and of its weights.

    Raises:
        MissingFileError: there is no such file.
        InputError: it is no ONNX file, is too large, or names weights that are not in its folder.
    """
    model, names = _parsed(path), [path.name]
    for name in sorted(_beside(model)):
        weights = path.parent / name
        if not is_inside(name) or not real_path(weights).is_relative_to(real_path(path.parent)):
            raise _refused(path, f"names weights in {name!r}, outside of its folder", "save them beside it")
        if not weights.is_file():
            raise MissingFileError(f"{path}: its weights lie in {weights}, but there is no such file; add it")
        if weights.stat().st_size > WEIGHT_BYTES:
            raise _refused(weights, f"has more than {WEIGHT_BYTES} bytes", "is it the right file?")
        names.append(name)
    found = digests([path.parent / name for name in names])
    return About({name: found[path.parent / name] for name in names}, _classes(model))


def open_session(path: Path, about: About, device: str) -> Session:
    """Start onnxruntime on a file.

    If the file ends by enlarging its result bilinearly, the session gives what is enlarged: those are the
    cells that the network computes, and weclick stores no finer ones.

    Args:
        path: of the file.
        about: from `look_into`; the files must still be those.
        device: cpu or cuda, which is used if this onnxruntime can.

    Raises:
        InputError: it cannot be run, or takes something else than one batch of images.
    """
    runtime = importlib.import_module("onnxruntime")
    model = _parsed(path, about.sha256[path.name])
    output = _before_enlarging(model) or model.graph.output[0].name
    if output not in [each.name for each in model.graph.output]:
        model.graph.output.add().name = output
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(path.parent.absolute())
    )
    wanted = ["CUDAExecutionProvider"] if device.startswith("cuda") else []
    providers = [name for name in wanted if name in runtime.get_available_providers()]
    try:
        session = runtime.InferenceSession(
            model.SerializeToString(), options, providers=[*providers, "CPUExecutionProvider"]
        )
    except MemoryError:
        raise
    except Exception as error:  # onnxruntime raises errors of its own
        raise _refused(path, f"cannot be run: {_line(error)}", "export it anew") from error
    for name, sha256 in about.sha256.items():
        check_content(path.parent / name, sha256, RUN_AGAIN)
    return Session(path, _input_size(path, session), session, output)


def _parsed(path: Path, sha256: str | None = None) -> Any:
    """The model of a file without the weights beside it."""
    missing = [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"soft_labels.source is onnx, which needs {' and '.join(missing)}; run `pip install "
            "'weclick[export]'`"
        )
    onnx = importlib.import_module("onnx")
    try:
        content = read_content(path, sha256, RUN_AGAIN, MODEL_BYTES)
    except FileNotFoundError as error:
        raise MissingFileError(
            f"{path}: there is no such ONNX file; correct soft_labels.onnx.path"
        ) from error
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf raises errors of its own
        raise _refused(
            path, f"is no ONNX file ({_line(error)})", "name the .onnx file of a network"
        ) from error
    if not model.graph.output or not model.graph.node:
        raise _refused(path, "is no ONNX file of a network: it computes nothing", "name another one")
    return model


def _classes(model: Any) -> list[str] | None:
    """The classes in the metadata of a file that weclick exported."""
    for each in model.metadata_props:
        if each.key == CARD:
            try:
                names = parse_json(each.value.encode())["classes"]
                if isinstance(names, list) and all(isinstance(name, str) for name in names):
                    return names
            except (KeyError, TypeError, ValueError):
                return None
    return None


def _beside(model: Any) -> set[str]:
    """Names of the files that hold weights of a model."""
    graphs = [model.graph, *model.functions]
    found: set[str] = set()
    while graphs:
        graph = graphs.pop()
        tensors = [*getattr(graph, "initializer", ())]
        for sparse in getattr(graph, "sparse_initializer", ()):
            tensors += [sparse.values, sparse.indices]
        for node in graph.node:
            for attribute in node.attribute:
                tensors += [attribute.t, *attribute.tensors]
                graphs += [attribute.g] * attribute.HasField("g") + [*attribute.graphs]
        found |= {each.value for tensor in tensors for each in tensor.external_data if each.key == "location"}
    return found


def _before_enlarging(model: Any) -> str | None:
    """The tensor that the last node of a model enlarges bilinearly, if it does."""
    made = {name: node for node in model.graph.node for name in node.output}
    last = made.get(model.graph.output[0].name)
    if last is None or last.op_type != "Resize":
        return None
    told = {each.name: each.s.decode() for each in last.attribute}
    by_pixels = told.get("coordinate_transformation_mode", "half_pixel") in HALF_PIXEL
    return last.input[0] if by_pixels and told.get("mode") == "linear" else None


def _input_size(path: Path, session: Any) -> tuple[int, int] | None:
    """(H, W) that a network takes; None for any."""
    inputs = session.get_inputs()
    told = ", ".join(f"{each.name} {each.type} {each.shape}" for each in inputs)
    shape: list[Any] = inputs[0].shape if len(inputs) == 1 and inputs[0].type in DTYPES else []
    free = [not isinstance(side, int) or side < 1 for side in shape]  # some exporters write 0 or -1 for any
    if len(shape) != 4 or not (free[1] or shape[1] == 3) or not (free[0] or shape[0] == 1):
        raise _refused(
            path,
            f"takes {told or 'nothing'}, expected one float input (1, 3, height, width)",
            "export the network for one batch of RGB images, channels before rows",
        )
    return None if free[2] or free[3] else (shape[2], shape[3])


def _refused(path: Path, what: str, todo: str) -> InputError:
    return InputError(f"{path}: {what}; {todo}")


def _line(error: Exception) -> str:
    """What a library says, on one line."""
    return " ".join(str(error).split())[:300]
