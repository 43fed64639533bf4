"""Methods: how one batch of labelled and unlabelled images becomes losses. One file a method."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from functools import cache
from types import ModuleType
from typing import Any

from medssl.common.errors import InputError, unknown_name
from medssl.methods.allspark import AllSpark
from medssl.methods.base import Batch, Method, PseudoLabels
from medssl.methods.conformal_self_training import ConformalSelfTraining
from medssl.methods.fixmatch import FixMatch
from medssl.methods.ramps import SigmoidRamp
from medssl.methods.rankmatch import RankMatch
from medssl.methods.self_reliance import SelfReliance
from medssl.methods.supervised import Supervised
from medssl.methods.tcseg import TCSeg
from medssl.methods.teacher import Teacher
from medssl.methods.unimatch import UniMatch
from medssl.methods.unimatch_v2 import UniMatchV2
from medssl.networks import Network


def names() -> list[str]:
    """Names that :func:`get` knows: those of the files of this package that define a method."""
    return sorted(_methods())


def get(name: str) -> type[Method]:
    """The method class of that name.

    Args:
        name: such as ``"tcseg"``; or where a class is imported from, such as ``"package.module.MyMethod"``.

    Raises:
        InputError: no such method; the nearest name is suggested.
    """
    if "." not in name:
        if name not in _methods():
            raise unknown_name("method", name, _methods())
        return _methods()[name]
    module_name, _, class_name = name.rpartition(".")
    try:
        method = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        remedy = "let it be importable (its folder on PYTHONPATH), or name a method of medssl"
        raise InputError(f"method {name!r}", str(error), remedy) from error
    if not (isinstance(method, type) and issubclass(method, Method)):
        raise InputError(f"method {name!r}", "is no medssl.methods.Method", "name a subclass of it")
    return method


def create(
    name: str, network: Network, options: Mapping[str, Any] | None = None, *, deploy: str | None = None
) -> Method:
    """The method of that name around a network, with its keyword arguments as ``options``.

    Args:
        name: see :func:`get`.
        network: what is trained.
        options: keyword arguments of the method.
        deploy: ``"student"`` or ``"teacher"`` (:meth:`Method.deploy`); None for what the method does.

    Raises:
        InputError: no such method, or an option that it does not have; the nearest name is suggested; what
            :meth:`Method.deploy` refuses.
    """
    method: Callable[..., Method] = get(name)
    known = [p for p in inspect.signature(method).parameters if p != "network"]
    for option in options or {}:
        if not known:
            raise InputError(f"option {option!r}", f"{name} has no options", "leave it out")
        if option not in known:
            raise unknown_name(f"option of {name}", option, known)
    created = method(network, **(options or {}))
    if deploy is not None:
        created.deploy(deploy)
    return created


@cache
def _methods() -> dict[str, type[Method]]:
    """The method of every file that defines one, by the file's name."""
    files = [entry.name for entry in pkgutil.iter_modules(__path__)]
    defined = {name: _defined_in(importlib.import_module(f"{__name__}.{name}")) for name in files}
    return {name: classes[-1] for name, classes in defined.items() if classes}


def _defined_in(module: ModuleType) -> list[type[Method]]:
    """Methods that a module defines and does not import, in their order; the last is built on the others."""
    return [
        entry
        for entry in vars(module).values()
        if isinstance(entry, type)
        and issubclass(entry, Method)
        and entry.__module__ == module.__name__
        and not inspect.isabstract(entry)
    ]


__all__ = [
    "AllSpark",
    "Batch",
    "ConformalSelfTraining",
    "FixMatch",
    "Method",
    "PseudoLabels",
    "RankMatch",
    "SelfReliance",
    "SigmoidRamp",
    "Supervised",
    "TCSeg",
    "Teacher",
    "UniMatch",
    "UniMatchV2",
    "create",
    "get",
    "names",
]
