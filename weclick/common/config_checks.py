"""Checks of a configuration across its sections, for those who are about to run with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weclick.common.config import ConfigError
from weclick.common.sections import HUB, TWO_STREAM, Config
from weclick.common.stages import WEIGHTS, takes


def check_run(config: Config) -> None:
    """Check that the sections of a complete configuration fit each other.

    Raises:
        ConfigError: of the first check here that fails.
    """
    check_serves(config)
    check_masks(config)
    check_stacks(config)
    check_source(config)
    check_cams(config)
    check_instances(config)
    check_proxy_labels(config)


def check_serves(config: Config) -> None:
    """Check that manifest and flow are made for the method that is trained.

    Raises:
        ConfigError: `serves` does not name the method.
    """
    if config["method"] not in config["serves"]:
        raise ConfigError(
            f"method is {config['method']!r}, but serves is [{', '.join(config['serves'])}]; set serves: "
            f"[{', '.join([*config['serves'], config['method']])}], or leave serves out"
        )


def check_masks(config: Config) -> None:
    """Check that the flow stage makes the masks that networks, soft labels and proxy labels want.

    Raises:
        ConfigError: `mfd.occlusion`, `soft_labels.fuse.occlusion`, `proxy_labels.occlusion` or
            `flow_boundary.occlusion` names a mask that is not in `flow.masks`.
    """
    mfd, fuse, made = config["mfd"], config["soft_labels"]["fuse"], config["flow"]["masks"]
    proxies, boundary = config["proxy_labels"], config["flow_boundary"]
    along = takes(config, "proxy_labels") and proxies["source"] == "f2f" and proxies["frames"] > 1
    asking = {
        "mfd": (mfd["occlusion"], mfd["weight"]),
        "soft_labels.fuse": (fuse["occlusion"], fuse["neighbours"]),
        "proxy_labels": (proxies["occlusion"], along),
        "flow_boundary": (boundary["occlusion"], boundary["weight"] and takes(config, "relation")),
    }
    for section, (asked, is_on) in asking.items():
        wanted = {"none": [], "both": ["forward_backward", "photometric"]}.get(asked, [asked])
        missing = [mask for mask in wanted if mask not in made]
        if missing and is_on:
            raise ConfigError(
                f"{section}.occlusion is {asked!r}, but flow.masks is {made}; "
                f"set flow.masks: [{', '.join([*made, *missing])}], or another {section}.occlusion"
            )


def check_stacks(config: Config) -> None:
    """Check that a student that looks at stacks of flow gets them, and that others do not ask for them.

    Raises:
        ConfigError: `student.architecture` is two_stream with another method, or with a teacher in the loop,
            which has no stacks. Or no loss would learn from tags.
    """
    student, method = config["student"], config["method"]
    if student["architecture"] == TWO_STREAM and method != TWO_STREAM:
        raise ConfigError(
            f"student.architecture is {TWO_STREAM!r}, but method is {method!r}, whose flow holds no stacks; "
            f"set method: {TWO_STREAM}, or another student.architecture, e.g. deeplabv3plus"
        )
    if method != TWO_STREAM:
        return
    if student["online"]["teacher"]:
        raise ConfigError(
            f"student.online.teacher names a network, but method {TWO_STREAM} distils from none; set it null"
        )
    if not (config["tag_loss"]["weight"] or config["heatmap_loss"]["weight"]):
        raise ConfigError(
            f"method {TWO_STREAM} learns from tags, but tag_loss.weight and heatmap_loss.weight are 0; set "
            "one of them"
        )


def check_proxy_labels(config: Mapping[str, Any]) -> None:
    """Check that proxy labels can be made: what the user gives is there, and a stage makes the maps.

    Args:
        config: complete, or the part that the stage proxy_labels reads. A run that does not take that stage
            passes.

    Raises:
        ConfigError: `proxy_labels` takes class maps, saliency or a network from the user, but none is named,
            or it is not there. Or it takes maps, which no stage of the method makes.
    """
    section, method = config["proxy_labels"], config.get("method")
    source = section["source"]
    if method and not takes(config, "proxy_labels"):
        return
    if source == "folder":
        _check_given("proxy_labels", "folder.path", section["folder"]["path"], "source is 'folder'")
    elif source == "network":
        _check_given(
            "proxy_labels", "network.path", section["network"]["path"], "source is 'network'", WEIGHTS
        )
    elif source == "sam2" and not str(section["sam2"]["model"]).startswith(HUB):
        _check_given("proxy_labels", "sam2.model", section["sam2"]["model"], "source is 'sam2'")
    elif source == "f2f" and method not in ("f2f", None):
        raise ConfigError(
            f"proxy_labels.source is 'f2f', but method {method} takes no stage that makes its maps; set "
            "method: f2f, or another proxy_labels.source, e.g. folder"
        )
    elif source == "f2f" and section["background"] == "saliency_file":
        _check_given("proxy_labels", "saliency", section["saliency"], "background is 'saliency_file'")


def map_sources(section: Mapping[str, Any]) -> frozenset[str]:
    """What may make class activation maps: tags, imagenet, iconic.

    Args:
        section: `cams`, complete.
    """
    return frozenset({section["source"], *section["sources"].values()} - {"none"})


def reads_weights(section: Mapping[str, Any]) -> bool:
    """Whether `cams.pretrained` is read: some maps are made by another network than the run's classifier."""
    return not map_sources(section) <= {"tags"}


def check_cams(config: Mapping[str, Any]) -> None:
    """Check that the folder of iconic images is named, and is there, if they make maps.

    Args:
        config: complete, or the part that the stage cams reads. A run that does not take that stage passes.

    Raises:
        ConfigError: it is not.
    """
    section = config["cams"]
    if (config.get("method") and not takes(config, "cams")) or "iconic" not in map_sources(section):
        return
    folder = section["iconic"]
    if folder is None or not Path(folder).is_dir():
        found = "null" if folder is None else f"{folder!r}, and there is no such folder"
        raise ConfigError(
            f"iconic images make class maps, but cams.iconic is {found}; name a folder there that holds "
            "<class>/*.jpg or .png"
        )


def check_instances(config: Mapping[str, Any]) -> None:
    """Check that a detector is named, and is there, if it makes the instances.

    Args:
        config: complete. A run that does not take that stage passes.

    Raises:
        ConfigError: it is not.
    """
    if takes(config, "instances"):
        check_detector(config["instances"])


def check_detector(section: Mapping[str, Any]) -> None:
    """Check that a detector is named, and is there, if it makes the instances.

    Args:
        section: `instances`, complete.

    Raises:
        ConfigError: it is not.
    """
    if section["source"] == "network":
        _check_given("instances", "network.path", section["network"]["path"], "source is 'network'", WEIGHTS)


def _check_given(section: str, key: str, path: str | None, why: str, what: str = "folder") -> None:
    if path is None or not (Path(path).is_dir() if what == "folder" else Path(path).is_file()):
        found = "null" if path is None else f"{path!r}, and there is no such {what}"
        raise ConfigError(f"{section}.{why}, but {section}.{key} is {found}; name the {what} there")


def check_source(config: Mapping[str, Any]) -> None:
    """Check that the source of the soft labels is named, and is there.

    Raises:
        ConfigError: `soft_labels.source` is onnx or folder, but no such file or folder is named for it.
    """
    source = config["soft_labels"]["source"]
    if source == "teacher":
        return
    path, what = config["soft_labels"][source]["path"], "folder" if source == "folder" else ".onnx file"
    if path is None or not (Path(path).is_dir() if source == "folder" else Path(path).is_file()):
        found = "null" if path is None else f"{path!r}, and there is no such {what}"
        raise ConfigError(
            f"soft_labels.source is {source!r}, but soft_labels.{source}.path is {found}; name the {what} "
            "there"
        )
