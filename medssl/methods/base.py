"""What a method is: how one batch of labelled and unlabelled images becomes losses."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from medssl.common.errors import InputError, unknown_name
from medssl.methods.teacher import Teacher
from medssl.networks import Network
from medssl.reliability import Selection

Deploys = Literal["student", "teacher"]


@dataclass(frozen=True)
class Batch:
    """One training batch; the unlabelled half carries no label, by construction.

    Attributes:
        labeled_images: ``(L, C, *S)`` float.
        labels: ``(L, *S)`` integer class ids, 255 where ignored.
        unlabeled: views of the unlabelled images ``(U, C, *S)`` float, those that the method asks for. The
            view ``"annotation"`` holds an annotator's labels of them, int64 ``(U, *S)``, 255 where ignored.
        valid: bool ``(U, *S)``, the voxels of the unlabelled images that are image and not padding; None
            where all are, or where the method does not ask.
    """

    labeled_images: Tensor
    labels: Tensor
    unlabeled: Mapping[str, Tensor] = field(default_factory=dict)
    valid: Tensor | None = None

    def images(self, view: str = "weak") -> Tensor:
        """All images, labelled first, the others in one view: ``(L + U, C, *S)``."""
        return torch.cat([self.labeled_images, self.unlabeled[view]])


@dataclass(frozen=True)
class PseudoLabels:
    """What a method would train on for some unlabelled images. Nothing in it carries a gradient.

    Attributes:
        views: probabilities ``(U, K, *S)`` each, at least one, from which any other selector may choose.
        selections: the method's own pseudo-labels and which of them it believes, ``(U, *S)``, by who learns
            from them; empty where a switch of the method turns them off.
        features: decoder embeddings ``(U, C, *S)`` a view; None where the method looks at none.
    """

    views: tuple[Tensor, ...]
    selections: Mapping[str, Selection]
    features: tuple[Tensor, ...] | None = None


class Method(nn.Module, ABC):
    """How one batch of labelled and unlabelled images becomes losses.

    ``network`` is what the optimiser trains. A method that has a teacher keeps it in ``teacher``;
    ``after_step`` is where it is updated. A method that believes pseudo-labels takes ``selector=`` and keeps
    it as a module, so that its state is saved and resumed. Nothing in a method knows a data set.
    """

    views: tuple[str, ...] = ()
    """The views of the unlabelled images that a step looks at; none for a supervised method."""
    wants_valid: bool = False
    """Whether a step asks which voxels of the unlabelled images are padding."""
    partners: bool = False
    """Whether a step wants a second set of unlabelled images, to be cut into the first: every view then holds
    the ``U`` images that are learnt from, and behind them ``U`` others."""

    labeled_view: str = "weak"
    """The view of the labelled images that a step learns from."""

    deploys: Deploys = "student"
    """Whose weights are validated, and kept for predictions."""

    network: Network
    teacher: Teacher | None

    def __init__(self) -> None:
        super().__init__()
        self.teacher = None

    @abstractmethod
    def training_step(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Losses of one batch.

        Args:
            batch: labelled and unlabelled images.
            step: optimiser steps completed before this one, from 0; schedules and everything drawn at
                random depend on it, on the seed and on the rank alone.

        Returns:
            Scalars. ``"loss"`` is what is minimised; every other entry is detached and logged.
            ``"supervised"``, ``"selected"`` (a share) and unlabelled losses with a name that other methods
            have are watched, too (docs/troubleshooting.md).
        """

    def deploy(self, which: str) -> None:
        """Choose whose weights are validated and kept for predictions: the student's or its teacher's.

        Raises:
            InputError: neither of the two, or a teacher of a method that has none.
        """
        if which not in get_args(Deploys):
            raise unknown_name("deploy", str(which), get_args(Deploys))
        if which == "teacher" and self.teacher is None:
            raise InputError("deploy=teacher", f"{type(self).__name__} has no teacher", "use deploy=student")
        self.deploys = "teacher" if which == "teacher" else "student"

    @property
    def deployed_network(self) -> Network:
        """The network that is validated and kept for predictions: the student, or the teacher's copy."""
        if self.deploys == "teacher" and self.teacher is not None:
            teacher: Network = self.teacher.network  # type: ignore[assignment]
            return teacher
        return self.network

    def predict(self, images: Tensor) -> Tensor:
        """Logits ``(B, K, *S)`` of the deployed path only."""
        return self.deployed_network.deployed(images)

    def pseudo_labels(self, images: Tensor, *, valid: Tensor | None = None) -> PseudoLabels | None:
        """The pseudo-labels that the method would train on now, without gradient.

        For analysis; a training step computes its own. Like a step it runs the networks in the mode they
        are in, which in training mode draws dropout and moves the running statistics.

        Args:
            images: unlabelled images ``(U, C, *S)``.
            valid: bool ``(U, *S)``, image and not padding; given to methods with :attr:`wants_valid`.
                Those that ask for the view ``"annotation"`` are given it by an argument of that name.

        Returns:
            None for a method without pseudo-labels, such as the supervised one.
        """
        return None

    def schedule_warnings(self, steps: int) -> list[str]:
        """What of the method's schedule a training is too short for, a line each with the remedy.

        Args:
            steps: optimiser steps of the whole training.
        """
        return []

    def forward(self, images: Tensor) -> Tensor:
        """The same as :meth:`predict`, so that a method can stand where a network is expected."""
        return self.predict(images)

    def after_step(self, step: int) -> None:
        """Called after the optimiser step number ``step`` (from 0); updates the teacher if there is one."""
        if self.teacher is not None:
            self.teacher.update(self.network, step)
