"""What a figure of a report is: a name, a caption, and a function that draws what there is to show."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from medssl.protocol.analysis.store import Run, Subset
from medssl.reports.figure_style import Look


@dataclass(frozen=True)
class FigureSource:
    """What the figures of one data set and labelled count are drawn from.

    Attributes:
        runs: finished ones, by setting.
        frames: the report's tables, of this data set and labelled count.
        looks: of the settings, in the order of drawing.
        baseline: the setting that differences refer to.
        metric: in which settings are compared.
        subset: which cases' scores.
    """

    runs: Mapping[str, Sequence[Run]]
    frames: Mapping[str, pd.DataFrame]
    looks: dict[str, Look]
    baseline: str
    metric: str
    subset: Subset

    def files(self, name: str) -> dict[str, list[Path]]:
        """Where a file of that name would lie in every run, by setting."""
        return {setting: [run.path / name for run in runs] for setting, runs in self.runs.items()}


@dataclass(frozen=True)
class ReportFigure:
    """A figure that a report has wherever its runs give it something to show.

    Attributes:
        name: in the names of its files and in the page's addresses.
        caption: below it; ``{baseline}`` stands for the baseline's name.
        draw: None where there is nothing to show.
    """

    name: str
    caption: str
    draw: Callable[[FigureSource], Figure | None]
