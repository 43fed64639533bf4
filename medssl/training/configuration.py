"""The merged configuration of a bundle as text: found while it is evaluated, and compared with another."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from monai.bundle import ConfigParser, ConfigWorkflow

from medssl.common.provenance import plain

T = TypeVar("T")

HOW_AND_WHERE = (
    "bundle_root",
    "run_dir",
    "dataset_dir",
    "datalist_file",
    "device",
    "num_workers",
    "cache_workers",
    "resume",
    "overwrite",
)
"""Settings that say how and where a run is carried out, and no part of what it computes.

Data may be moved: hashes of the split and of the files in ``run.json`` say whether they are the same.
"""


def merged_configuration() -> dict[str, Any]:
    """What MONAI merged from config files and the command line: unevaluated, in plain values.

    To be called by an expression of that configuration (``$training.merged_configuration()``). MONAI hands an
    expression the values that it refers to and nothing else: neither the workflow nor its parser can be
    named there, a macro (``%``) of the whole would be instantiated a second time, and the command line does
    not tell what a Python program overrides. But the parser that evaluates the expression is always one of
    its callers, whether MONAI's command or a program started it; so it is looked for among them.

    Returns:
        Expressions (``$``) and references (``@``) as they were written, macros replaced by what they stand
        for, and the metadata under ``_meta_``.

    Raises:
        RuntimeError: called by something else than an expression.
    """
    merged: dict[str, Any] = plain(calling(ConfigParser).get())
    return merged


def calling(kind: type[T]) -> T:
    """The innermost caller that is a method of such an object.

    Raises:
        RuntimeError: there is none.
    """
    frame = inspect.currentframe()
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, kind):
            return owner
        frame = frame.f_back
    raise RuntimeError(f"to be called by an expression in a bundle's configuration: no {kind.__name__} calls")


def calling_workflow() -> ConfigWorkflow:
    """The workflow whose ``initialize`` or ``run`` evaluates the calling expression."""
    return calling(ConfigWorkflow)


def first_difference(name: str, asked: Any, recorded: Any) -> str | None:
    """Where two plain values first differ, with both values; None if they are equal."""
    if isinstance(asked, Mapping) and isinstance(recorded, Mapping):
        keys = [*asked, *(key for key in recorded if key not in asked)]
        pairs = [(f"{name}::{key}", asked.get(key), recorded.get(key)) for key in keys]
    elif _holds_mappings(asked) and _holds_mappings(recorded):
        count = max(len(asked), len(recorded))
        padded = ([*values, *[None] * (count - len(values))] for values in (asked, recorded))
        pairs = [(f"{name}::{n}", *pair) for n, pair in enumerate(zip(*padded, strict=True))]
    else:
        same = asked == recorded or _yes_or_no(asked) == _yes_or_no(recorded)
        return None if same else f"{name} is {_short(recorded)} there and {_short(asked)} here"
    differences: Iterator[str | None] = (first_difference(*pair) for pair in pairs)
    return next((difference for difference in differences if difference is not None), None)


def _holds_mappings(value: Any) -> bool:
    """Whether it is a list of mappings, such as transforms, and not one value of several numbers."""
    return isinstance(value, list) and any(isinstance(entry, Mapping) for entry in value)


def _yes_or_no(value: Any) -> Any:
    """A bool where a configuration of an earlier version has ``true`` or ``false`` as text."""
    return {"true": True, "false": False}.get(value.lower(), value) if isinstance(value, str) else value


def _short(value: Any) -> str:
    return repr(value.get("_target_", value) if isinstance(value, Mapping) else value)
