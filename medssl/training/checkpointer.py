"""The handler that keeps ``last.pt`` and ``best.pt``."""

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events

from medssl.common.files import atomic_path
from medssl.common.ranks import gather, rank
from medssl.common.rng import get_rng_state
from medssl.training.checkpoints import make_checkpoint
from medssl.training.trainer import SemiSupervisedTrainer

logger = logging.getLogger(__name__)


class Checkpointer:
    """Keeps ``last.pt`` and ``best.pt`` of a training in a folder.

    ``last.pt`` is written at the end of every ``interval`` epochs and of the training, ``best.pt`` after a
    validation whose metric is higher than all before. The best value is part of the checkpoint, so that
    a resumed run knows it; it is also ``trainer.state.best_metric`` and ``best_metric_epoch``.

    MONAI's ``CheckpointSaver`` writes in place, has no fixed name for interval saves and forgets the best
    value on a resume; hence our own. Attach it after the ``ValidationHandler``, because validation may
    draw random numbers (:func:`~medssl.training.run_training` attaches it last). With several
    processes the first one writes; all must run the validation or none.

    Args:
        folder: where the two files go; made at the first save.
        validator: the evaluator that a ``ValidationHandler`` runs; without it there is no ``best.pt``.
        metric: the validator's metric that counts, higher being better; its key metric by default.
        interval: epochs between two ``last.pt``.
        meta: plain values to keep in the checkpoint; without those of
            :func:`~medssl.training.model_description` nothing can predict from it.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        validator: Engine | None = None,
        metric: str | None = None,
        interval: int = 1,
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        if interval < 1:
            raise ValueError(f"interval must be at least 1, got {interval}")
        self.last, self.best = Path(folder) / "last.pt", Path(folder) / "best.pt"
        self.validator, self.metric, self.interval = validator, metric, interval
        self.meta = dict(meta or {})
        self._validated: tuple[int, float] | None = None
        self._passed_step = self._saved_step = -1

    def attach(self, engine: SemiSupervisedTrainer) -> None:
        """Save at the ends of epochs and of the training; attaching twice changes nothing.

        Raises:
            ValueError: a validator without a key metric and no metric named.
        """
        if engine.has_event_handler(self.epoch_completed, Events.EPOCH_COMPLETED):
            return
        if self.validator is not None:
            name = self.metric or self.validator.state.key_metric_name
            if name is None:
                raise ValueError("metric must be named, because the validator has no key metric")
            self.validator.add_event_handler(Events.COMPLETED, self.validated, engine, name)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.epoch_completed)
        engine.add_event_handler(Events.COMPLETED, self.completed)

    def validated(self, validator: Engine, engine: SemiSupervisedTrainer, name: str) -> None:
        """Note the metric of the validation that has just ended.

        Raises:
            RuntimeError: this epoch's end has been saved already.
        """
        ending = engine.last_event_name == Events.EPOCH_COMPLETED
        if ending and self._passed_step == engine.state.iteration:
            raise RuntimeError("the Checkpointer must be attached after the ValidationHandler")
        self._validated = engine.state.iteration, float(validator.state.metrics[name])

    def epoch_completed(self, engine: SemiSupervisedTrainer) -> None:
        """Save what is due; ``best.pt`` first, so that no ``last.pt`` knows of a best that was not kept."""
        self._passed_step = engine.state.iteration
        improved = self._improved(engine)
        if improved is not None:
            engine.state.best_metric, engine.state.best_metric_epoch = improved, engine.state.epoch
        due = engine.state.epoch % self.interval == 0
        self._save(
            engine, [path for path, is_due in ((self.best, improved is not None), (self.last, due)) if is_due]
        )

    def completed(self, engine: SemiSupervisedTrainer) -> None:
        """Save at the end of the training, unless its last epoch has been saved."""
        if self._saved_step != engine.state.iteration:
            self._save(engine, [self.last])

    def _improved(self, engine: SemiSupervisedTrainer) -> float | None:
        """The metric of a validation since the last save if it is the best so far."""
        if self._validated is None:
            return None
        (step, value), self._validated = self._validated, None
        if step != engine.state.iteration:
            return None  # of other weights: a validation in mid-epoch or before the first step
        if math.isnan(value):
            logger.warning("validation metric is NaN at step %d; it cannot become the best", step)
            return None
        first = engine.state.best_metric_epoch == -1
        return value if first or value > engine.state.best_metric else None

    def _save(self, engine: SemiSupervisedTrainer, paths: list[Path]) -> None:
        # Every process takes part at every epoch's end, whatever it thinks is due.
        rng = gather(get_rng_state(engine.state.device))
        if self.last in paths:
            self._saved_step = engine.state.iteration
        if not paths or rank() != 0:
            return
        checkpoint = make_checkpoint(engine, rng=rng, meta=self.meta)
        for path in paths:
            with atomic_path(path) as temporary:
                torch.save(checkpoint, temporary)
