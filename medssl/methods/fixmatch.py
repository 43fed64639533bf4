"""FixMatch for segmentation: confident pseudo-labels of a weak view teach a strong one.

Sources: FixMatch (Sohn et al. 2020), as the code published with UniMatch (Yang et al., CVPR 2023) and
UniMatch V2 (TPAMI 2025) runs it on images; ``docs/methods/fixmatch.md`` holds the table "paper, published
code, medssl".
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from medssl.common.draws import step_generator
from medssl.common.errors import InputError, unknown_name
from medssl.losses import cross_entropy
from medssl.methods.base import Batch, Method, PseudoLabels
from medssl.methods.mixing import cutmix_boxes, paste
from medssl.methods.targets import Target, Unlabeled, evaluated, rows_of, views_for
from medssl.methods.teacher import Teacher
from medssl.networks import Network, Output
from medssl.reliability import ConfidenceThreshold, Selection, Selector, choose

Criterion = Callable[[Tensor, Tensor], Tensor]
Partner = Literal["drawn", "flipped"]
Source = Literal["none", "ema"]


@dataclass(frozen=True)
class Passes:
    """What the student gave in one step.

    Attributes:
        labeled: logits ``(L, K, *S)``.
        strong: of all strong views, one behind the other.
        weak: of the weak views, detached; None where the teacher alone looks at them.
        perturbed: logits ``(U, K, *S)`` of the weak views with perturbed features, if any.
    """

    labeled: Tensor
    strong: Output
    weak: Output | None = None
    perturbed: Tensor | None = None


class FixMatch(Method):
    """FixMatch on images and volumes, with CutMix on the strong views.

    The first decoder learns: ``L = (Lx + Ls) / 2``. ``Lx`` is the criterion on labelled images under the weak
    augmentation; ``Ls`` the cross-entropy of the strong view with the weak view's pseudo-labels, summed over
    the believed voxels and divided by the number of all that are image and not padding.

    A box of another unlabelled image, with its pseudo-labels, its mask of belief and its padding, is pasted
    into the strong view. The selector judges whole images, before anything is pasted.

    Args:
        network: the student.
        selector: who chooses the pseudo-labels; None believes from ``threshold`` on. One that needs several
            views (``min_views``) sees the student's prediction of the weak view and the EMA teacher's. What
            it weighs is weighed; what it rules out is not used, for the method has no negative loss.
        threshold: least confidence, for no selector.
        criterion: loss of logits and labels on labelled images; None for cross-entropy.
        partner: whose boxes are pasted. ``"drawn"``, as published with UniMatch: those of as many images
            more, which every batch then holds behind the others; they are predicted in evaluation mode and
            judged by themselves, since embeddings of the two modes are no sample of one distribution.
            ``"flipped"``, as published with UniMatch V2: those of the same images, the last first.
        teacher: whose pseudo-labels. ``"none"``: the student's own, from one pass over labelled and weak
            images together, in training mode; ``"ema"``, as in UniMatch V2: those of a mean teacher in
            evaluation mode.
        alpha: upper bound of the teacher's decay, where there is one; its buffers are the student's.
        cutmix: probability of a box, by image and view.
        seed: of boxes.

    Raises:
        InputError: an unknown ``partner`` or ``teacher``, or a probability outside [0, 1].
    """

    views: tuple[str, ...] = ("weak", "strong1")
    wants_valid = True
    weights: ClassVar[Mapping[str, float]] = {"supervised": 0.5, "strong": 0.5}
    """Of the terms of the loss."""

    def __init__(
        self,
        network: Network,
        *,
        selector: Selector | None = None,
        threshold: float = 0.95,
        criterion: Criterion | None = None,
        partner: Partner = "drawn",
        teacher: Source = "none",
        alpha: float = 0.996,
        cutmix: float = 0.5,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value, known in (("partner", partner, Partner), ("teacher", teacher, Source)):
            if value not in get_args(known):
                raise unknown_name(name, str(value), get_args(known))
        for name, probability in (("threshold", threshold), ("cutmix", cutmix)):
            if not 0 <= probability <= 1:
                raise InputError(f"{name}={probability}", "out of range", "give a number in [0, 1]")
        self.network = network
        self.selector = ConfidenceThreshold(threshold) if selector is None else selector
        self.criterion = cross_entropy if criterion is None else criterion
        self.partner, self.source = partner, teacher
        self.partners = partner == "drawn"
        if teacher == "ema" or self.selector.min_views > 1:
            self.teacher = Teacher(network, alpha=alpha, buffers="copy", mode="eval")
        self.cutmix, self.seed = cutmix, seed

    def training_step(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Losses of one batch.

        Entries: ``loss``; every term before its weight (``supervised``, ``strong`` and, of methods that have
        them, ``feature`` and ``rank``); ``selected``, the share of the valid voxels that is believed.
        """
        rng = step_generator(self.seed, step)
        own, partner = self._rows(batch)
        boxes = [self._boxes(own.views[view], rng) for view in self.views[1:]]
        strong = [
            paste(box, partner.views[view], own.views[view])
            for box, view in zip(boxes, self.views[1:], strict=True)
        ]
        # The partner's pseudo-labels come before the student's pass moves its running statistics.
        theirs = self._target(partner, None) if self.partners else None
        passes = self._passes(batch.labeled_images, own.views["weak"], strong, rng)
        self._observe(batch, passes.labeled)
        ours = self._target(own, passes.weak)
        theirs = ours.flipped() if theirs is None else theirs
        terms = {"supervised": self.criterion(passes.labeled, batch.labels)}
        terms |= self._unlabeled_terms(passes, ours, theirs, boxes, rng)
        loss = torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()
        return {
            "loss": loss,
            **{name: term.detach() for name, term in terms.items()},
            "selected": ours.selected(),
        }

    @torch.no_grad()
    def pseudo_labels(self, images: Tensor, *, valid: Tensor | None = None) -> PseudoLabels:
        """The pseudo-labels of the weak view, for the student.

        Batch statistics, where the student judges, are those of ``images`` alone, while a training step
        normalises it by the labelled images, too.
        """
        outputs = self._judges(images, self.network(images) if self.source == "none" else None)
        views, features = self._views(outputs)
        selection = choose(self.selector, views, features=features, valid=valid)
        return PseudoLabels(views, {"student": selection}, features)

    def _rows(self, batch: Batch) -> tuple[Unlabeled, Unlabeled]:
        """The images to learn from, and those whose boxes are pasted."""
        rows = len(batch.unlabeled["weak"])
        if not self.partners:
            own = Unlabeled.of(batch, slice(rows))
            return own, own.flipped()
        return Unlabeled.of(batch, slice(rows // 2)), Unlabeled.of(batch, slice(rows // 2, rows))

    def _boxes(self, images: Tensor, rng: np.random.Generator) -> Tensor:
        boxes = cutmix_boxes(len(images), images.shape[2:], rng, probability=self.cutmix)
        return boxes.to(images.device, non_blocking=True)

    def _passes(
        self, labeled: Tensor, weak: Tensor, strong: Sequence[Tensor], rng: np.random.Generator
    ) -> Passes:
        """The student on all images, in the joint batches of the published code.

        What shares a batch shares its statistics: labelled and weak images where the student judges itself,
        labelled and strong ones where the teacher does.
        """
        if self.source == "none":
            output = self.network(torch.cat([labeled, weak]))
            strongly = self.network(torch.cat(list(strong)))
            rows = slice(len(labeled), None)
            return Passes(
                output.logits[0][: len(labeled)], strongly, weak=rows_of(output, rows, detached=True)
            )
        output = self.network(torch.cat([labeled, *strong]))
        return Passes(output.logits[0][: len(labeled)], rows_of(output, slice(len(labeled), None)))

    def _unlabeled_terms(
        self,
        passes: Passes,
        ours: Target,
        theirs: Target,
        boxes: Sequence[Tensor],
        rng: np.random.Generator,
    ) -> dict[str, Tensor]:
        """The unlabelled terms, before their weights."""
        logits = passes.strong.logits[0].chunk(len(boxes))
        losses = [ours.with_pasted(theirs, box).loss(view) for box, view in zip(boxes, logits, strict=True)]
        return {"strong": torch.stack(losses).mean()}

    @torch.no_grad()
    def _target(self, unlabeled: Unlabeled, student: Output | None) -> Target:
        """What is believed of the weak views; ``student`` as for :meth:`_judges`."""
        outputs = self._judges(unlabeled.views["weak"], student)
        views, features = self._views(outputs)
        selection: Selection = choose(self.selector, views, features=features, valid=unlabeled.valid)
        return Target(selection, unlabeled.valid, self._context(outputs[0]))

    @torch.no_grad()
    def _observe(self, batch: Batch, student: Tensor) -> None:
        """Show the labelled images to a selector that wants them, as those who judge the weak views see them.

        Args:
            batch: the labelled images and their labels.
            student: the student's logits of them, in training mode, as the weak views' are.
        """
        if self.selector.wants_labeled:
            outputs = self._judges(batch.labeled_images, Output((student.detach(),), ()))
            self.selector.observe(self._views(outputs)[0], batch.labels)

    def _judges(self, weak: Tensor, student: Output | None) -> tuple[Output, ...]:
        """Who looks at the weak views: student, teacher, or both where the selector needs two views.

        Args:
            weak: the images.
            student: what the student gave for them; None to have it look at them in evaluation mode.
        """
        teacher = () if self.teacher is None else (self.teacher(weak),)
        if self.source == "ema" and self.selector.min_views < 2:
            return teacher
        return (evaluated(self.network, weak) if student is None else student, *teacher)

    def _views(self, outputs: Sequence[Output]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...] | None]:
        """What the selector is shown of what was given."""
        return views_for(self.selector, outputs)

    def _context(self, output: Output) -> Tensor | None:
        """The embeddings of the weak view that a method compares with the strong one's; none here."""
        return None
