"""What a plan (``medssl plan``) says of itself, read as text."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medssl.common.bundles import read_config
from medssl.common.errors import InputError

ABOUT = "plan"
"""The plan's key for what it says of itself."""


@dataclass(frozen=True)
class PlanFile:
    """A plan that was read.

    Attributes:
        path: the file.
        datalist: of the data set that it is for.
        method: overlay that it names.
        network: overlay that it names; None for the method's.
    """

    path: Path
    datalist: Path
    method: str
    network: str | None


def read_plan(path: str | Path) -> PlanFile:
    """Read what a plan says of itself.

    Raises:
        InputError: missing, no plan, or its datalist has moved.
    """
    path = Path(path).absolute()
    if not path.is_file():
        raise InputError(path, "no such plan", "medssl plan DATALIST --out PLAN writes one")
    content = read_config(path)
    about, listed = content.get(ABOUT), content.get("datalist_file")
    if not isinstance(about, Mapping) or not about.get("method") or not listed:
        fault = "is no plan: it names no method under plan, or no datalist_file"
        raise InputError(path, fault, "medssl plan DATALIST --out PLAN writes one")
    datalist = path.parent / Path(str(listed)).expanduser()
    network = about.get("network")
    return PlanFile(path, datalist, str(about["method"]), None if network is None else str(network))
