"""A small method, its data and its training for the tests; as a program, runs that kill themselves."""

import json
import os
import random
import signal
import sys
from itertools import count
from pathlib import Path

import numpy as np
import torch
from ignite.engine import Events
from monai.engines import Evaluator
from monai.handlers import ValidationHandler
from monai.transforms import Compose, RandFlipd, RandGaussianNoised
from torch import nn
from torch.nn import functional as F

from medssl.data import two_stream_loader
from medssl.methods.base import Method
from medssl.methods.teacher import Teacher
from medssl.training.checkpointer import Checkpointer
from medssl.training.handlers import JsonLogHandler
from medssl.training.runs import run_training, start_run
from medssl.training.trainer import SemiSupervisedTrainer

STEPS, EPOCHS = 4, 3


class TinyNet(nn.Sequential):
    deployed_modules = None

    def __init__(self, width=4, dropout=0.3):
        super().__init__(
            nn.Conv3d(1, width, 3, padding=1),
            nn.BatchNorm3d(width),
            nn.ReLU(),
            nn.Dropout3d(dropout),
            nn.Conv3d(width, 2, 1),
        )


class Tiny(Method):
    """Cross-entropy, and consistency with a teacher under noise from every global generator."""

    views = ("weak",)

    def __init__(self, network, *, noise=0.1):
        super().__init__()
        self.network, self.teacher, self.noise = network, Teacher(network, alpha=0.9), noise

    def training_step(self, batch, step):
        supervised = F.cross_entropy(self.network(batch.labeled_images), batch.labels.long())
        shift = self.noise * (random.random() + float(np.random.rand()))
        unlabeled = batch.unlabeled["weak"]
        noisy = unlabeled + self.noise * torch.randn_like(unlabeled) + shift
        target = self.teacher(unlabeled)
        consistency = F.mse_loss(self.network(noisy), target)
        ramp = min(1.0, step / 10)
        return {
            "loss": supervised + ramp * consistency,
            "supervised": supervised.detach(),
            "consistency": consistency.detach(),
        }

    def predict(self, images):
        return self.network(images)


def make_cases(labeled=3, unlabeled=5):
    """Small volumes whose sign is their label; the unlabelled ones carry none."""
    generator = torch.Generator().manual_seed(11)
    images = [torch.randn(1, 4, 4, 4, generator=generator) for _ in range(labeled + unlabeled)]
    cases = [{"image": image, "label": (image > 0).to(torch.uint8)} for image in images[:labeled]]
    return cases + [{"image": image} for image in images[labeled:]]


def make_loader(workers=0):
    augmentation = Compose(
        [
            RandFlipd(["image", "label"], prob=0.5, spatial_axis=0, allow_missing_keys=True),
            RandGaussianNoised(["image"], prob=0.5),
        ]
    )
    return two_stream_loader(make_cases(), num_labeled=3, augmentation=augmentation, num_workers=workers)


def seed_all(seed):
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)


def make_trainer(*, workers=0, seed=0, method=None, loader=None, handlers=None, **options):
    seed_all(seed)
    method = Tiny(TinyNet()) if method is None else method
    optimizer = torch.optim.SGD(method.network.parameters(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=STEPS * EPOCHS, power=0.9)
    options = {"max_epochs": EPOCHS, "steps_per_epoch": STEPS, "lr_scheduler": scheduler} | options
    return SemiSupervisedTrainer(
        device="cpu",
        train_data_loader=make_loader(workers) if loader is None else loader,
        method=method,
        optimizer=optimizer,
        train_handlers=handlers,
        **options,
    )


def make_validator(metric):
    """An evaluator whose ``dice`` is what ``metric()`` says, and that draws random numbers."""
    validator = Evaluator("cpu", [0], iteration_update=lambda _, batch: torch.rand(3), decollate=False)
    validator.state.key_metric_name = "dice"

    @validator.on(Events.EPOCH_COMPLETED)
    def _score(engine):
        engine.state.metrics["dice"] = metric()

    return validator


def train(out, *, workers=0, resume=False, prepare=None):
    """A whole run with validation, log and checkpoints; the metric is a function of the weights."""
    trainer = make_trainer(workers=workers, seed=0 if not resume else 123)

    def metric():
        # Falls after the second epoch, so that best and last differ.
        weight = float(trainer.method.network[0].weight.detach().sum())
        return weight + (10 if trainer.state.epoch == 2 else 0)

    validator = make_validator(metric)
    ValidationHandler(1, validator).attach(trainer)
    JsonLogHandler(Path(out) / "log.jsonl", interval=3, validator=validator).attach(trainer)
    checkpointer = Checkpointer(out, validator=validator)
    run = start_run(
        out,
        config={"lr": 0.1, "resume": resume},
        dataset="rows",
        method="tiny",
        labeled=2,
        seed=0,
        selection="validation",
        split_sha256="0" * 64,
        resume=resume,
    )
    if prepare is not None:
        prepare(trainer)
    run_training(trainer, run=run, checkpointer=checkpointer, resume=resume)
    return trainer


def _die_at(step):
    def prepare(trainer):
        @trainer.on(Events.ITERATION_COMPLETED(once=step))
        def _kill(engine):
            os.kill(os.getpid(), signal.SIGKILL)

    return prepare


def _die_in_save(number):
    def prepare(trainer):
        saves = count(1)
        save = torch.save

        def cut_short(value, path):
            if next(saves) == number:
                save(value, path)
                Path(path).write_bytes(Path(path).read_bytes()[:1000])
                os.kill(os.getpid(), signal.SIGKILL)
            save(value, path)

        torch.save = cut_short

    return prepare


def _fork(arguments):
    """Start a run that kills itself in a process that need not import everything again."""
    child = os.fork()
    if child:
        return child
    dies = _die_at(arguments["step"]) if "step" in arguments else _die_in_save(arguments["save"])
    train(arguments["out"], workers=arguments["workers"], prepare=dies)
    os._exit(0)


if __name__ == "__main__":
    children = [_fork(arguments) for arguments in json.loads(sys.argv[1])]
    statuses = [os.waitpid(child, 0)[1] for child in children]
    print(json.dumps([os.WIFSIGNALED(status) and os.WTERMSIG(status) for status in statuses]))
