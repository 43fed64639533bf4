"""What a report holds, before anything is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from medssl.common.constants import PIXEL
from medssl.metrics.table import Metric
from medssl.protocol.analysis.store import Run, Subset
from medssl.protocol.report.rows import Row

CHECKPOINTS = ("last", "best")
UNSTATED = ""  # the checkpoint of published figures whose source does not state it
COST = ("parameters", "deployed_parameters", "seconds_per_step", "peak_memory_mb")
"""Costs of a training in ``run.json``."""


@dataclass(frozen=True)
class Place:
    """One data set and labelled count: what can be compared with one another.

    Attributes:
        dataset: name of the data set.
        labeled: labelled cases.
        runs: of it.
        settings: in the order of rows, the baseline first.
        baseline: the setting that paired differences refer to.
        unit: of distances.
        columns: metrics of each table, by its name: :data:`medssl.protocol.report.rows.TABLES`, or those of
            images.
        tables: rows by checkpoint and by the table's name; the checkpoint of published figures for which
            none is stated is empty.
        figures: with their captions, by name.
    """

    dataset: str
    labeled: int
    runs: tuple[Run, ...]
    settings: tuple[str, ...]
    baseline: str
    unit: str
    columns: Mapping[str, Sequence[Metric]]
    tables: Mapping[tuple[str, str], Sequence[Row]]
    figures: Mapping[str, tuple[Figure, str]]

    @property
    def name(self) -> str:
        """Such as ``la, 8 labelled``."""
        return f"{self.dataset}, {self.labeled} labelled"

    @property
    def stem(self) -> str:
        """Beginning of its figures' file names."""
        return f"{self.dataset}-labeled{self.labeled}"

    @property
    def of_images(self) -> bool:
        """Whether its numbers are pooled over images."""
        return self.unit == PIXEL

    def caption(self, checkpoint: str, table: str) -> str:
        """Caption of one of its tables."""
        if not checkpoint:
            return f"{self.name}: {table}, published without saying of which checkpoint"
        return f"{self.name}: {table} of the {checkpoint} checkpoint, median / best run"

    def rows_of(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The part of a table that belongs here."""
        return frame[(frame["dataset"] == self.dataset) & (frame["labeled"] == self.labeled)]


@dataclass(frozen=True)
class Report:
    """Everything that is written.

    Attributes:
        runs: all of them.
        places: one for each data set and labelled count.
        frames: tables by name of their CSV file, without the ending.
        metric: in which settings are compared in figures and cautions.
        subset: "test" or "validation".
    """

    runs: tuple[Run, ...]
    places: tuple[Place, ...]
    frames: Mapping[str, pd.DataFrame]
    metric: str
    subset: Subset
