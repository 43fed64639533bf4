"""Engines on MONAI's and Ignite's: training, its handlers, its checkpoints and its folder."""

from medssl.engines.checkpointer import Checkpointer
from medssl.engines.checkpoints import load_checkpoint, load_network, restore
from medssl.engines.handlers import JsonLogHandler, ProgressBar
from medssl.engines.provenance import git_commit, versions
from medssl.engines.runs import RunFolder, finish_run, run_training, start_run
from medssl.engines.settings import epochs, selection_of, validation_cases
from medssl.engines.trainer import NonFiniteLossError, SemiSupervisedTrainer

__all__ = [
    "Checkpointer",
    "JsonLogHandler",
    "NonFiniteLossError",
    "ProgressBar",
    "RunFolder",
    "SemiSupervisedTrainer",
    "epochs",
    "finish_run",
    "git_commit",
    "load_checkpoint",
    "load_network",
    "restore",
    "run_training",
    "selection_of",
    "start_run",
    "validation_cases",
    "versions",
]
