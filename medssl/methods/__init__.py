"""Methods: how one batch of labelled and unlabelled images becomes losses. One file a method."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from medssl.common.errors import InputError, unknown_name
from medssl.methods.base import Batch, Method, PseudoLabels
from medssl.methods.ramps import SigmoidRamp
from medssl.methods.supervised import Supervised
from medssl.methods.tcseg import TCSeg
from medssl.methods.teacher import Teacher
from medssl.networks import Network

_METHODS: dict[str, type[Method]] = {"supervised": Supervised, "tcseg": TCSeg}


def names() -> list[str]:
    """Names that :func:`get` knows."""
    return sorted(_METHODS)


def get(name: str) -> type[Method]:
    """The method class of that name, such as ``"tcseg"``.

    Raises:
        InputError: no such method; the nearest name is suggested.
    """
    if name not in _METHODS:
        raise unknown_name("method", name, _METHODS)
    return _METHODS[name]


def create(name: str, network: Network, options: Mapping[str, Any] | None = None) -> Method:
    """The method of that name around a network, with its keyword arguments as ``options``.

    Raises:
        InputError: no such method, or an option that it does not have; the nearest name is suggested.
    """
    method: Callable[..., Method] = get(name)
    known = [p for p in inspect.signature(method).parameters if p != "network"]
    for option in options or {}:
        if not known:
            raise InputError(f"option {option!r}", f"{name} has no options", "leave it out")
        if option not in known:
            raise unknown_name(f"option of {name}", option, known)
    return method(network, **(options or {}))


__all__ = [
    "Batch",
    "Method",
    "PseudoLabels",
    "SigmoidRamp",
    "Supervised",
    "TCSeg",
    "Teacher",
    "create",
    "get",
    "names",
]
