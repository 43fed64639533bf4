"""What a bundle's settings mean: the number of epochs, and who may choose the best checkpoint."""

from collections.abc import Mapping
from typing import Any, get_args

from medssl.common.errors import InputError, unknown_name
from medssl.common.run_folder import Selection


def epochs(max_steps: int, steps_per_epoch: int) -> int:
    """Epochs of ``steps_per_epoch`` optimiser steps that make ``max_steps``.

    Raises:
        InputError: they do not divide; the nearest number of steps that does is named.
    """
    if max_steps < 1 or steps_per_epoch < 1 or max_steps % steps_per_epoch:
        nearest = max(1, round(max_steps / max(steps_per_epoch, 1))) * max(steps_per_epoch, 1)
        raise InputError(
            f"max_steps={max_steps}",
            f"not a multiple of steps_per_epoch={steps_per_epoch}",
            f"train for {nearest} steps, say",
        )
    return max_steps // steps_per_epoch


def switch(value: bool | str) -> bool:
    """A yes or no from a config or a command line, where MONAI leaves ``true`` and ``false`` as text.

    Raises:
        InputError: neither of them.
    """
    if isinstance(value, bool):
        return value
    answers = {"true": True, "false": False}
    if str(value).lower() not in answers:
        raise InputError(f"{value!r}", "neither true nor false", "give one of the two")
    return answers[str(value).lower()]


def selection_of(datalist: Mapping[str, Any], asked: str) -> Selection:
    """Who chooses ``best.pt``: what was asked for, or ``"none"`` where there are no validation cases."""
    if asked not in get_args(Selection):
        raise unknown_name("selection", str(asked), get_args(Selection))
    if asked == "test-oracle":
        return "test-oracle"
    return "validation" if asked == "validation" and datalist.get("validation") else "none"


def validation_cases(datalist: Mapping[str, Any], asked: str) -> list[dict[str, Any]]:
    """The cases that the validation during training looks at; the test cases only for ``"test-oracle"``.

    Raises:
        InputError: an unknown selection, or ``"test-oracle"`` without test cases.
    """
    selection = selection_of(datalist, asked)
    if selection == "test-oracle" and not datalist.get("test"):
        raise InputError("selection=test-oracle", "there are no test cases", "use selection=validation")
    lists = {"validation": "validation", "test-oracle": "test"}
    return list(datalist[lists[selection]]) if selection in lists else []


def evaluation_cases(datalist: Mapping[str, Any], which: str) -> list[dict[str, Any]]:
    """Items of a list with the label under ``reference``, to be scored in the geometry of its file.

    Raises:
        InputError: no such list, or a case without a label.
    """
    if which not in ("test", "validation"):
        raise unknown_name("evaluate_on", str(which), ("test", "validation"))
    items = []
    for item in datalist.get(which, []):
        if "label" not in item:
            raise InputError(
                item["image"], "has no label to score against", f"take it out of the {which} list"
            )
        items.append({**{k: v for k, v in item.items() if k != "label"}, "reference": item["label"]})
    return items
