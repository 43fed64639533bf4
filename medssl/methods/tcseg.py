"""TCSeg: dual-axis reliability and calibration in three spaces.

Source: "Are We Overconfident in Models and Results for Semi-Supervised 3D Medical Image Segmentation?"
(Li and Qin, 2026) and the code published with it. Where the two differ, ``preset`` says which is followed;
``docs/methods/tcseg.md`` holds the table "paper, published code, medssl".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from medssl.errors import InputError, unknown_name
from medssl.losses import (
    Over,
    calibration_loss,
    cross_entropy,
    dice_loss,
    negative_loss,
    positive_loss,
    published_calibration_loss,
)
from medssl.methods.base import Batch, Method, PseudoLabels
from medssl.methods.mixing import centred_boxes, random_boxes
from medssl.methods.ramps import SigmoidRamp
from medssl.methods.teacher import Teacher
from medssl.networks import DualDecoderOutput, DualDecoderVNet
from medssl.reliability import (
    DualAxis,
    DualAxisReliability,
    Selection,
    class_prototypes,
    confidence,
    perturbation_region,
    prototype_affinity,
)

Preset = Literal["reference", "paper"]
Space = Literal["probability", "feature", "image"]
Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Views:
    """Both decoders of one model on the same images: probabilities ``p`` and prototype affinities ``q``."""

    p: Pair
    q: Pair

    def rows(self, start: int) -> "Views":
        """The views of the images from row ``start`` on."""
        (p1, p2), (q1, q2) = self.p, self.q
        return Views((p1[start:], p2[start:]), (q1[start:], q2[start:]))


class TCSeg(Method):
    """TCSeg (Li and Qin, 2026) for any number of classes.

    ``preset="reference"`` (default) follows the published code, which produced the published numbers;
    ``preset="paper"`` follows equations 1 to 23, with two repairs that they need: the negative mask takes
    classes of a mean probability of at most ``tau_min`` (the printed one is empty for two classes), and
    prototypes are averaged over voxels of a confidence of at least ``tau_max``.

    Args:
        network: the student, with two decoders.
        preset: see above.
        tau: tolerance of the uncertainty axis. On the reference scale it bounds the largest difference of
            a class between two probabilities, and ``2 tau`` that between two affinities; on the paper's
            it bounds the L1 distance of both.
        tau_min: a class of at most this probability is ruled out.
        tau_max: a voxel of at least this confidence is confident.
        use_confidence: ``False`` is the ablation w/o C(v).
        use_uncertainty: ``False`` is the ablation w/o U(v).
        spaces: the spaces that are calibrated: pseudo-labels in probability space (eq. 14), decoders
            against prototypes in feature space (eq. 15), mixing in image space (eq. 17-20).
        ramp: weight of the unlabelled losses over the steps; the preset's by default (reference:
            sigmoid to 1 over 6,000 steps in intervals of 150; paper: constant 1).
        warmup: steps before mixing starts; the preset's by default (reference 101, since the published
            code asks for more than 100; paper 0).
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
        InputError: unknown preset or space, or thresholds out of order.
    """

    teacher: Teacher
    network: DualDecoderVNet

    def __init__(
        self,
        network: DualDecoderVNet,
        *,
        preset: Preset = "reference",
        tau: float = 0.05,
        tau_min: float = 0.1,
        tau_max: float = 0.85,
        use_confidence: bool = True,
        use_uncertainty: bool = True,
        spaces: Sequence[Space] = ("probability", "feature", "image"),
        ramp: SigmoidRamp | None = None,
        warmup: int | None = None,
        alpha: float = 0.99,
        pseudo_over: Over = "selected",
        seed: int = 0,
        accumulate_calibration: bool = True,
        misapplied_box_axes: bool = False,
        empty_structure: bool = False,
    ) -> None:
        """Check the arguments and copy the student into the teacher."""
        super().__init__()
        if preset not in get_args(Preset):
            raise unknown_name("preset", preset, get_args(Preset))
        for space in spaces:
            if space not in get_args(Space):
                raise unknown_name("space", space, get_args(Space))
        if not 0 <= tau_min < tau_max <= 1:
            raise InputError(
                f"tau_min={tau_min}, tau_max={tau_max}", "out of order", "need 0 <= tau_min < tau_max <= 1"
            )
        reference = preset == "reference"
        self.network = network
        self.teacher = Teacher(network, alpha=alpha)
        self.reference, self.spaces = reference, frozenset(spaces)
        self.axes = DualAxis(
            tau=tau,
            tau_min=tau_min,
            tau_max=tau_max,
            feature_tau=2 * tau if reference else tau,
            norm="max" if reference else "l1",
            use_confidence=use_confidence,
            use_uncertainty=use_uncertainty,
        )
        self.tau_max = tau_max
        self.ramp = ramp or (SigmoidRamp(1.0, 6000, 150) if reference else SigmoidRamp(1.0, 0))
        self.warmup = warmup if warmup is not None else (101 if reference else 0)
        if pseudo_over not in get_args(Over):
            raise unknown_name("pseudo_over", pseudo_over, get_args(Over))
        self.pseudo_over: Over = pseudo_over
        self.seed = seed
        self.accumulate_calibration = accumulate_calibration
        self.misapplied_box_axes, self.empty_structure = misapplied_box_axes, empty_structure

    def predict(self, images: Tensor) -> Tensor:
        """Logits ``(B, K, *S)`` of the encoder and decoder 1."""
        return self.network.deployed(images)

    def training_step(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Losses of one batch, which needs at least one labelled and one unlabelled image.

        Entries: ``loss``; ``supervised``, ``pseudo``, ``calibration``, ``mixing`` (each before its weight);
        ``ramp``; the shares of unlabelled voxels that are ``positive`` and ``unreliable``.
        """
        labeled = len(batch.labels)
        output = self.network(batch.images)
        both = self._views(output)
        student = both.rows(labeled)
        with torch.no_grad():
            teacher_output: DualDecoderOutput = self.teacher(batch.unlabeled_images)
            teacher = self._views(teacher_output)
        overall = self._overall(student, teacher)
        zero = output.logits[0].new_zeros((), dtype=torch.float32)
        pseudo = calibration = mixing = zero
        positive = overall.positive
        if "probability" in self.spaces:
            logits = (output.logits[0][labeled:], output.logits[1][labeled:])
            if self.reference:
                pseudo, positive = self._peer_pseudo_loss(logits, student, teacher)
            else:
                pseudo = self._paper_pseudo_loss(logits, student, teacher, positive, overall.negative)
        if "feature" in self.spaces:
            calibration = (
                published_calibration_loss(both.p, both.q, accumulate=self.accumulate_calibration)
                if self.reference
                else calibration_loss(student.p, student.q)
            )
        region, boxes = self._draw_regions(overall.unreliable, step)
        if "image" in self.spaces and step >= self.warmup:
            # max and not argmax, which is ten times slower on a CPU
            targets = (teacher.p[1].max(1).indices, teacher.p[0].max(1).indices)
            mixing = self._mixing_loss(batch, targets, region if not self.reference else boxes)
        supervised = self._supervised_loss(output, batch.labels, labeled)
        ramp = self.ramp(step)
        loss = supervised + ramp * (pseudo + calibration)
        loss = loss + (0.5 * mixing if self.reference else ramp * mixing)
        return {
            "loss": loss,
            "supervised": supervised.detach(),
            "pseudo": pseudo.detach(),
            "calibration": calibration.detach(),
            "mixing": mixing.detach(),
            "ramp": torch.tensor(ramp),
            "positive": positive.float().mean(),
            "unreliable": overall.unreliable.float().mean(),
        }

    @torch.no_grad()
    def pseudo_labels(self, images: Tensor) -> PseudoLabels:
        """The pseudo-labels of both decoders, by the decoder that learns from them.

        ``preset="reference"``: the labels of the student's other decoder; ``"paper"``: those of the teacher's
        other decoder. There are none without the probability space. The views are the student's two
        decoders and the teacher's. Batch statistics are those of ``images`` alone, while a training step
        normalises the student by its labelled images, too.
        """
        student, teacher = self._views(self.network(images)), self._views(self.teacher(images))
        selections: list[Selection] = []
        if "probability" in self.spaces:
            if self.reference:
                selections = [selection for selection, _ in self._peer_selections(student, teacher)]
            else:
                selections = self._paper_selections(teacher, self._overall(student, teacher).positive)
        return PseudoLabels(
            views=(*student.p, *teacher.p),
            selections={f"decoder{own}": selection for own, selection in enumerate(selections, 1)},
        )

    def _overall(self, student: Views, teacher: Views) -> DualAxisReliability:
        """Both axes over both decoders of both models."""
        return self.axes(
            (*student.p, *teacher.p),
            probability_pairs=(student.p, teacher.p),
            feature_pairs=(student.q, teacher.q),
        )

    def _affinities(self, features: Pair, p: Pair, keep: Pair) -> Pair:
        prototypes = [class_prototypes(f, p_b, k)[0] for f, p_b, k in zip(features, p, keep, strict=True)]
        q1, q2 = (prototype_affinity(f, c) for f, c in zip(features, prototypes, strict=True))
        return q1, q2

    def _views(self, output: DualDecoderOutput) -> Views:
        """Probabilities and affinities; prototypes from the voxels of which the decoder is confident.

        Published code: each decoder by its own confidence; paper: both by that of their mean (eq. 10).
        """
        p = (torch.softmax(output.logits[0].float(), 1), torch.softmax(output.logits[1].float(), 1))
        with torch.no_grad():
            if self.reference:
                keep = (confidence(p[:1]) >= self.tau_max, confidence(p[1:]) >= self.tau_max)
            else:
                mean = confidence(p) >= self.tau_max
                keep = (mean, mean)
        return Views(p, self._affinities(output.features, p, keep))

    def _peer_selections(self, student: Views, teacher: Views) -> list[tuple[Selection, Tensor]]:
        """What decoders 1 and 2 learn from their peers, and the classes ``(U, K, *S)`` that are ruled out."""
        found = []
        for peer in (1, 0):
            target = student.p[peer].detach()
            mask = self.axes(
                (target,),
                probability_pairs=(student.p,),
                feature_pairs=(student.q, teacher.q, (student.q[peer], student.p[peer])),
            )
            selection = Selection(target.max(1).indices, mask.positive, mask.confidence)
            found.append((selection, mask.negative))
        return found

    def _peer_pseudo_loss(self, logits: Pair, student: Views, teacher: Views) -> tuple[Tensor, Tensor]:
        """Published code: each decoder learns from its peer, voxels weighted by the peer's probability."""
        total, shares = student.p[0].new_zeros(()), []
        for own, (selection, negative) in enumerate(self._peer_selections(student, teacher)):
            total = total + positive_loss(
                logits[own],
                selection.labels,
                selection.mask,
                weight=selection.weight,
                over=self.pseudo_over,
            )
            peer_p = student.p[1 - own].detach()
            total = total + negative_loss(student.p[own], negative, weight=peer_p, over=self.pseudo_over)
            shares.append(selection.mask)
        return total, torch.stack(shares)

    def _paper_selections(self, teacher: Views, positive: Tensor) -> list[Selection]:
        """What decoders 1 and 2 learn from the teacher's other decoder."""
        return [Selection(teacher.p[peer].max(1).indices, positive) for peer in (1, 0)]

    def _paper_pseudo_loss(
        self, logits: Pair, student: Views, teacher: Views, positive: Tensor, negative: Tensor
    ) -> Tensor:
        """Eq. 14: each decoder learns from the teacher's other decoder."""
        total = student.p[0].new_zeros(())
        for own, selection in enumerate(self._paper_selections(teacher, positive)):
            total = total + positive_loss(
                logits[own], selection.labels, selection.mask, over=self.pseudo_over
            )
            total = total + negative_loss(student.p[own], negative, over=self.pseudo_over)
        return total

    def _draw_regions(self, unreliable: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """The perturbation region (eq. 16) and the boxes of the published code, ``(U, *S)`` each.

        Everything is drawn in every step, used or not, so that seeds stay comparable across ablations.
        """
        rng = np.random.default_rng((self.seed, _rank(), step))
        generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
        region = perturbation_region(
            unreliable, generator=generator, allow_empty_structure=self.empty_structure
        )
        axes = (0, 1)  # the published boxes span the whole of a volume's third axis
        free = random_boxes(
            len(region), region.shape[1:], rng, axes=axes, misapplied_axes=self.misapplied_box_axes
        ).to(region.device)
        aimed = centred_boxes(region, rng, axes=axes)
        # Even steps cut at random; odd ones around the regions, unless one of them is empty.
        if step % 2 == 0:
            return region, free
        return region, torch.where(aimed.flatten(1).any(1).all(), aimed, free)

    def _mixing_loss(self, batch: Batch, targets: Pair, region: Tensor) -> Tensor:
        """Cross-entropy on images that are labelled on one side of the region and unlabelled on the other.

        Every pair has the unlabelled image inside; the published code turns every second pair round.
        Each decoder learns from the teacher's other decoder.
        """
        pairs = min(len(batch.labels), len(batch.unlabeled_images))
        from_unlabeled = region[:pairs]
        if self.reference:
            turned = torch.arange(pairs, device=region.device) % 2 == 1
            from_unlabeled = from_unlabeled ^ turned.view(pairs, *[1] * (region.ndim - 1))
        images = torch.where(
            from_unlabeled.unsqueeze(1), batch.unlabeled_images[:pairs], batch.labeled_images[:pairs]
        )
        output: DualDecoderOutput = self.network(images)
        total = images.new_zeros((), dtype=torch.float32)
        for logits, target in zip(output.logits, targets, strict=True):
            labels = torch.where(from_unlabeled, target[:pairs], batch.labels[:pairs].long())
            total = total + cross_entropy(logits, labels)
        return total

    def _supervised_loss(self, output: DualDecoderOutput, labels: Tensor, labeled: int) -> Tensor:
        """Eq. 1-3; the published code divides the sum over decoders by 4."""
        total = output.logits[0].new_zeros((), dtype=torch.float32)
        for logits in output.logits:
            rows = logits[:labeled]
            total = total + cross_entropy(rows, labels) + dice_loss(torch.softmax(rows.float(), 1), labels)
        return total / 4 if self.reference else total


def _rank() -> int:
    distributed = torch.distributed
    return distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0
