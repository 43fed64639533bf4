"""What was promised of a reviewed folder, beside what was reached, now that there are references."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from medssl.review.boundary_band import missed_share, wrong_core_share
from medssl.review.promises import Promises


@dataclass(frozen=True)
class Reached:
    """The promises of one class, over the cases in which it was predicted.

    Attributes:
        name: of the class; "all classes" of the bounds of all that were predicted in a case.
        cases: their number.
        promised: 1 - risk; of "all classes" None unless they were promised jointly.
        bounds_hold: share of the cases whose Dice is at least the bound.
        interval: its 95% interval (Clopper and Pearson).
        mean_bound: over the cases; beside ``mean_dice`` it says how tight the bounds are.
        mean_dice: likewise.
        captured: mean share of the true structure in prediction and band.
        wrong_core: mean share of the prediction that is wrong in its core.
    """

    name: str
    cases: int
    promised: float | None
    bounds_hold: float
    interval: tuple[float, float]
    mean_bound: float
    mean_dice: float
    captured: float | None = None
    wrong_core: float | None = None

    def __str__(self) -> str:
        """One line."""
        promised = "" if self.promised is None else f" (promised {self.promised:.1%})"
        low, high = self.interval
        line = (
            f"{self.name}: bounds hold in {self.bounds_hold:.1%} of {self.cases} cases{promised}, "
            f"95% interval {low:.1%} to {high:.1%}; mean bound {self.mean_bound:.3f}, "
            f"mean Dice {self.mean_dice:.3f}"
        )
        if self.captured is None:
            return line
        return (
            f"{line}; prediction and band hold {self.captured:.1%} of the structure{promised}, "
            f"{self.wrong_core:.1%} of the prediction is wrong in its core"
        )


def case_row(
    promises: Promises,
    statistics: Mapping[str, Mapping[str, Any]],
    predicted: NDArray[Any],
    reference: NDArray[Any],
    dices: Mapping[str, float],
    spacing: Sequence[float],
) -> dict[str, float]:
    """What was promised of one case and what was reached: columns ``bound NAME`` and so on.

    Args:
        promises: of its side-car.
        statistics: of its classes, of the side-car.
        predicted: class ids, as they were exported.
        reference: class ids of the same shape.
        dices: by class name.
        spacing: voxel size in mm.
    """
    row = {}
    for label, (name, one) in enumerate(promises.classes.items(), 1):
        bound, mask = statistics[name].get("dice_at_least"), predicted == label
        if bound is None or one.outer_mm is None or one.inner_mm is None or not mask.any():
            continue
        truth = reference == label
        row[f"dice_at_least {name}"] = bound
        row[f"bound_holds {name}"] = float(dices[name] >= bound)
        row[f"captured {name}"] = 1 - float(missed_share(mask, truth, spacing).at(one.outer_mm))
        row[f"wrong_core {name}"] = float(wrong_core_share(mask, truth, spacing).at(one.inner_mm))
    return row


def promises_reached(promises: Promises, rows: Sequence[Mapping[str, Any]]) -> list[Reached]:
    """Promised against reached, class by class and for all classes of a case at once.

    Args:
        promises: of the side-cars.
        rows: of :func:`case_row`, with the columns ``dice NAME``.
    """
    reached = []
    for name in promises.classes:
        own = [row for row in rows if f"bound_holds {name}" in row]
        if own:
            reached.append(_reached(name, own, [name], 1 - promises.risk))
    together = [row for row in rows if any(f"bound_holds {name}" in row for name in promises.classes)]
    if len(reached) > 1:
        promised = 1 - promises.risk if promises.jointly else None
        reached.append(_reached("all classes", together, list(promises.classes), promised))
    return reached


def _reached(
    title: str, rows: Sequence[Mapping[str, Any]], names: Sequence[str], promised: float | None
) -> Reached:
    def column(kind: str) -> list[list[float]]:
        return [[row[f"{kind} {name}"] for name in names if f"bound_holds {name}" in row] for row in rows]

    holds = sum(all(of_case) for of_case in column("bound_holds"))
    interval = stats.binomtest(holds, len(rows)).proportion_ci(0.95)
    alone = len(names) == 1
    bounds, dices = (np.mean([np.mean(v) for v in column(kind)]) for kind in ("dice_at_least", "dice"))
    return Reached(
        title,
        len(rows),
        promised,
        holds / len(rows),
        (float(interval.low), float(interval.high)),
        float(bounds),
        float(dices),
        float(np.mean(column("captured"))) if alone else None,
        float(np.mean(column("wrong_core"))) if alone else None,
    )
