"""Versions, devices and cores of this machine, for a bug report."""

import os
import platform
import sys
from importlib import metadata

import torch

from medssl import __version__

PACKAGES = (
    "torch",
    "monai",
    "numpy",
    "scipy",
    "pandas",
    "nibabel",
    "SimpleITK",
    "h5py",
    "matplotlib",
    "pytorch-ignite",
    "fire",
)
EXTRAS = {"images": "transformers", "cluster": "ray", "dicom": "highdicom"}


def describe() -> dict[str, str]:
    """What a bug report needs, as text by name."""
    facts = {"medssl": __version__, "python": sys.version.split()[0], "platform": platform.platform()}
    facts |= {package: _version(package) or "not installed" for package in PACKAGES}
    for extra, package in EXTRAS.items():
        version = _version(package)
        facts[f"extra {extra}"] = f"{package} {version}" if version else "not installed"
    usable_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    facts["cores"] = f"{os.cpu_count()} ({usable_cores} usable, torch uses {torch.get_num_threads()})"
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        bytes_in_all = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        facts["memory"] = f"{bytes_in_all / 2**30:.1f} GiB"
    facts["cpu capability"] = torch.backends.cpu.get_cpu_capability()
    if not torch.cuda.is_available():
        facts["gpu"] = "none"
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        facts[f"gpu {index}"] = f"{properties.name}, {properties.total_memory / 2**30:.1f} GiB"
    return facts


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
