"""A plan as a file: an overlay of the bundle that a person can read, with the reason of every line."""

import logging
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from medssl.common.errors import InputError
from medssl.common.plan_files import ABOUT
from medssl.planning.plan import Plan

WIDTH = 110
logger = logging.getLogger(__name__)


def plan_text(plan: Plan, *, datalist: str | Path, labeled: int, seed: int | None = None) -> str:
    """The overlay as text: the same plan gives the same bytes.

    Args:
        plan: what was decided.
        datalist: path that the file names.
        labeled: number of labelled cases, which is kept for a later word of warning.
        seed: of the training; None for the bundle's.
    """
    lines = [
        "# A plan of medssl. Every line may be changed; the comment above it says why it is as it is.",
        "#",
        "#   medssl train --plan THIS_FILE             trains the method named below",
        "#   medssl train --plan THIS_FILE supervised  another one",
        "#",
        *_comment(f"{plan.verdict}."),
        *(line for words in plan.not_known for line in _comment(f"Not known: {words}.")),
        "",
        f"datalist_file: {_value(str(datalist))}",
        "",
        "# What medssl plan says of itself, and medssl train looks at",
        f"{ABOUT}:",
        f"  method: {_value(plan.method)}",
        f"  network: {_value(plan.network)}",
        f"  classes: {_value(list(plan.class_names))}",
        f"  labeled: {labeled}",
    ]
    if seed is not None:
        lines += ["", "# as asked", f"seed: {seed}"]
    for decision in plan.decisions:
        lines += ["", *_comment(decision.reason)]
        if isinstance(decision.value, list) and any(isinstance(entry, dict) for entry in decision.value):
            lines += [f"{decision.name}:", *(f"- {_value(entry)}" for entry in decision.value)]
        else:
            lines.append(f"{decision.name}: {_value(decision.value)}")
    return "\n".join(lines) + "\n"


def check_plan(plan: Mapping[str, Any] | None, datalist: Mapping[str, Any], num_classes: int) -> None:
    """Refuse a plan that was made for other classes; to be called by an expression of a training.

    Args:
        plan: what it says of itself; None for a training without one.
        datalist: of the training.
        num_classes: of the training.

    Raises:
        InputError: the datalist names other classes than the plan.
    """
    if plan is None:
        return
    planned, names = list(plan.get("classes", [])), datalist.get("classes")
    if isinstance(names, list) and names and [str(name) for name in names] != planned:
        fault = (
            f"it is for the classes {', '.join(planned)}, and the datalist names {', '.join(map(str, names))}"
        )
        raise InputError("plan", fault, "make a new one with medssl plan")
    if planned and num_classes != len(planned):
        fault = f"it is for {len(planned)} classes, and num_classes is {num_classes}"
        raise InputError("plan", fault, "make a new one with medssl plan")
    labeled = len(datalist["training"])
    if plan.get("labeled", labeled) != labeled:
        logger.warning(
            "the plan was made with %d labelled cases, and there are %d now", plan["labeled"], labeled
        )


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# ", break_long_words=False)


def _value(value: Any) -> str:
    """A value on one line of YAML."""
    text: str = yaml.safe_dump(
        value, default_flow_style=True, width=10**6, allow_unicode=True, sort_keys=False
    )
    return text.removesuffix("\n").removesuffix("\n...").strip()
