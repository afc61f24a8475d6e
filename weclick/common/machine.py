"""The machine and the versions of packages that measured times depend on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from weclick import __version__


def machine(device: str = "cpu") -> dict[str, Any]:
    """Processor, cores, and the threads and device that torch uses.

    Args:
        device: cpu or cuda.
    """
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads_used": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else "cpu",
    }


def versions(*packages: str) -> dict[str, str]:
    """Versions of Python, of weclick and of the packages that the figures depend on.

    Weclick's own is that of its code, which may run from a checkout that nobody installed.
    """
    known = {name: version(name) for name in packages}
    return {"python": platform.python_version(), **known, "weclick": __version__}
