"""What a corruption is: a function, and its amount at each of five severities."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from medssl.common.draws import generator
from medssl.common.errors import InputError, unknown_name

SEVERITIES = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Corruption:
    """One entry of a table of corruptions.

    Attributes:
        name: as commands and configs call it.
        title: what it is, for readers.
        amounts: at severity 1 to 5; a number each, or several.
        meaning: what the amounts are, with their unit.
        apply: ``(image, amount, geometry, rng)`` gives the corrupted image; see the table for its types.
        needs_depth: the geometry is a depth map, without which it is not the published corruption.
    """

    name: str
    title: str
    amounts: tuple[Any, Any, Any, Any, Any]
    meaning: str
    apply: Callable[[Any, Any, Any, np.random.Generator], Any]
    needs_depth: bool = False


def by_name(*corruptions: Corruption) -> dict[str, Corruption]:
    """A table of corruptions, in the order in which they are reported."""
    return {corruption.name: corruption for corruption in corruptions}


def find_corruption(table: Mapping[str, Corruption], name: str, severity: int) -> Corruption:
    """The corruption of this name.

    Raises:
        InputError: an unknown name, or a severity other than 0 (a plain copy) to 5.
    """
    if name not in table:
        raise unknown_name("corruption", name, table)
    if severity not in (0, *SEVERITIES):
        raise InputError(f"severity {severity}", "not from 0 to 5", "choose one of these")
    return table[name]


def case_generator(seed: int, corruption: str, case: str) -> np.random.Generator:
    """Source of chance that depends on seed, corruption and case alone, so that severities share a draw."""
    return generator(f"{seed}/{corruption}/{case}")
