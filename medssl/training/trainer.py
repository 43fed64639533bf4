"""The one trainer of all methods, on MONAI's engine."""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, get_args

import torch
from ignite.engine import Events
from monai.data import MetaTensor
from monai.engines import Trainer
from monai.engines.utils import IterationEvents
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from medssl.common.errors import unknown_name
from medssl.common.precision import Precision, autocast
from medssl.common.ranks import world_size
from medssl.common.rng import RngState, set_rng_state
from medssl.inference.deployable import to_channels_last
from medssl.methods.base import Batch, Method

logger = logging.getLogger(__name__)


class NonFiniteLossError(RuntimeError):
    """The loss became NaN or infinite; the message holds the step and all parts of the loss.

    Args:
        step: the step, counted from 0, whose loss it was; its optimiser step was not taken.
        parts: the loss and its parts.
    """

    def __init__(self, step: int, parts: Mapping[str, float]) -> None:
        listed = ", ".join(f"{name}={value:.6g}" for name, value in parts.items())
        remedy = "lower --learning_rate or set --max_grad_norm 1; with --amp fp16 try bf16"
        super().__init__(f"non-finite loss at step {step}: {listed}; {remedy}")
        self.step, self.parts = step, dict(parts)

    def __reduce__(self) -> tuple[type["NonFiniteLossError"], tuple[int, dict[str, float]]]:
        """Pickle with the two parts."""
        return type(self), (self.step, self.parts)


class _TrainingStep(nn.Module):
    """``method.training_step`` as a forward pass.

    Wrapping this, and not the network, in ``DistributedDataParallel`` leaves the network's attributes
    and state-dict keys alone and lets a method run the network as often as it likes within one step.
    """

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        return self.method.training_step(batch, step)


class SemiSupervisedTrainer(Trainer):
    """Trains a :class:`~medssl.methods.Method` on batches of labelled and unlabelled images.

    MONAI's ``SupervisedTrainer`` computes one loss of one prediction; here the method turns a batch into
    losses. One iteration: batch to the device, ``method.training_step`` under autocast, backward,
    clipping, optimiser, scheduler, ``method.after_step``. An epoch is a fixed number of steps, so that
    validation and checkpoints do not depend on how many scans there are.

    ``state.output`` of an iteration is a dictionary of Python floats: ``loss``, the other entries of the
    method and ``lr``, the learning rate of this step. Give MONAI's ``StatsHandler`` and
    ``TensorBoardStatsHandler`` ``output_transform=lambda x: x`` to log them. With several processes they
    are those of the own process.

    Where a process group is initialised, gradients are averaged over the processes, which start from the
    first one's weights; buffers are set to the first process's at the end of every epoch.

    Args:
        device: where to train.
        max_epochs: epochs in all, those of an earlier part of the run included.
        train_data_loader: batches as :func:`~medssl.data.two_stream_loader` gives them: ``image``
            ``(L, C, *S)``, ``label`` ``(L, *S)``, ``unlabeled`` with the method's views ``(U, C, *S)`` by
            name, and perhaps ``valid`` ``(U, *S)``. If its ``batch_sampler`` has an attribute ``start``,
            this is set to the number of completed steps whenever an iteration over the loader begins.
        method: what to train; moved to the device.
        optimizer: over ``method.network``'s parameters.
        steps_per_epoch: optimiser steps in an epoch.
        amp: ``"off"`` float32; ``"bf16"``; ``"fp16"`` with a gradient scaler, which skips the optimiser
            step (not the schedule) where a scaled gradient overflows.
            ``"bf16"`` on a CPU keeps convolutions that torch computes wrongly there in float32 (those of
            the smallest maps; :mod:`medssl.common.precision`).
        channels_last: weights and images in channels-last layout; faster convolutions, other rounding.
        compile_network: ``torch.compile`` of the network, in place.
        max_grad_norm: clip the norm of all gradients together to this.
        lr_scheduler: stepped after every optimiser step (so count its milestones in steps).
        train_handlers: handlers; entries that are None (``_disabled_`` in a bundle) are left out.

    Raises:
        InputError: unknown ``amp``.
        ValueError: a count or a norm that is not positive.
        NonFiniteLossError: while running; the optimiser step is not taken.
    """

    def __init__(
        self,
        *,
        device: torch.device | str,
        max_epochs: int,
        train_data_loader: Iterable[Mapping[str, Any]],
        method: Method,
        optimizer: torch.optim.Optimizer,
        steps_per_epoch: int,
        amp: Precision = "off",
        channels_last: bool = False,
        compile_network: bool = False,
        max_grad_norm: float | None = None,
        lr_scheduler: torch.optim.lr_scheduler.LRScheduler | None = None,
        train_handlers: Sequence[Any] | None = None,
    ) -> None:
        if amp not in get_args(Precision):
            raise unknown_name("amp", str(amp), get_args(Precision))
        for name, count in (("max_epochs", max_epochs), ("steps_per_epoch", steps_per_epoch)):
            if count < 1:
                raise ValueError(f"{name} must be at least 1, got {count}")
        if max_grad_norm is not None and not max_grad_norm > 0:
            raise ValueError(f"max_grad_norm must be positive, got {max_grad_norm}")
        super().__init__(
            device=device,
            max_epochs=max_epochs,
            data_loader=train_data_loader,
            epoch_length=steps_per_epoch,
            decollate=False,
        )
        self.method = method.to(self.state.device)
        self.optimizer, self.lr_scheduler = optimizer, lr_scheduler
        self.precision, self.channels_last, self.max_grad_norm = amp, channels_last, max_grad_norm
        self.grad_scaler = torch.amp.GradScaler(self.state.device.type, enabled=amp == "fp16")
        self._rng: RngState | None = None
        if channels_last:
            for tensor in (*method.parameters(), *method.buffers()):
                tensor.data = to_channels_last(tensor.data)
        if compile_network:
            method.network.compile()
        self._step: nn.Module = _TrainingStep(method)
        if world_size() > 1:
            # Buffers are not broadcast before every step: normalisation buffers would change under a
            # method's second forward pass.
            self._step = DistributedDataParallel(self._step, broadcast_buffers=False)
            self.add_event_handler(Events.EPOCH_COMPLETED, self._share_buffers)
        self.add_event_handler(Events.STARTED | Events.DATALOADER_STOP_ITERATION, self._position_loader)
        self.add_event_handler(Events.GET_BATCH_STARTED, self._restore_rng)
        self._register_handlers([h for h in train_handlers or () if h is not None])

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole training."""
        return int(self.state.max_epochs * self.state.epoch_length)

    def run(self) -> None:
        """Train until ``max_epochs``; a training that has got there already is left as it is."""
        if self.state.iteration >= self.total_steps:
            # Ignite would begin again from step 0.
            logger.info("training is complete: %d of %d steps", self.state.iteration, self.total_steps)
            return
        super().run()

    def resume_at(self, step: int, *, rng: RngState) -> None:
        """Continue after ``step`` completed steps when :meth:`run` is called.

        The generators are set when the first batch is asked for and not before: creating the loader's
        iterator draws numbers, too.
        """
        self.state.iteration = step
        self.state.epoch = step // self.state.epoch_length
        self._rng = rng

    def prepare(self, batchdata: Mapping[str, Any]) -> Batch:
        """A loader's batch as a :class:`~medssl.methods.Batch` on the device.

        Raises:
            ValueError: not as many images as labels, or a view of the method that the loader does not make.
        """
        images, labels = (self._to_device(batchdata[key]) for key in ("image", "label"))
        if len(images) != len(labels):
            raise ValueError(f"image and label must have as many rows, got {len(images)} and {len(labels)}")
        views, valid = batchdata.get("unlabeled", {}), batchdata.get("valid")
        missing = [view for view in self.method.views if view not in views]
        if missing:
            raise ValueError(
                f"the loader must make the method's views={self.method.views}, missing {missing}"
            )
        return Batch(
            images,
            labels,
            {view: self._to_device(views[view]) for view in self.method.views},
            None if valid is None else self._to_device(valid),
        )

    def _to_device(self, tensor: Tensor) -> Tensor:
        if isinstance(tensor, MetaTensor):
            tensor = tensor.as_tensor()
        tensor = tensor.to(self.state.device, non_blocking=True)
        return to_channels_last(tensor) if self.channels_last and tensor.is_floating_point() else tensor

    def autocast(self) -> AbstractContextManager[Any]:
        """The precision that training steps run in."""
        return autocast(self.state.device, self.precision)

    def _iteration(self, engine: Any, batchdata: Mapping[str, Any]) -> dict[str, float]:
        step = self.state.iteration - 1
        batch = self.prepare(batchdata)
        self.method.train()
        self.optimizer.zero_grad(set_to_none=True)
        with self.autocast():
            losses: dict[str, Tensor] = self._step(batch, step)
        engine.fire_event(IterationEvents.LOSS_COMPLETED)
        output = self._read(losses)
        if not math.isfinite(output["loss"]):
            raise NonFiniteLossError(step, output)
        output["lr"] = float(self.optimizer.param_groups[0]["lr"])
        torch.autograd.backward(self.grad_scaler.scale(losses["loss"]))
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
        if self.max_grad_norm is not None:
            self.grad_scaler.unscale_(self.optimizer)
            parameters = (p for group in self.optimizer.param_groups for p in group["params"])
            nn.utils.clip_grad_norm_(parameters, self.max_grad_norm)
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()
        if self.lr_scheduler is not None:
            self.lr_scheduler.step()
        self.method.after_step(step)
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return output

    def _read(self, losses: Mapping[str, Tensor]) -> dict[str, float]:
        """All entries as floats, with one transfer from the device."""
        device = self.state.device
        values = torch.stack([value.detach().to(device, torch.float32) for value in losses.values()])
        return dict(zip(losses, values.tolist(), strict=True))

    def _position_loader(self) -> None:
        sampler: Any = getattr(self.data_loader, "batch_sampler", None)
        if hasattr(sampler, "start"):
            sampler.start = self.state.iteration

    def _restore_rng(self) -> None:
        if self._rng is not None:
            set_rng_state(self._rng, self.state.device)
            self._rng = None

    def _share_buffers(self) -> None:
        for buffer in self.method.buffers():
            torch.distributed.broadcast(buffer, src=0)
