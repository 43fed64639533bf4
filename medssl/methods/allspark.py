"""AllSpark: labelled features are rebuilt from unlabelled ones; and ConformalSAM on top of it.

Sources: "AllSpark: Reborn Labeled Features from Unlabeled in Transformer for Semi-Supervised Semantic
Segmentation" (Wang et al., CVPR 2024) and the code published with it; "ConformalSAM" (ICCV 2025) for
``annotated``. ``docs/methods/allspark.md`` holds the table "published code, medssl".
"""

from dataclasses import replace

import torch
from torch import Tensor

from medssl.common.constants import IGNORE
from medssl.common.errors import InputError
from medssl.losses import Over, cross_entropy, positive_loss
from medssl.methods.base import Batch, Method, PseudoLabels
from medssl.methods.fixmatch import Criterion
from medssl.methods.self_reliance import SelfReliance
from medssl.methods.targets import evaluated, views_for
from medssl.methods.teacher import Teacher
from medssl.networks import AllSparkNetwork, Network, Output
from medssl.reliability import ConfidenceThreshold, Selection, Selector, choose


class AllSpark(Method):
    """AllSpark: self-training in which labelled images are rebuilt from channels of unlabelled ones.

    ``L = (Lx + Lu) / 2``. ``Lx`` is the criterion on labelled images under the strong augmentation, whose
    coarsest map is rebuilt from channels of the batch's unlabelled images (``warmup`` steps) or of the
    semantic memory (:class:`~medssl.networks.AllSparkNetwork`). ``Lu`` is the cross-entropy of the weak view
    with the network's own prediction of that same view in evaluation mode: no threshold, no teacher and no
    strong view, and padding counts as image, as published.

    With ``annotated`` the unlabelled images come with labels of an annotator (the view ``annotation``:
    calibrated labels of a foundation model, 255 where there is none), and training has two stages
    (:class:`~medssl.methods.SelfReliance`). In the first ``Lu`` is the mean over the annotated pixels with
    these labels; in the second the annotator is not asked any more, and
    ``L = (1 - lambda(t)) Lx + lambda(t) Lu`` with the network's own pseudo-labels.

    Only the first decoder learns.

    Args:
        network: the student, an :class:`~medssl.networks.AllSparkNetwork`.
        selector: who chooses among the network's own pseudo-labels; None believes all. Then ``Lu`` is the
            mean over all pixels, those that are not believed counting 0. One that needs several views
            (``min_views``) sees the student's prediction and an EMA teacher's.
        criterion: loss of logits and labels on labelled images; None for cross-entropy.
        module: False for the baseline: identical, on a network without AllSpark's module.
        warmup: steps before labelled images look at the memory. Published are 5 of 80 epochs (VOC) and 15 of
            240 (Cityscapes), both 1/16 of the training.
        ignore_padding: whether padding of the unlabelled images is left out of ``Lu``.
        alpha: upper bound of the decay of a teacher that a selector of several views brings with it.
        annotated: see above.
        total_steps: optimiser steps of the whole training, for ``annotated``.
        switch: share of the training that is the first stage.

    Raises:
        InputError: a network with the module where ``module`` is false or the other way round, a warm-up
            below 0, or ``annotated`` without ``total_steps``.
    """

    views: tuple[str, ...] = ("weak",)
    labeled_view = "strong"
    network: AllSparkNetwork | Network

    def __init__(
        self,
        network: Network,
        *,
        selector: Selector | None = None,
        criterion: Criterion | None = None,
        module: bool = True,
        warmup: int = 0,
        ignore_padding: bool = False,
        alpha: float = 0.996,
        annotated: bool = False,
        total_steps: int | None = None,
        switch: float = 0.75,
    ) -> None:
        super().__init__()
        _check_network(network, module)
        if warmup < 0:
            raise InputError(f"warmup={warmup}", "out of range", "give a number of steps, 0 or more")
        self.network = network
        self.selector = ConfidenceThreshold(0.0) if selector is None else selector
        self.criterion = cross_entropy if criterion is None else criterion
        self.warmup, self.wants_valid = warmup, ignore_padding
        if self.selector.min_views > 1:
            self.teacher = Teacher(network, alpha=alpha, buffers="copy", mode="eval")
        self.reliance: SelfReliance | None = None
        if annotated:
            if total_steps is None:
                raise InputError("annotated", "needs the length of the training", "give total_steps")
            self.reliance = SelfReliance(total_steps, switch)
            self.views = ("weak", "annotation")
        self._next_step = 0

    def training_step(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Losses of one batch.

        Entries: ``loss``; ``supervised`` and ``pseudo``, the terms before their weights; ``selected``, the
        share of the unlabelled pixels that is taught.
        """
        self._next_step = step + 1
        judged = evaluated(self.network, batch.unlabeled["weak"])
        # Whatever is judged in evaluation mode is judged before the pass that moves the running statistics.
        over: Over | Tensor
        if self._asks_annotator(step):
            selection, over = _annotated(batch.unlabeled["annotation"]), "selected"
        else:
            self._observe(batch)
            chosen = self._chosen(batch.unlabeled["weak"], judged, batch.valid)
            selection, over = chosen.selections["student"], "all" if batch.valid is None else batch.valid
        labeled, unlabeled = self._passes(batch, judged, step)
        supervised = self.criterion(labeled, batch.labels)
        pseudo = positive_loss(unlabeled, selection.labels, selection.mask, selection.weight, over=over)
        share = self._share(step)
        return {
            "loss": (1 - share) * supervised + share * pseudo,
            "supervised": supervised.detach(),
            "pseudo": pseudo.detach(),
            "selected": selection.mask.float().mean(),
        }

    @torch.no_grad()
    def pseudo_labels(
        self, images: Tensor, *, valid: Tensor | None = None, annotation: Tensor | None = None
    ) -> PseudoLabels:
        """The labels that the next step would train on: the network's own, or the annotator's.

        Args:
            images: weak views ``(U, C, *S)``.
            valid: bool ``(U, *S)``, image and not padding.
            annotation: the annotator's labels ``(U, *S)``, 255 where ignored; the first stage needs them.

        Raises:
            ValueError: the first stage, and no ``annotation``.
        """
        chosen = self._chosen(images, evaluated(self.network, images), valid)
        if not self._asks_annotator(self._next_step):
            return chosen
        if annotation is None:
            raise ValueError("annotation must be given in the first stage, where it is what is learnt")
        return replace(chosen, selections={"student": _annotated(annotation.long())})

    def schedule_warnings(self, steps: int) -> list[str]:
        """A memory that is never looked at, and stages of a training of another length."""
        warnings = []
        if isinstance(self.network, AllSparkNetwork) and self.warmup >= steps:
            warnings.append(
                f"warmup of {self.warmup} steps: labelled images never look at the memory in {steps} steps; "
                "set warmup to a sixteenth of them, as published"
            )
        if self.reliance is not None and self.reliance.total_steps != steps:
            warnings.append(
                f"total_steps={self.reliance.total_steps}: the second stage is set for a training of that "
                f"length, and this one has {steps} steps; set them alike"
            )
        return warnings

    def _asks_annotator(self, step: int) -> bool:
        return self.reliance is not None and not self.reliance.own(step)

    def _passes(self, batch: Batch, judged: Output, step: int) -> tuple[Tensor, Tensor]:
        """Logits of the labelled and of the weak images, from one pass over both."""
        images, rows = batch.images(), len(batch.labels)
        if isinstance(self.network, AllSparkNetwork):
            maps, size = self.network.encode(images), images.shape[2:]
            output = self.network.decode_together(
                maps, size, labeled=rows, logits=judged.logits[0], recall=step >= self.warmup
            )
        else:
            output = self.network(images)
        return output.logits[0][:rows], output.logits[0][rows:]

    @torch.no_grad()
    def _observe(self, batch: Batch) -> None:
        """Show the labelled images, as the weak ones are judged, to a selector that wants them."""
        if self.selector.wants_labeled:
            images = batch.labeled_images
            judges = (evaluated(self.network, images), *self._teachers(images))
            self.selector.observe(views_for(self.selector, judges)[0], batch.labels)

    def _teachers(self, images: Tensor) -> tuple[Output, ...]:
        return () if self.teacher is None else (self.teacher(images),)

    @torch.no_grad()
    def _chosen(self, images: Tensor, judged: Output, valid: Tensor | None) -> PseudoLabels:
        """What is believed of the network's own prediction of the weak images."""
        views, features = views_for(self.selector, (judged, *self._teachers(images)))
        selection = choose(self.selector, views, features=features, valid=valid)
        return PseudoLabels(views, {"student": selection}, features)

    def _share(self, step: int) -> float:
        """Weight of the unlabelled term; the labelled one has the rest."""
        return 0.5 if self.reliance is None or not self.reliance.own(step) else self.reliance.weight(step)


def _annotated(labels: Tensor) -> Selection:
    """An annotator's labels, believed where there are some."""
    mask = labels != IGNORE
    return Selection(labels.where(mask, 0), mask)


def _check_network(network: Network, module: bool) -> None:
    """Refuse a network with AllSpark's module where none is wanted, or the other way round."""
    has_module = isinstance(network, AllSparkNetwork)
    if module and not has_module:
        raise InputError(
            f"network {type(network).__name__}",
            "is without AllSpark's module",
            "wrap it in medssl.networks.AllSparkNetwork (--network allspark_b5), or take the baseline "
            "(module=False; the method allspark_baseline)",
        )
    if has_module and not module:
        raise InputError(
            "module=False", "the network has AllSpark's module", "give the network that it wraps"
        )
