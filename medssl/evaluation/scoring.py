"""What the scoring of scans and of images have in common: rows, pooled numbers, and the files of both."""

import json
import math
import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from ignite.engine import Engine, Events

from medssl.common.files import write_csv, write_text
from medssl.metrics import ReliabilityMetrics, ScoredClass
from medssl.metrics.table import Metric

Row = dict[str, str | int | float]
Key = TypeVar("Key")


class Scoring(ABC):
    """Scores every case of an evaluator and writes them when it completes.

    Needs in the output ``label_map`` and the probabilities ``pred``, and in the batch ``case`` and whatever
    :meth:`score` asks for. To ``cases_last.csv`` go the rows of the cases, and to ``reliability_last.json``
    beside it the reliability pooled over all their voxels, under both protocols, with the reliability
    diagram, the policy of all numbers, and the median seconds of a case from the loaded file to the maps in
    its geometry.

    Args:
        path: the CSV file, such as ``cases_last.csv``.
        num_classes: classes ``K``.
        subset: which cases the evaluator is over, for the record.
        temperature: of the probabilities, likewise.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        num_classes: int,
        subset: Literal["test", "validation"] = "test",
        temperature: float = 1.0,
    ) -> None:
        self.path, self.num_classes = Path(path), num_classes
        self.subset, self.temperature = subset, temperature
        self.facts: dict[str, Any] = {}  # what the caller knows, written beside the pooled numbers
        self.pooled = ReliabilityMetrics(num_classes)
        self.rows: list[Row] = []

    @abstractmethod
    def score(self, item: Mapping[str, Any]) -> tuple[list[Row], ReliabilityMetrics]:
        """The rows of a case, and its own reliability.

        Args:
            item: what was loaded and what was predicted.
        """

    @property
    @abstractmethod
    def conventions(self) -> dict[str, Any]:
        """What decides the meaning of the rows: the policy but for what every scoring has."""

    @property
    def policy(self) -> dict[str, Any]:
        """How the numbers were made: only runs that share it can stand in one table."""
        # Only a temperature that changes something: scores of before there was a choice have none.
        tempered = {} if self.temperature == 1 else {"temperature": self.temperature}
        return {**tempered, "evaluate_on": self.subset, **self.conventions}

    def attach(self, engine: Engine) -> None:
        """Score the cases of this evaluator."""
        engine.add_event_handler(Events.STARTED, self.started)
        engine.add_event_handler(Events.ITERATION_STARTED, self.iteration_started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.iteration_completed)
        engine.add_event_handler(Events.COMPLETED, self.completed)

    def started(self, _: Engine) -> None:
        """Forget the rows of an earlier evaluation."""
        self.rows, self.pooled = [], ReliabilityMetrics(self.num_classes)
        self._seconds: list[float] = []

    def iteration_started(self, _: Engine) -> None:
        """Start the clock, now that the case is loaded."""
        self._began = time.monotonic()

    def iteration_completed(self, engine: Engine) -> None:
        """Score the cases of a batch.

        Raises:
            InputError: a reference that lies on another grid than its scan or image.
        """
        self._seconds.append((time.monotonic() - self._began) / len(engine.state.output))
        for loaded, output in zip(engine.state.batch, engine.state.output, strict=True):
            rows, reliability = self.score({**loaded, **output})
            self.rows += rows
            self.pooled.merge(reliability)

    def completed(self, engine: Engine) -> None:
        """Write the rows and the pooled reliability."""
        write_csv(self.path, self.rows)
        diagram = self.pooled.calibration.diagram()
        content: dict[str, Any] = {
            "cases": len({row["case"] for row in self.rows}),
            "policy": self.policy,
            **self.facts,
            "seconds_per_case": round(statistics.median(self._seconds), 4) if self._seconds else None,
            "pooled": numbers(self.pooled.compute()),
            **self.more(),
            "diagram": {
                name: [None if math.isnan(v) else v for v in getattr(diagram, name).tolist()]
                for name in ("count", "confidence", "accuracy")
            },
        }
        path = self.path.with_name(self.path.stem.replace("cases", "reliability", 1) + ".json")
        if path.stem != self.path.stem:
            write_text(path, json.dumps(content, indent=2) + "\n")

    def more(self) -> dict[str, Any]:
        """What else stands with the pooled reliability."""
        return {}

    @abstractmethod
    def summary(self) -> str:
        """The scores in short, for the log."""


def measured(metrics: Sequence[Metric], scored: ScoredClass) -> dict[str, float]:
    """The values of those metrics that are measured in a case, rounded as they are written."""
    return {metric.name: round(metric.measure(scored), 6) for metric in metrics if metric.measure}


def numbers(values: Mapping[Key, float]) -> dict[Key, float | None]:
    """For JSON, which has no NaN."""
    return {name: None if math.isnan(value) else round(value, 6) for name, value in values.items()}
