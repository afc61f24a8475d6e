"""Checks whether machine, configuration and store are fit for a run, and says what to mend."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from weclick.common.config import ConfigError
from weclick.common.config_checks import check_cams, check_masks, check_proxy_labels, check_serves
from weclick.common.findings import Finding
from weclick.common.sections import TIMM, ClassifierSection, Config, Role, TrainingSection
from weclick.common.stages import METHODS
from weclick.common.words import count_bytes
from weclick.runs.cam_source import trains_classifier
from weclick.runs.downloads import evaluation_fault, needed_downloads, offline_words, trained_roles
from weclick.store import Bucket, Store, UnreachableRootError
from weclick.train.watch.packages import watch_faults

PACKAGES = (
    "weclick",
    "torch",
    "torchvision",
    "lightning-fabric",
    "zarr",
    "tensorstore",
    "numpy",
    "snakemake",
)
LOW_DISK_BYTES, LOW_MEMORY_BYTES = 5 * 2**30, 4 * 2**30


def check_machine() -> list[Finding]:
    """Check versions, GPU, cores and memory."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES if _installed(name))
    missing = [name for name in PACKAGES if not _installed(name)]
    findings = [Finding("ok", "python", f"{platform.python_version()} on {platform.system()}")]
    findings.append(Finding("ok", "packages", versions))
    if missing:
        findings.append(
            Finding("error", "packages", f"missing: {', '.join(missing)}", "install weclick again")
        )
    return [*findings, _gpu(), _cupy(), _memory()]


def _serves(config: Config) -> Finding:
    """Whether manifest, frames and flow are made for the method, and that this is decided beforehand."""
    try:
        check_serves(config)
    except ConfigError as error:
        return Finding("error", "serves", str(error), "correct the configuration")
    made = f"manifest, frames and flow are made for {', '.join(config['serves'])}"
    if not config["frames"]["pack"] or len(config["serves"]) == len(METHODS):
        return Finding("ok", "serves", made)
    return Finding(
        "ok",
        "serves",
        f"{made}; if you want to try other methods, too, name them in `serves` now: they may read other "
        "frames, which would be packed anew",
    )


def check_config(config: Config) -> list[Finding]:
    """Check what a schema cannot: values that contradict each other, and weights that are missing."""
    from weclick.flow import estimator_digest

    findings = [_serves(config)]
    for check in (check_masks, check_cams, check_proxy_labels):
        try:
            check(config)
        except ConfigError as error:
            findings.append(Finding("error", "configuration", str(error), "correct the configuration"))
    for role in trained_roles(config):
        findings += _timm(role, config[role]) or _weights(role, config[role])
        findings += _frozen_norm(role, config[role])
    if trains_classifier(config):
        findings += _frozen(config["classifier"])
    if fault := evaluation_fault(config):
        findings.append(
            Finding("error", "evaluate.crf", fault, "install what it needs, or set evaluate.crf to null")
        )
    findings += [
        Finding("error", "watch", fault, "install what it needs, or set watch.to to []")
        for fault in watch_faults(config["watch"])
    ]
    flow = config["flow"]
    try:
        estimator_digest(flow["estimator"], **flow["options"])
    except (ValueError, FileNotFoundError) as error:
        findings.append(Finding("error", "flow.options", str(error), "correct section flow"))
    if not findings:
        findings = [
            Finding("ok", "configuration", "its values are valid, and the files that it names are there")
        ]
    return [*findings, *_downloads(config)]


def _timm(role: Role, options: TrainingSection) -> list[Finding]:
    """What stands in the way of a backbone of timm's; it builds the network, without memory."""
    if not options["backbone"].startswith(TIMM):
        return []
    import torch

    with torch.device("meta"):
        fault = _fault_of(role, options, None)
    todo = f"correct section {role}, or install what it needs"
    return [Finding("error", f"{role}.backbone", fault, todo)] if fault else []


def _weights(role: Role, options: TrainingSection) -> list[Finding]:
    """What is wrong with a file of weights; it builds the network, since a training would load them late."""
    weights = options["pretrained"]
    if weights in (None, "imagenet"):
        return []
    missing = f"there is no file {weights}"
    if fault := _fault_of(role, options, weights) if Path(weights).is_file() else missing:
        todo = f"correct {role}.pretrained, or set it to imagenet or null"
        return [Finding("error", f"{role}.pretrained", fault, todo)]
    return []


def _fault_of(role: Role, options: TrainingSection, weights: str | None) -> str:
    """Why the network of a role cannot be built; empty if it can."""
    from weclick.train.roles import ROLE_NEEDS

    try:
        ROLE_NEEDS[role].build(options, 2, weights)
    except ValueError as error:
        return str(error)
    return ""


def _frozen_norm(role: Role, options: TrainingSection) -> list[Finding]:
    """A warning if batch norm keeps the statistics of weights that nobody has trained."""
    if options["batch_norm"] != "frozen" or options["pretrained"]:
        return []
    found = f"is frozen, but {role}.pretrained is null: random weights have no statistics to keep"
    todo = f"set {role}.pretrained, or {role}.batch_norm to train"
    return [Finding("warning", f"{role}.batch_norm", found, todo)]


def _frozen(options: ClassifierSection) -> list[Finding]:
    """A warning if nothing of a classifier's backbone was ever learned."""
    if not options["freeze"] or options["pretrained"]:
        return []
    found = "is true, but classifier.pretrained is null: a head would learn on random features"
    return [Finding("warning", "classifier.freeze", found, "set classifier.pretrained, or freeze: false")]


def _downloads(config: Config) -> list[Finding]:
    if offline := offline_words(config):
        todo = "else the run fails when it comes to this, unless the store holds that network already"
        return [Finding("warning", "download", told, todo) for told in offline]
    return [
        Finding("ok", "download", f"{download.option}: {download.url} answers, and will be downloaded")
        for download in needed_downloads(config)
    ]


def check_roots(store: Store) -> list[Finding]:
    """Check that the store's roots exist, and that the last one is writable and has room."""
    findings = []
    for root in store.roots[:-1]:
        if isinstance(root, Bucket):
            findings.append(_reached(root))
        elif root.is_dir():
            findings.append(Finding("ok", "cache root", f"{root}: searched, {_free(root)} free"))
        else:
            todo = "mount it, or drop it from cache.roots"
            findings.append(Finding("warning", "cache root", f"{root}: there is no such folder", todo))
    return [*findings, _writable(store.local.path)]


def _reached(bucket: Bucket) -> Finding:
    try:
        next(bucket.root.keys("frames"), None)
    except UnreachableRootError as error:
        return Finding("error", "cache root", str(error), "correct cache.s3 or your AWS settings")
    return Finding("ok", "cache root", f"{bucket}: searched")


def _writable(root: Path) -> Finding:
    there = nearest_folder(root)
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        todo = "set the last of cache.roots (or of WECLICK_CACHE) to a folder where you may write"
        return Finding("error", "cache root", f"{root}: cannot be written ({there} forbids it)", todo)
    found = f"{root}: writable, {_free(there)} free"
    if _free_bytes(there) < LOW_DISK_BYTES:
        return Finding("warning", "cache root", found, "`weclick plan` tells how much a run needs")
    return Finding("ok", "cache root", found)


def nearest_folder(path: Path) -> Path:
    """The path itself if it exists, else the nearest folder above it that does."""
    return next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())


def _gpu() -> Finding:
    import torch

    if not torch.cuda.is_available():
        return Finding("ok", "GPU", f"none that torch sees (CUDA of torch: {torch.version.cuda or 'none'})")
    told = []
    for index in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(index)
        told.append(f"{gpu.name}, {count_bytes(gpu.total_memory)}")
    return Finding("ok", "GPU", f"{'; '.join(told)}; driver {_driver()}, CUDA of torch {torch.version.cuda}")


def _driver() -> str:
    version = Path("/proc/driver/nvidia/version")
    if not version.is_file():
        return "unknown"
    words = version.read_text(encoding="utf-8").splitlines()[0].split()
    return next((word for word in words if word[0].isdigit() and "." in word), "unknown")


def _cupy() -> Finding:
    import torch

    if find_spec("cupy"):
        return Finding("ok", "CuPy", "installed")
    if torch.cuda.is_available():
        return Finding("warning", "CuPy", "not installed, but there is a GPU", "pip install 'weclick[gpu]'")
    return Finding("ok", "CuPy", "not installed, and not needed without a GPU")


def _memory() -> Finding:
    cores = len(os.sched_getaffinity(0))
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    found = f"{cores} cores, {count_bytes(total)} of memory"
    if total < LOW_MEMORY_BYTES:
        return Finding("warning", "machine", found, "lower batch_size and crop if a training is killed")
    return Finding("ok", "machine", found)


def _installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def _free_bytes(folder: Path) -> int:
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


def _free(folder: Path) -> str:
    return count_bytes(_free_bytes(folder))
