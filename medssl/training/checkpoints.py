"""Checkpoints: written whole, loaded with ``weights_only=True``, resumed bit for bit.

A checkpoint is a dictionary:

- ``method``: state of the whole method, student and teacher;
- ``network``: state of the network that predicts, the student's or its teacher's
  (:attr:`medssl.methods.Method.deploys`), and ``deployed``: the part of it that is deployed
  (``ckpt_export --key_in_ckpt deployed``); both share the storage of ``method``;
- ``optimizer``, ``scheduler``, ``scaler``: their states;
- ``rng``: states of the random generators, one entry a process;
- ``progress``: ``step`` (completed steps, which is also the sampler's position), ``epoch``,
  ``steps_per_epoch``;
- ``best``: ``metric`` and ``epoch`` of the best validation so far (epoch -1: none yet);
- ``meta``: method, versions, and what the caller adds, such as the description of the model
  (:func:`medssl.training.model_description`).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medssl.common.errors import InputError
from medssl.common.provenance import plain, versions
from medssl.common.ranks import rank, world_size
from medssl.common.rng import RngState
from medssl.inference.checkpoints import Checkpoint, check_architecture, load_checkpoint
from medssl.networks import Deployed
from medssl.training.trainer import SemiSupervisedTrainer


def make_checkpoint(
    trainer: SemiSupervisedTrainer,
    *,
    rng: list[RngState],
    meta: Mapping[str, Any] | None = None,
) -> Checkpoint:
    """The state of a training as the dictionary that this module's docstring describes."""
    method, state = trainer.method, trainer.state
    network = method.deployed_network.state_dict()
    scheduler = trainer.lr_scheduler
    return {
        "method": method.state_dict(),
        "network": network,
        "deployed": {key: network[key] for key in Deployed(method.deployed_network).state_dict()},
        "optimizer": trainer.optimizer.state_dict(),
        "scheduler": None if scheduler is None else scheduler.state_dict(),
        "scaler": trainer.grad_scaler.state_dict(),
        "rng": rng,
        "progress": {
            "step": int(state.iteration),
            "epoch": int(state.epoch),
            "steps_per_epoch": int(state.epoch_length),
        },
        "best": {"metric": float(state.best_metric), "epoch": int(state.best_metric_epoch)},
        "meta": {
            "method": type(method).__name__,
            "versions": versions(),
            **plain(meta or {}),
        },
    }


def restore(path: str | Path, *, trainer: SemiSupervisedTrainer) -> None:
    """Put a training back to where a checkpoint left it; ``trainer.run()`` then goes on exactly.

    Method, optimizer, scheduler and gradient scaler are the trainer's; the loader's position follows from
    the step. Random numbers are exact if the loader has a generator of its own.

    Raises:
        InputError: as :func:`load_checkpoint`; a checkpoint of another method, architecture, optimizer,
            schedule, epoch length or number of processes.
    """
    checkpoint = load_checkpoint(path)
    progress, best, states = checkpoint["progress"], checkpoint["best"], checkpoint["rng"]
    steps = "steps an epoch"
    trained = (
        f"{checkpoint['meta']['method']}, {progress['steps_per_epoch']} {steps}, {len(states)} process(es)"
    )
    asked = (
        f"{type(trainer.method).__name__}, {trainer.state.epoch_length} {steps}, {world_size()} process(es)"
    )
    if trained != asked:
        raise InputError(path, f"trained as {trained}", f"resume as that and not as {asked}")
    expected = trainer.method.state_dict()
    check_architecture(path, expected, checkpoint["method"])
    check_architecture(path, checkpoint["method"], expected)
    if progress["step"] > trainer.total_steps:
        raise InputError(
            path, f"has {progress['step']} steps already", f"train for more than {trainer.total_steps}"
        )
    trainer.method.load_state_dict(checkpoint["method"])
    try:
        trainer.optimizer.load_state_dict(checkpoint["optimizer"])
    except (ValueError, KeyError) as error:
        raise InputError(
            path, f"of another optimizer ({error})", "resume with the optimizer it was trained with"
        ) from error
    if (trainer.lr_scheduler is None) != (checkpoint["scheduler"] is None):
        raise InputError(
            path, "one of the two has a schedule", "resume with the schedule it was trained with"
        )
    if trainer.lr_scheduler is not None:
        trainer.lr_scheduler.load_state_dict(checkpoint["scheduler"])
    if checkpoint["scaler"]:
        trainer.grad_scaler.load_state_dict(checkpoint["scaler"])
    trainer.state.best_metric, trainer.state.best_metric_epoch = best["metric"], best["epoch"]
    trainer.resume_at(progress["step"], rng=states[rank()])
