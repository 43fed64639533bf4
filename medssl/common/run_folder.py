"""The folder of a run: what its files are called, its record, and how far it is."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from medssl.common.errors import InputError
from medssl.common.lock import is_held

Selection = Literal["validation", "test-oracle", "none"]
Status = Literal["running", "finished", "failed", "interrupted"]

PSEUDO_LABEL_RATES = ("tpr", "fpr", "ppv", "npv")
UNSELECTED_RATES = ("ppv_all", "npv_all", "recall_all")
PSEUDO_LABEL_COLUMNS = (
    *("step", "selector", "class", "voxels", "coverage"),
    *PSEUDO_LABEL_RATES,
    *UNSELECTED_RATES,
)
"""Columns of ``pseudo_labels.csv``: of what, the rates of a selection, and the same without one."""
SELECTION_STATISTICS = ("separation", "fallback")
"""Columns that follow where a selector says such a thing of its selections: AgScore of its mixture."""


@dataclass(frozen=True)
class RunFolder:
    """A run's folder, with the names of its files.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def record(self) -> Path:
        """``run.json``."""
        return self.path / "run.json"

    @property
    def config(self) -> Path:
        """``config.yaml``."""
        return self.path / "config.yaml"

    @property
    def calibrator(self) -> Path:
        """``calibrator.pt``, what turned an annotator's maps into labels, where the run has one."""
        return self.path / "calibrator.pt"

    def scores(self, checkpoint: str, subset: str = "test") -> Path:
        """``cases_best.csv`` and so on; of validation cases ``cases_best_validation.csv``."""
        return self.path / f"cases_{checkpoint}{_ending(subset)}.csv"

    def reliability(self, checkpoint: str, subset: str = "test") -> Path:
        """``reliability_best.json`` and so on, which is written with the scores."""
        return self.path / f"reliability_{checkpoint}{_ending(subset)}.json"

    def sums(self, checkpoint: str, subset: str = "test") -> Path:
        """``sums_best.npz`` and so on, which is written with the scores of images."""
        return self.path / f"sums_{checkpoint}{_ending(subset)}.npz"

    def settings(self) -> dict[str, Any]:
        """The contents of ``config.yaml``: the merged configuration, unevaluated.

        Earlier versions wrote a list of evaluated settings there.

        Raises:
            InputError: missing or damaged.
        """
        try:
            config = yaml.safe_load(self.config.read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise InputError(self.config, "cannot be read", "start the run anew with overwrite") from error
        return config if isinstance(config, dict) else {}

    def read(self) -> dict[str, Any]:
        """The contents of ``run.json``, in which a run that nobody trains any more is not ``running``.

        Raises:
            InputError: missing or damaged.
        """
        record = self.stored()
        if record.get("status") == "running" and not is_held(self.path):
            record["status"] = "interrupted"  # by a kill, which leaves no time to record it
        return record

    def stored(self) -> dict[str, Any]:
        """The contents of ``run.json`` as they are, to be added to.

        Raises:
            InputError: missing or damaged.
        """
        try:
            record = json.loads(self.record.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise InputError(self.path, "no run.json", "give the folder of a run") from error
        except (OSError, ValueError) as error:
            raise InputError(self.record, "cannot be read", "start the run anew with overwrite") from error
        if not isinstance(record, dict):
            raise InputError(self.record, "not the record of a run", "start the run anew with overwrite")
        return record


def _ending(subset: str) -> str:
    return "" if subset == "test" else f"_{subset}"


SCORES = tuple(
    file(checkpoint, subset).name
    for subset in ("test", "validation")
    for file in (RunFolder(Path()).scores, RunFolder(Path()).reliability, RunFolder(Path()).sums)
    for checkpoint in ("best", "last")
)
"""What an evaluation writes into a run's folder."""

RUN_FILES = (
    *("run.json", "config.yaml", "metadata.json", "logging.conf"),
    *("calibrator.pt", "best.pt", "last.pt", *SCORES, "pseudo_labels.csv", "log.jsonl"),
)
"""Everything that a run may write; overwriting removes these and nothing else."""
