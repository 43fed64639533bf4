"""Handlers that neither MONAI nor Ignite has: a plain log, progress, validations from some epoch on.

TensorBoard and console output are MONAI's: ``TensorBoardStatsHandler`` and ``StatsHandler`` with
``output_transform=lambda x: x``. A learning-rate schedule goes to the trainer,
which steps it with the optimiser; ``LrScheduleHandler`` would step it before the learning rate is logged.
"""

import json
import math
import time
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from monai.handlers import ValidationHandler

from medssl.common.files import write_text
from medssl.common.progress import Progress
from medssl.training.trainer import SemiSupervisedTrainer


class ValidationFrom(ValidationHandler):  # type: ignore[misc]
    """MONAI's ``ValidationHandler`` that leaves out the epochs before ``start``, as published trainings do.

    Args:
        start: first epoch, from 1, after which there may be a validation.
        kwargs: of MONAI's handler.
    """

    def __init__(self, *, start: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.start = start

    def __call__(self, engine: Engine) -> None:
        """Validate, unless it is too early."""
        if engine.state.epoch >= self.start:
            super().__call__(engine)


class JsonLogHandler:
    """Writes ``log.jsonl``: one JSON object a line, for plotting and for comparing runs.

    ``{"event": "train", "step", "epoch", "seconds", "loss", ..., "lr"}`` every ``interval`` steps, with the
    values of that step; ``{"event": "validation", "step", "epoch", "seconds", ...}`` with every scalar
    metric after a validation; ``{"event": "epoch", "step", "epoch", "seconds"}`` at the end of an epoch.
    ``step`` counts completed steps; a value that is not finite is null; ``seconds`` is the training time.

    When a run starts, lines beyond its starting step are dropped (all of them for a new run), so that
    the log of a resumed run is that of one never interrupted. With several processes the first writes.

    Args:
        path: the file.
        interval: steps between two ``train`` lines.
        validator: the evaluator that a ``ValidationHandler`` runs.
    """

    def __init__(self, path: str | Path, *, interval: int = 1, validator: Engine | None = None) -> None:
        if interval < 1:
            raise ValueError(f"interval must be at least 1, got {interval}")
        self.path, self.interval, self.validator = Path(path), interval, validator
        self._began = 0.0

    def attach(self, engine: SemiSupervisedTrainer) -> None:
        """Log the training of this engine."""
        if engine.state.rank != 0:
            return
        engine.add_event_handler(Events.STARTED, self.started)
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.interval), self.iteration_completed)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.epoch_completed)
        if self.validator is not None:
            self.validator.add_event_handler(Events.COMPLETED, self.validated, engine)

    def started(self, engine: Engine) -> None:
        """Keep the lines up to the step that training continues from."""
        kept, seconds = [], 0.0
        if engine.state.iteration and self.path.is_file():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                try:
                    entry = json.loads(line)
                except json.JSONDecodeError:
                    break  # the line that a kill cut short
                if entry["step"] <= engine.state.iteration:
                    kept.append(line + "\n")
                    seconds = entry["seconds"]
        write_text(self.path, "".join(kept))
        self._began = time.monotonic() - seconds

    def iteration_completed(self, engine: Engine) -> None:
        """Write the losses of the step."""
        self._write(engine, "train", engine.state.output)

    def validated(self, validator: Engine, engine: Engine) -> None:
        """Write the metrics of a validation."""
        self._write(engine, "validation", scalar_metrics(validator))

    def epoch_completed(self, engine: Engine) -> None:
        """Write the time at which the epoch ended."""
        self._write(engine, "epoch", {})

    def _write(self, engine: Engine, event: str, values: dict[str, float]) -> None:
        entry: dict[str, Any] = {"event": event, "step": engine.state.iteration, "epoch": engine.state.epoch}
        entry["seconds"] = round(time.monotonic() - self._began, 3)
        entry |= {name: value if math.isfinite(value) else None for name, value in values.items()}
        # Opened for every line: a line is on its way to the disk before the next step begins, and the
        # file may be moved or read meanwhile.
        with self.path.open("a", encoding="utf-8") as log:
            log.write(json.dumps(entry) + "\n")


class ProgressBar:
    """How far a training is, with the loss and the last validation metric, and how long it will take.

    A bar over all steps on a terminal (Ignite's ``ProgressBar`` starts a new one every epoch); elsewhere
    lines of the log, at most one a minute and one after every validation. The first process shows it.

    Args:
        validator: the evaluator whose key metric is shown.
    """

    def __init__(self, *, validator: Engine | None = None) -> None:
        self.validator = validator
        self._progress: Progress | None = None

    def attach(self, engine: SemiSupervisedTrainer) -> None:
        """Show the training of this engine."""
        if engine.state.rank != 0:
            return
        engine.add_event_handler(Events.STARTED, self.started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.iteration_completed)
        engine.add_event_handler(Events.COMPLETED, self.completed)
        if self.validator is not None:
            self.validator.add_event_handler(Events.COMPLETED, self.validated)

    def started(self, engine: SemiSupervisedTrainer) -> None:
        """Begin at the step that training continues from."""
        self._progress = Progress(
            engine.total_steps, title=type(engine.method).__name__, unit="step", done=engine.state.iteration
        )

    def iteration_completed(self, engine: Engine) -> None:
        """Move on by a step."""
        if self._progress is not None:
            self._progress.advance(loss=f"{engine.state.output['loss']:.4f}")

    def validated(self, validator: Engine) -> None:
        """Show the key metric."""
        name, metrics = validator.state.key_metric_name, scalar_metrics(validator)
        if self._progress is not None and name in metrics:
            self._progress.tell(**{name: f"{metrics[name]:.4f}"})

    def completed(self, _: Engine) -> None:
        """Close the bar."""
        if self._progress is not None:
            self._progress.close()


def scalar_metrics(engine: Engine) -> dict[str, float]:
    """The metrics of an engine that are single numbers, as floats."""
    metrics = {}
    for name, value in engine.state.metrics.items():
        try:
            metrics[name] = float(value)
        except (TypeError, ValueError, RuntimeError):
            continue
    return metrics
