"""Engines on MONAI's and Ignite's: training, its handlers, its checkpoints and its folder."""

from medssl.engines.checkpointer import Checkpointer
from medssl.engines.checkpoints import (
    load_checkpoint,
    load_network,
    restore,
    trained_orientation,
    with_weights,
)
from medssl.engines.configuration import merged_configuration
from medssl.engines.distributed import init_process_group, local_rank, rank
from medssl.engines.evaluate import CaseMetrics, evaluate_run, summary_table
from medssl.engines.evaluator import ScanEvaluator
from medssl.engines.handlers import JsonLogHandler, ProgressBar, ValidationFrom
from medssl.engines.inference import SlidingWindowProbabilities, deployable, fold_batch_norm
from medssl.engines.maps import complete_probabilities
from medssl.engines.options import refuse_unknown_options
from medssl.engines.predictor import Predictor
from medssl.engines.provenance import git_commit, versions
from medssl.engines.pseudo_labels import PseudoLabelQuality, cases_with_hidden_labels
from medssl.engines.reliability import ValidationReliability
from medssl.engines.runs import RunFolder, finish_run, run_training, start_run, warn_of_run
from medssl.engines.settings import epochs, evaluation_cases, selection_of, switch, validation_cases
from medssl.engines.temperature import stored_temperature
from medssl.engines.trained import require_trained_settings, require_trained_split
from medssl.engines.trainer import NonFiniteLossError, SemiSupervisedTrainer
from medssl.engines.validation import ValidationDice
from medssl.engines.validation_warnings import FruitlessValidations

__all__ = [
    "CaseMetrics",
    "Checkpointer",
    "FruitlessValidations",
    "JsonLogHandler",
    "NonFiniteLossError",
    "Predictor",
    "ProgressBar",
    "PseudoLabelQuality",
    "RunFolder",
    "ScanEvaluator",
    "SemiSupervisedTrainer",
    "SlidingWindowProbabilities",
    "ValidationDice",
    "ValidationFrom",
    "ValidationReliability",
    "cases_with_hidden_labels",
    "complete_probabilities",
    "deployable",
    "epochs",
    "evaluate_run",
    "evaluation_cases",
    "finish_run",
    "fold_batch_norm",
    "git_commit",
    "init_process_group",
    "load_checkpoint",
    "load_network",
    "local_rank",
    "merged_configuration",
    "rank",
    "refuse_unknown_options",
    "require_trained_settings",
    "require_trained_split",
    "restore",
    "run_training",
    "selection_of",
    "start_run",
    "stored_temperature",
    "summary_table",
    "switch",
    "trained_orientation",
    "validation_cases",
    "versions",
    "warn_of_run",
    "with_weights",
]
