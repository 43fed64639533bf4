"""Semi-supervised segmentation of 3D medical scans that says how far it can be believed.

The rooms (``medssl.networks``, ``medssl.methods``, ``medssl.metrics`` and so on) and :func:`load_run` and
:func:`predict` are imported when they are first used.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

ROOMS = (
    "annotators",
    "common",
    "data",
    "evaluation",
    "inference",
    "losses",
    "methods",
    "metrics",
    "networks",
    "planning",
    "protocol",
    "reliability",
    "reports",
    "review",
    "training",
)
_HOME = {"load_run": "medssl.inference", "predict": "medssl.inference"}
__all__ = ["ROOMS", "__version__", *ROOMS, *_HOME]


def __getattr__(name: str) -> Any:
    """A room, or a name of one."""
    if name in ROOMS:
        return import_module(f"medssl.{name}")
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'medssl' has no attribute {name!r}")


def __dir__() -> list[str]:
    """All names, those that have not been looked up included."""
    return sorted({*globals(), *__all__})
