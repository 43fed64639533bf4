"""The trainer, its handlers, checkpoints and run folders."""

from medssl.training.checkpointer import Checkpointer
from medssl.training.checkpoints import restore
from medssl.training.configuration import merged_configuration
from medssl.training.description import model_description
from medssl.training.handlers import JsonLogHandler, ProgressBar, ValidationFrom
from medssl.training.options import refuse_unknown_options
from medssl.training.runs import finish_run, run_training, start_run, warn_of_run
from medssl.training.settings import epochs, evaluation_cases, selection_of, switch, validation_cases
from medssl.training.trainer import NonFiniteLossError, SemiSupervisedTrainer
from medssl.training.validation import ValidationDice
from medssl.training.validation_reliability import ValidationReliability
from medssl.training.validation_warnings import FruitlessValidations

__all__ = [
    "Checkpointer",
    "FruitlessValidations",
    "JsonLogHandler",
    "NonFiniteLossError",
    "ProgressBar",
    "SemiSupervisedTrainer",
    "ValidationDice",
    "ValidationFrom",
    "ValidationReliability",
    "epochs",
    "evaluation_cases",
    "finish_run",
    "merged_configuration",
    "model_description",
    "refuse_unknown_options",
    "restore",
    "run_training",
    "selection_of",
    "start_run",
    "switch",
    "validation_cases",
    "warn_of_run",
]
