"""The trainer, its handlers, checkpoints and run folders."""

from medssl.training.annotations import AnnotatedCases
from medssl.training.cases import TrainingCases, begin_run, run_name
from medssl.training.checkpointer import Checkpointer
from medssl.training.configuration import merged_configuration
from medssl.training.description import model_description
from medssl.training.handlers import JsonLogHandler, ProgressBar, ValidationFrom
from medssl.training.options import read_options
from medssl.training.parameter_groups import parameter_groups
from medssl.training.runs import run_training, start_run
from medssl.training.settings import (
    composed,
    default_device,
    epochs,
    evaluation_cases,
    in_folder,
    prediction_precision,
    ramp,
    share_of_steps,
    steps_of_pass,
    synchronize_batch_norm,
    unchanged,
)
from medssl.training.trainer import NonFiniteLossError, SemiSupervisedTrainer
from medssl.training.validation import ValidationDice
from medssl.training.validation_iou import ValidationIoU
from medssl.training.validation_reliability import ValidationReliability
from medssl.training.watch import TrainingWatch

__all__ = [
    "AnnotatedCases",
    "Checkpointer",
    "JsonLogHandler",
    "NonFiniteLossError",
    "ProgressBar",
    "SemiSupervisedTrainer",
    "TrainingCases",
    "TrainingWatch",
    "ValidationDice",
    "ValidationFrom",
    "ValidationIoU",
    "ValidationReliability",
    "begin_run",
    "composed",
    "default_device",
    "epochs",
    "evaluation_cases",
    "in_folder",
    "merged_configuration",
    "model_description",
    "parameter_groups",
    "prediction_precision",
    "ramp",
    "read_options",
    "run_name",
    "run_training",
    "share_of_steps",
    "start_run",
    "steps_of_pass",
    "synchronize_batch_norm",
    "unchanged",
]
