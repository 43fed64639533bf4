"""A handler of a training that is to be interrupted: it hangs at a step, for as long as a file is there."""

from pathlib import Path

import yaml
from ignite.engine import Engine, Events

from tests.processes import hang


class Hanging:
    def __init__(self, step: int, while_there: str):
        self.step, self.while_there = step, Path(while_there)

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED(once=self.step), lambda: hang(self.while_there))


def hanging_overlay(folder: Path, *, step: int) -> tuple[Path, Path]:
    """A config file that adds the handler, and the file whose removal lets the training go on."""
    overlay, while_there = folder / "hanging.yaml", folder / "hang"
    while_there.touch()
    handler = {"_target_": "tests.bundles.hanging.Hanging", "step": step, "while_there": str(while_there)}
    overlay.write_text(yaml.safe_dump({"+train::handlers": [handler]}))
    return overlay, while_there
