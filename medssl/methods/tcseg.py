"""TCSeg: dual-axis reliability and calibration in three spaces.

Source: "Are We Overconfident in Models and Results for Semi-Supervised 3D Medical Image Segmentation?"
(Li and Qin, 2026) and the code published with it. Where the two differ, ``preset`` says which is followed;
``docs/methods/tcseg.md`` holds the table "paper, published code, medssl".
"""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from medssl.common.draws import step_generator, torch_generator
from medssl.common.errors import InputError, unknown_name
from medssl.losses import Over, cross_entropy, negative_loss, positive_loss, supervised_loss
from medssl.methods.base import Batch, Method, PseudoLabels
from medssl.methods.mixing import centred_boxes, random_boxes
from medssl.methods.ramps import SigmoidRamp
from medssl.methods.tcseg_rules import (
    RULES,
    Judgement,
    MissingPrototype,
    Pair,
    Preset,
    Views,
    check_decoders,
    views_of,
)
from medssl.methods.teacher import Teacher
from medssl.networks import Network, Output
from medssl.reliability import Selector, perturbation_region

Space = Literal["probability", "feature", "image"]


class TCSeg(Method):
    """TCSeg (Li and Qin, 2026) for any number of classes.

    ``preset="reference"`` (default) follows the published code, which produced the published numbers
    (:class:`~medssl.methods.tcseg_rules.ReferenceRule`); ``preset="paper"`` follows equations 1 to 23
    (:class:`~medssl.methods.tcseg_rules.PaperRule`).

    Args:
        network: the student, with two decoders.
        preset: see above.
        selector: who chooses the pseudo-labels of both decoders, from the student's two views and the
            teacher's; what it does not believe is where the perturbation region starts. None is the preset's
            own rule, in which each decoder learns from the other one. The thresholds and tolerances below are
            the preset's alone.
        tau: tolerance of the uncertainty axis. On the reference scale it bounds the largest difference of
            a class between two probabilities, and ``2 tau`` that of a foreground class between two
            affinities; on the paper's it bounds the L1 distance of both.
        tau_min: a class of at most this probability is ruled out.
        tau_max: a voxel of at least this confidence is confident.
        use_confidence: ``False`` is the ablation w/o C(v).
        use_uncertainty: ``False`` is the ablation w/o U(v).
        spaces: the spaces that are calibrated: pseudo-labels in probability space (eq. 14), prototypes in
            feature space (eq. 15, and their part in all masks), mixing in image space (eq. 17-20).
        use_calibration: ``False`` drops the calibration loss (eq. 15) and keeps the prototypes' part in the
            masks.
        missing_prototype: what stands for the prototype of a class of which a decoder has no confident
            voxel in an image. ``"zero"``, as published: an affinity of 0, which no other affinity is near, so
            that no pseudo-label of the class is believed, and towards which the calibration loss pulls;
            ``"fallback"``: the mean over all voxels that the decoder predicts as the class; ``"exclude"``:
            the class is left out of that image's comparisons and calibration terms. None is the preset's:
            ``"zero"`` for the reference, ``"fallback"`` for the paper, which does not say.
        ramp: weight of the unlabelled losses over the updates; the preset's by default (reference:
            sigmoid to 1 over 6,000 updates in intervals of 150; paper: constant 1).
        warmup: steps before mixing starts; the preset's by default (reference 100, paper 0).
        alpha: upper bound of the teacher's decay.
        pseudo_over: mean of the pseudo-label losses over the ``"selected"`` voxels, as published, or over
            ``"all"``. On small patches few voxels may be selected, and then their mean has gradients that
            undo a training in a few steps (docs/benchmarks.md); over all voxels it fades with them.
        seed: of boxes and structures.
        accumulate_calibration: the published loop adds part of the calibration loss twice (reference
            preset only); ``False`` takes that back.
        misapplied_box_axes: measure random boxes along the wrong axes, as the published code does.
        empty_structure: let the random dilation erase a region, as the published code does.

    Raises:
        InputError: unknown preset, space or remedy, thresholds out of order, a selector that looks at other
            embeddings than those before the classifier, or a network known to have one decoder.
    """

    views = ("weak",)
    teacher: Teacher
    network: Network

    def __init__(
        self,
        network: Network,
        *,
        preset: Preset = "reference",
        selector: Selector | None = None,
        tau: float = 0.05,
        tau_min: float = 0.1,
        tau_max: float = 0.85,
        use_confidence: bool = True,
        use_uncertainty: bool = True,
        spaces: Sequence[Space] = ("probability", "feature", "image"),
        use_calibration: bool = True,
        missing_prototype: MissingPrototype | None = None,
        ramp: SigmoidRamp | None = None,
        warmup: int | None = None,
        alpha: float = 0.99,
        pseudo_over: Over = "selected",
        seed: int = 0,
        accumulate_calibration: bool = True,
        misapplied_box_axes: bool = False,
        empty_structure: bool = False,
    ) -> None:
        super().__init__()
        for name, value, known in (
            ("preset", preset, get_args(Preset)),
            ("pseudo_over", pseudo_over, get_args(Over)),
            ("missing_prototype", missing_prototype, (None, *get_args(MissingPrototype))),
            *(("space", space, get_args(Space)) for space in spaces),
        ):
            if value not in known:
                raise unknown_name(name, str(value), [str(choice) for choice in known])
        if not 0 <= tau_min < tau_max <= 1:
            raise InputError(
                f"tau_min={tau_min}, tau_max={tau_max}", "out of order", "need 0 <= tau_min < tau_max <= 1"
            )
        if selector is not None and selector.features_from != "features":
            fault, remedy = "TCSeg shows no coarser embeddings", "leave out its features_from"
            raise InputError(f"selector {type(selector).__name__}", fault, remedy)
        check_decoders(getattr(network, "decoders", None))  # a bare module is refused elsewhere
        self.network = network
        self.teacher = Teacher(network, alpha=alpha)
        self.rule = RULES[preset](
            tau=tau,
            tau_min=tau_min,
            tau_max=tau_max,
            use_confidence=use_confidence,
            use_uncertainty=use_uncertainty,
            accumulate_calibration=accumulate_calibration,
        )
        self.selector = selector
        self.spaces = frozenset(spaces)
        self.use_calibration = use_calibration and "feature" in self.spaces
        self.missing_prototype: MissingPrototype = missing_prototype or self.rule.missing_prototype
        self.ramp = ramp or self.rule.ramp
        self.warmup = self.rule.warmup if warmup is None else warmup
        self.pseudo_over: Over = pseudo_over
        self.seed = seed
        self.misapplied_box_axes, self.empty_structure = misapplied_box_axes, empty_structure

    def schedule_warnings(self, steps: int) -> list[str]:
        """A ramp, or a warm-up before mixing, that is longer than the training."""
        # The published code does not ramp the mixing up.
        ramped = self.spaces if self.rule.mixing_weight(0.0) == 0 else self.spaces - {"image"}
        warnings = [self.ramp.warning(steps)] if ramped else []
        if "image" in self.spaces and self.warmup >= steps:
            warnings.append(
                f"warmup={self.warmup}: no images are mixed in {steps} steps; set --warmup_share 0.1, say, "
                "or train longer"
            )
        return [line for line in warnings if line]

    def training_step(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Losses of one batch, which needs at least one labelled and one unlabelled image.

        Entries: ``loss``; ``supervised``, ``pseudo``, ``calibration``, ``mixing`` (each before its weight);
        ``ramp``; the shares of unlabelled voxels that are ``positive`` and ``unreliable``.
        """
        labeled = len(batch.labels)
        output: Output = self.network(batch.images())
        views = self._views(output)
        with torch.no_grad():
            teacher = self._views(self.teacher(batch.unlabeled["weak"]))
            self._observe(batch, views.p)
        judgement = self._judge(views.rows(labeled), teacher)
        zero = output.logits[0].new_zeros((), dtype=torch.float32)
        pseudo = calibration = mixing = zero
        if "probability" in self.spaces:
            pseudo = self._pseudo_loss(output, views.rows(labeled), judgement, labeled)
        if self.use_calibration:
            calibration = self.rule.calibration(views)
        region, boxes = self._draw_regions(judgement.unreliable, step)
        if "image" in self.spaces and step >= self.warmup:
            # max and not argmax, which is ten times slower on a CPU
            targets = (teacher.p[1].max(1).indices, teacher.p[0].max(1).indices)
            mixing = self._mixing_loss(batch, targets, boxes if self.rule.pastes_boxes else region)
        supervised = self.rule.supervised_weight * supervised_loss(
            [logits[:labeled] for logits in output.logits], batch.labels
        )
        ramp = self.ramp(step + 1)
        loss = supervised + ramp * (pseudo + calibration) + self.rule.mixing_weight(ramp) * mixing
        return {
            "loss": loss,
            "supervised": supervised.detach(),
            "pseudo": pseudo.detach(),
            "calibration": calibration.detach(),
            "mixing": mixing.detach(),
            "ramp": torch.tensor(ramp),
            "positive": torch.stack([s.mask for s in judgement.selections]).float().mean(),
            "unreliable": judgement.unreliable.float().mean(),
        }

    def judge(self, student: Output, teacher: Output, labeled: int) -> Judgement:
        """What the selector, or the preset's rule, believes of these network outputs.

        Args:
            student: outputs of all rows, labelled first.
            teacher: outputs of the unlabelled rows.
            labeled: number of labelled rows.
        """
        return self._judge(self._views(student).rows(labeled), self._views(teacher))

    @torch.no_grad()
    def pseudo_labels(self, images: Tensor, *, valid: Tensor | None = None) -> PseudoLabels:
        """The pseudo-labels of both decoders, by the decoder that learns from them.

        ``preset="reference"``: the labels of the student's other decoder; ``"paper"``: those of the teacher's
        other decoder; a selector's are the same for both. There are none without the probability space. The
        views are the student's two decoders and the teacher's; ``valid`` does not count. Batch statistics are
        those of ``images`` alone, while a training step normalises the student by its labelled images, too.
        """
        student, teacher = self._views(self.network(images)), self._views(self.teacher(images))
        selections = self._judge(student, teacher).selections if "probability" in self.spaces else ()
        return PseudoLabels(
            views=(*student.p, *teacher.p),
            selections={f"decoder{own}": selection for own, selection in enumerate(selections, 1)},
            features=_features(student, teacher),
        )

    def _observe(self, batch: Batch, student: Pair) -> None:
        """Show labelled images, as both decoders of student and teacher see them, to a selector that asks.

        Args:
            batch: the labelled images and their labels.
            student: probabilities of all rows, labelled first.
        """
        if self.selector is not None and self.selector.wants_labeled:
            labeled = len(batch.labels)
            teacher = self.teacher(batch.labeled_images).logits
            views = [*(p[:labeled].detach() for p in student), *(x.float().softmax(1) for x in teacher)]
            self.selector.observe(views, batch.labels)

    @torch.no_grad()
    def _judge(self, student: Views, teacher: Views) -> Judgement:
        """What may be believed of the unlabelled images."""
        if self.selector is None:
            return self.rule.judge(student, teacher)
        selection = self.selector.select((*student.p, *teacher.p), features=_features(student, teacher))
        ruled_out = selection.ruled_out
        if ruled_out is None:
            ruled_out = torch.zeros_like(student.p[0], dtype=torch.bool)
        return Judgement((selection, selection), (ruled_out, ruled_out), ~selection.mask)

    def _views(self, output: Output) -> Views:
        features = "feature" in self.spaces
        return views_of(output, self.rule, features=features, missing=self.missing_prototype)

    def _pseudo_loss(self, output: Output, student: Views, judgement: Judgement, labeled: int) -> Tensor:
        """Eq. 14 for both decoders."""
        total = student.p[0].new_zeros(())
        for own, (selection, ruled_out, weight) in enumerate(
            zip(
                judgement.selections,
                judgement.ruled_out,
                judgement.negative_weights or (None, None),
                strict=True,
            )
        ):
            total = total + positive_loss(
                output.logits[own][labeled:],
                selection.labels,
                selection.mask,
                weight=selection.weight,
                over=self.pseudo_over,
            )
            total = total + negative_loss(student.p[own], ruled_out, weight=weight, over=self.pseudo_over)
        return total

    def _draw_regions(self, unreliable: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """The perturbation region (eq. 16) and the boxes of the published code, ``(U, *S)`` each.

        Everything is drawn in every step, used or not, so that seeds stay comparable across ablations.
        """
        rng = step_generator(self.seed, step)
        region = perturbation_region(
            unreliable, generator=torch_generator(rng), allow_empty_structure=self.empty_structure
        )
        axes = (0, 1)  # the published boxes span the whole of a volume's third axis
        free = random_boxes(
            len(region), region.shape[1:], rng, axes=axes, misapplied_axes=self.misapplied_box_axes
        ).to(region.device)
        aimed = centred_boxes(region, rng, axes=axes)
        # Even updates, counted from 1, cut at random; odd ones around the regions, unless one is empty.
        if step % 2 == 1:
            return region, free
        return region, torch.where(aimed.flatten(1).any(1).all(), aimed, free)

    def _mixing_loss(self, batch: Batch, targets: Pair, region: Tensor) -> Tensor:
        """Cross-entropy on images that are labelled on one side of the region and unlabelled on the other.

        Every pair has the unlabelled image inside; the published code turns every second pair round.
        Each decoder learns from the teacher's other decoder.
        """
        unlabeled = batch.unlabeled["weak"]
        pairs = min(len(batch.labels), len(unlabeled))
        from_unlabeled = region[:pairs]
        if self.rule.pastes_boxes:
            turned = torch.arange(pairs, device=region.device) % 2 == 1
            from_unlabeled = from_unlabeled ^ turned.view(pairs, *[1] * (region.ndim - 1))
        images = torch.where(from_unlabeled.unsqueeze(1), unlabeled[:pairs], batch.labeled_images[:pairs])
        output: Output = self.network(images)
        total = images.new_zeros((), dtype=torch.float32)
        for logits, target in zip(output.logits, targets, strict=True):
            labels = torch.where(from_unlabeled, target[:pairs], batch.labels[:pairs].long())
            total = total + cross_entropy(logits, labels)
        return total


def _features(student: Views, teacher: Views) -> tuple[Tensor, ...] | None:
    """The embeddings of all four views; None without feature space."""
    if student.features is None or teacher.features is None:
        return None
    return (*student.features, *teacher.features)
