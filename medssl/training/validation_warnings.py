"""A warning where a training has found nothing, validation after validation."""

from pathlib import Path

from ignite.engine import Engine, Events

from medssl.common.run_folder import RunFolder
from medssl.training.runs import warn_of_run

REMEDY = (
    "if it stays so, see that labels and scans belong together (medssl check), and try more steps or another "
    "learning rate"
)


class FruitlessValidations:
    """Warns, once, of two validations in a row in which nothing was found.

    Nothing is found where every prediction is empty, or where the key metric is 0. The line goes to the log
    and, under ``warnings``, to ``run.json``.

    Args:
        run_dir: folder of the run.
        pred: key of the output that holds probabilities, or one-hot predictions, ``(K, *S)``.
    """

    def __init__(self, run_dir: str | Path, *, pred: str = "pred") -> None:
        self.run, self.pred = RunFolder(Path(run_dir)), pred
        self._foreground, self._previous, self._warned = False, 0, False

    def attach(self, engine: Engine) -> None:
        """Watch the validations of this evaluator."""
        engine.add_event_handler(Events.STARTED, self.started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.iteration_completed)
        engine.add_event_handler(Events.COMPLETED, self.completed)

    def started(self, _: Engine) -> None:
        """No foreground has been seen yet."""
        self._foreground = False

    def iteration_completed(self, engine: Engine) -> None:
        """Look for foreground in the predictions of a batch."""
        # One look is enough: the largest of many channels takes as long to find as the scores.
        self._foreground = self._foreground or any(
            bool(item[self.pred].argmax(0).any()) for item in engine.state.output
        )

    def completed(self, engine: Engine) -> None:
        """Compare with the validation before."""
        epoch, name = engine.state.epoch, engine.state.key_metric_name
        if self._foreground and engine.state.metrics.get(name) != 0:
            self._previous = 0
            return
        if self._previous and not self._warned:
            fault = f"{name} is 0" if self._foreground else "every prediction is empty"
            warn_of_run(self.run, f"validations of epochs {self._previous} and {epoch}: {fault}; {REMEDY}")
            self._warned = True
        self._previous = epoch
