"""A training that watches itself: one line where something is wrong, with what to change."""

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from medssl.common.run_folder import RunFolder
from medssl.data.reading.annotations import ANNOTATION
from medssl.methods.base import Method
from medssl.training.runs import warn_of_run
from medssl.training.signs import StepRecord, step_signs
from medssl.training.trainer import SemiSupervisedTrainer
from medssl.training.validation_signs import Precision, Validation, precision_signs, validation_signs


class TrainingWatch:
    """Warns, once of each sign, of a training that goes wrong.

    The lines go to the log and, under ``warnings``, to ``run.json``. What is looked for, and why the
    thresholds are what they are, stands in :mod:`medssl.training.signs` and
    :mod:`medssl.training.validation_signs`. Of every ``interval``-th step the losses are kept, which the
    trainer has read already; of every validation the key metric and the confusion matrix of
    :class:`~medssl.training.ValidationReliability`, without which empty predictions go unseen; of
    ``pseudo_labels.csv``, where the run has one, the method's own precision. Training itself is not touched.

    A resumed run reads its past steps and scores from ``log.jsonl``.

    With several processes the first one watches, its own losses and everybody's validations. Put it behind
    :class:`~medssl.training.JsonLogHandler` and :class:`~medssl.evaluation.PseudoLabelQuality`.

    Args:
        run_dir: folder of the run, with ``run.json``.
        validator: the evaluator that a ``ValidationHandler`` runs.
        class_names: of all classes but the background.
        background: class 0 is no structure, as in scans.
        interval: steps between two records; that of the log.

    Raises:
        ValueError: ``interval`` below 1.
    """

    def __init__(
        self,
        run_dir: str | Path,
        *,
        validator: Engine | None = None,
        class_names: Sequence[str] | None = None,
        background: bool = True,
        interval: int = 10,
    ) -> None:
        if interval < 1:
            raise ValueError(f"interval must be at least 1, got {interval}")
        self.run, self.validator, self.interval = RunFolder(Path(run_dir)), validator, interval
        self.background = background
        self.names = dict(enumerate(class_names or (), 1 if background else 0))
        self._forget()

    def _forget(self) -> None:
        self._records: list[StepRecord] = []
        self._validations: list[Validation] = []
        self._warned: set[str] = set()

    def attach(self, engine: SemiSupervisedTrainer) -> None:
        """Watch the training of this engine."""
        if engine.state.rank != 0:
            return
        engine.add_event_handler(Events.STARTED, self.started)
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.interval), self.iteration_completed)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.epoch_completed)
        engine.add_event_handler(Events.COMPLETED, self.completed)
        if self.validator is not None:
            self.validator.add_event_handler(Events.COMPLETED, self.validated, engine)

    def started(self, engine: SemiSupervisedTrainer) -> None:
        """Recall the steps and scores of the run up to where training continues from."""
        self._forget()
        if not engine.state.iteration:
            return
        self._warned = {_sign(line) for line in self.run.stored().get("warnings") or []}
        metric = "" if self.validator is None else self.validator.state.key_metric_name
        for entry in _lines(self.run.path / "log.jsonl"):
            step, event = entry["step"], entry["event"]
            if step > engine.state.iteration:
                break
            if event == "train" and step % self.interval == 0:
                self._records.append(StepRecord.of(step, entry))
            elif event == "validation":
                self._remember(engine, entry["epoch"], step, entry.get(metric))

    def iteration_completed(self, engine: SemiSupervisedTrainer) -> None:
        """Look at the losses of a step."""
        rate = max(float(group["lr"]) for group in engine.optimizer.param_groups)
        # The scheduler has stepped; a rate that is 0 from now on was said to be the step's own.
        values = engine.state.output | {"lr": max(rate, engine.state.output["lr"])}
        self._records.append(StepRecord.of(engine.state.iteration, values))
        selects_all = _selects_all(engine.method)
        self._warn(step_signs(self._records, engine.total_steps, selects_all=selects_all))

    def validated(self, validator: Engine, engine: SemiSupervisedTrainer) -> None:
        """Look at a validation."""
        score = validator.state.metrics.get(validator.state.key_metric_name)
        confusion = getattr(validator.state, "confusion", None)
        self._remember(engine, engine.state.epoch, engine.state.iteration, score, confusion)
        self._judge(ended=False)

    def epoch_completed(self, _: Engine) -> None:
        """Look at the precision of the pseudo-labels."""
        self._warn(precision_signs(self._precisions()))

    def completed(self, _: Engine) -> None:
        """Look at the last validation once more: nothing will follow it."""
        self._judge(ended=True)

    def _remember(
        self, engine: SemiSupervisedTrainer, epoch: int, step: int, score: Any, confusion: Any = None
    ) -> None:
        score = math.nan if score is None else float(score)
        self._validations.append(Validation(epoch, step / engine.total_steps, score, confusion))

    def _judge(self, *, ended: bool) -> None:
        signs = validation_signs(self._validations, ended=ended, background=self.background, names=self.names)
        self._warn(signs)

    def _precisions(self) -> list[Precision]:
        """The method's own selection in ``pseudo_labels.csv``, where it selected anything."""
        path = self.run.path / "pseudo_labels.csv"
        if not path.is_file():
            return []
        method = self.run.stored().get("method")
        with path.open(newline="", encoding="utf-8") as table:
            return [
                Precision(int(row["step"]), float(row["ppv"]), float(row["ppv_all"]))
                for row in csv.DictReader(table)
                if row["selector"] == method and row["class"] == "all" and row["ppv"] and row["ppv_all"]
            ]

    def _warn(self, lines: Iterable[str]) -> None:
        for line in lines:
            if _sign(line) not in self._warned:
                self._warned.add(_sign(line))
                warn_of_run(self.run, line)


def _sign(line: str) -> str:
    return line.split(":", 1)[0]


def _selects_all(method: Method) -> bool:
    """Whether it is the method's design: a threshold of 0, or an annotator's labels."""
    selector = getattr(method, "selector", None)
    return ANNOTATION in method.views or getattr(selector, "threshold", None) == 0


def _lines(path: Path) -> Iterator[Mapping[str, Any]]:
    """The entries of a log, up to a line that a kill cut short."""
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            return
