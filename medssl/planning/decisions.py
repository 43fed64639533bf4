"""What a plan consists of: decisions with their reasons."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Decision:
    """One setting of a plan.

    Attributes:
        name: the bundle's option.
        value: plain data, as YAML holds it.
        reason: one sentence without a full stop; what was measured stands in it.
    """

    name: str
    value: Any
    reason: str
