"""ConformalSAM's training: first an annotator's calibrated labels teach the student, then its own.

Source: "ConformalSAM: Unlocking the Potential of Foundational Segmentation Models in Semi-Supervised Semantic
Segmentation with Conformal Prediction" (ICCV 2025). No code was published; ``docs/methods/conformalsam.md``
holds the table "paper, medssl".
"""

from collections.abc import Callable

import torch
from torch import Tensor

from medssl.common.constants import IGNORE
from medssl.losses import cross_entropy
from medssl.methods.base import Batch, Method, PseudoLabels
from medssl.methods.self_reliance import SelfReliance
from medssl.methods.targets import Target, evaluated, rows_of, views_for
from medssl.methods.teacher import Teacher
from medssl.networks import Network, Output
from medssl.reliability import ConfidenceThreshold, Selection, Selector, choose

Criterion = Callable[[Tensor, Tensor], Tensor]
ANNOTATION = "annotation"


class ConformalSelfTraining(Method):
    """Self-training that an annotator begins, on images and volumes.

    The first decoder learns. ``L_s`` is the criterion on labelled images.

    - Stage I: ``L = L_s + annotator_weight * L_u``. ``L_u`` is the cross-entropy with the annotator's
      labels, mean over the pixels where they are believed, as of labels with an ignored class. The paper
      gives no weight; 1 treats both kinds of labels alike.
    - Stage II: ``L = (1 - lambda(t)) L_s + lambda(t) L_u`` (:class:`SelfReliance`). The annotator's labels
      are dropped; ``L_u`` is the cross-entropy with the student's own most probable class, where the
      selector believes it, summed and divided by the number of all pixels that are image. The paper
      believes all.

    As in the paper one weak view is both judged and learnt from, in one pass with the labelled images; the
    pseudo-labels of stage II are those of that pass. Padding teaches nothing.

    Args:
        network: the student.
        total_steps: optimiser steps of the whole training.
        selector: who believes the student in stage II; None believes everything. One that needs two views
            sees an averaged teacher's, too.
        criterion: loss of logits and labels on labelled images; None for cross-entropy.
        switch: share of the training that is stage I.
        weight: lambda at the start of stage II.
        decay: how many times lambda falls by e until its end.
        annotator_weight: of ``L_u`` in stage I.
        strong: learn from a strong view of the unlabelled images, which the paper has not; the student, in
            evaluation mode, then judges the weak one.

    Raises:
        InputError: what :class:`SelfReliance` refuses.
        ValueError: a negative ``annotator_weight``.
    """

    views: tuple[str, ...] = ("weak", ANNOTATION)
    wants_valid = True

    def __init__(
        self,
        network: Network,
        *,
        total_steps: int,
        selector: Selector | None = None,
        criterion: Criterion | None = None,
        switch: float = 0.75,
        weight: float = 0.5,
        decay: float = 5.0,
        annotator_weight: float = 1.0,
        strong: bool = False,
    ) -> None:
        super().__init__()
        if not annotator_weight >= 0:
            raise ValueError(f"annotator_weight must not be negative, got {annotator_weight}")
        self.schedule = SelfReliance(total_steps, switch, weight, decay)
        self.network = network
        self.selector = ConfidenceThreshold(0.0) if selector is None else selector
        self.criterion = cross_entropy if criterion is None else criterion
        self.annotator_weight = annotator_weight
        self.learnt = "strong1" if strong else "weak"
        if strong:
            self.views = ("weak", "strong1", ANNOTATION)
        if self.selector.min_views > 1:
            self.teacher = Teacher(network, alpha=0.996, buffers="copy", mode="eval")
        self._next_step = 0

    def training_step(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Losses of one batch.

        Entries: ``loss``; ``supervised`` and ``unlabeled``, ``L_s`` and ``L_u``; ``unlabeled_weight``, that
        of ``L_u``; ``selected``, the share of the unlabelled pixels that are image whose label is believed.
        """
        self._next_step = step + 1
        own = self.schedule.own(step)
        weak, rows = batch.unlabeled["weak"], len(batch.labeled_images)
        # The student judges a weak view that it does not learn from before the pass that learns.
        judged = evaluated(self.network, weak) if own and self.learnt != "weak" else None
        output = self.network(batch.images(self.learnt))
        logits = output.logits[0]
        self._observe(batch, rows_of(output, slice(rows), detached=True))
        if not own:
            labels = _padded(batch.unlabeled[ANNOTATION], batch.valid)
            believed, supervised_weight, weight = labels != IGNORE, 1.0, self.annotator_weight
            unlabeled = cross_entropy(logits[rows:], labels)
            selected = _share(believed, batch.valid)
        else:
            student = rows_of(output, slice(rows, None), detached=True) if judged is None else judged
            outputs = (student, *self._teachers(weak))
            target = Target(self._select(outputs, batch.valid)[0], batch.valid)
            weight = self.schedule.weight(step)
            supervised_weight = 1 - weight
            unlabeled, selected = target.loss(logits[rows:]), target.selected()
        supervised = self.criterion(logits[:rows], batch.labels)
        return {
            "loss": supervised_weight * supervised + weight * unlabeled,
            "supervised": supervised.detach(),
            "unlabeled": unlabeled.detach(),
            "unlabeled_weight": torch.tensor(weight),
            "selected": selected,
        }

    @torch.no_grad()
    def pseudo_labels(
        self, images: Tensor, *, valid: Tensor | None = None, annotation: Tensor | None = None
    ) -> PseudoLabels:
        """The labels that the next step would train on: the annotator's, or the student's own.

        Args:
            images: weak views ``(U, C, *S)``.
            valid: bool ``(U, *S)``, image and not padding.
            annotation: the annotator's labels ``(U, *S)``, 255 where ignored; stage I needs them.

        Raises:
            ValueError: stage I, and no ``annotation``.
        """
        outputs = (self.network(images), *self._teachers(images))
        selection, views, features = self._select(outputs, valid)
        if not self.schedule.own(self._next_step):
            if annotation is None:
                raise ValueError("annotation must be given in stage I, where it is what is learnt")
            labels = _padded(annotation.long(), valid)
            believed = labels != IGNORE
            selection = Selection(labels.where(believed, selection.labels), believed)
        return PseudoLabels(views, {"student": selection}, features)

    def schedule_warnings(self, steps: int) -> list[str]:
        """A line where the stages were made for a training of another length."""
        if steps == self.schedule.total_steps:
            return []
        planned = self.schedule.total_steps
        remedy = "give method_options::total_steps '@max_steps'"
        return [f"stages of a training of {planned} steps, and this one has {steps}; {remedy}"]

    def _select(
        self, outputs: tuple[Output, ...], valid: Tensor | None
    ) -> tuple[Selection, tuple[Tensor, ...], tuple[Tensor, ...] | None]:
        """What the selector believes, of which views and embeddings of the first decoder."""
        views, features = views_for(self.selector, outputs)
        views = tuple(view.detach() for view in views)
        return choose(self.selector, views, features=features, valid=valid), views, features

    def _observe(self, batch: Batch, student: Output) -> None:
        """Show the selector what is said of the labelled images, in either stage, if it wants to see it."""
        if self.selector.wants_labeled:
            judges = (student, *self._teachers(batch.labeled_images))
            self.selector.observe(views_for(self.selector, judges)[0], batch.labels)

    def _teachers(self, images: Tensor) -> tuple[Output, ...]:
        return () if self.teacher is None else (self.teacher(images),)


def _padded(labels: Tensor, valid: Tensor | None) -> Tensor:
    """The labels, ignored where there is padding."""
    return labels if valid is None else labels.masked_fill(~valid, IGNORE)


def _share(believed: Tensor, valid: Tensor | None) -> Tensor:
    return believed.sum() / (believed.numel() if valid is None else valid.sum().clamp(min=1))
