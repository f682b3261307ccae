"""The machine and the software that a measurement, a model or a dataset was made with."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

CPU_INFO = Path("/proc/cpuinfo")
PACKAGES = ("tensorflow", "keras", "numpy")
"""Packages whose versions are recorded with what they made."""


def processor_name() -> str:
    """The processor's product name if the system reports it, else its architecture."""
    if CPU_INFO.is_file():
        for line in CPU_INFO.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def describe_machine() -> dict[str, Any]:
    """CPU, number of CPUs, system and Python, for a file of speed measurements."""
    return {
        "cpu": processor_name(),
        "cpus": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def software_versions() -> dict[str, str]:
    """Versions of Python and of those `PACKAGES` that are installed, to record with what they made."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions
