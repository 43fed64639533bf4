"""What TCSeg believes and how it weighs it: once as its published code does, once as its equations say.

``docs/methods/tcseg.md`` holds the table "paper, published code, medssl".
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import torch
from torch import Tensor

from medssl.common.errors import InputError
from medssl.losses import calibration_loss, published_calibration_loss
from medssl.methods.ramps import SigmoidRamp
from medssl.networks import Output
from medssl.reliability import (
    DualAxis,
    DualAxisReliability,
    Selection,
    class_prototypes,
    confidence,
    mean_view,
    prototype_affinity,
)
from medssl.reliability.measures import Norm

Preset = Literal["reference", "paper"]
MissingPrototype = Literal["zero", "fallback", "exclude"]
Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Views:
    """Both decoders of one model on the same images.

    Attributes:
        p: probabilities ``(B, K, *S)`` of decoder 1 and 2.
        q: affinities ``(B, K, *S)`` in [-1, 1] to each decoder's own prototypes; None without feature space.
        present: bool ``(B, K)`` a decoder, the classes whose affinities count; None where all do.
        features: embeddings ``(B, C, *S)`` of decoder 1 and 2; None without feature space.
    """

    p: Pair
    q: Pair | None = None
    present: Pair | None = None
    features: Pair | None = None

    def rows(self, start: int) -> "Views":
        """The views of the images from row ``start`` on."""

        def cut(pair: Pair | None) -> Pair | None:
            return None if pair is None else (pair[0][start:], pair[1][start:])

        return Views(
            (self.p[0][start:], self.p[1][start:]), cut(self.q), cut(self.present), cut(self.features)
        )

    def pairs(self, first: int, second: int, *, probability: bool) -> Pair | None:
        """Affinities of decoder ``first`` and what they are compared with, zero where a class does not count.

        Args:
            first: decoder, 0 or 1.
            second: decoder, 0 or 1.
            probability: compare with the probabilities of ``second`` instead of with its affinities.
        """
        if self.q is None:
            return None
        a, b = self.q[first], (self.p if probability else self.q)[second]
        if self.present is not None:
            counts = self.present[first] & self.present[second]
            counts = counts.view(*counts.shape, *[1] * (a.ndim - 2))
            a, b = a * counts, b * counts
        return a, b


@dataclass(frozen=True)
class Judgement:
    """What may be believed of the unlabelled images. Nothing in it carries a gradient.

    Attributes:
        selections: pseudo-labels and their masks ``(U, *S)``, for decoder 1 and 2 as learners.
        ruled_out: bool ``(U, K, *S)``, classes that a voxel is certainly not, likewise.
        unreliable: bool ``(U, *S)``, where the perturbation region (eq. 16) starts from.
        negative_weights: ``(U, K, *S)``, how much a class that is ruled out counts, likewise; None where all
            count alike.
    """

    selections: tuple[Selection, Selection]
    ruled_out: Pair
    unreliable: Tensor
    negative_weights: Pair | None = None


def check_decoders(count: int | None) -> None:
    """Refuse a network of another number of decoders than two; None, not known yet, is let pass.

    Raises:
        InputError: as said.
    """
    if count not in (None, 2):
        remedy = "use one with two, such as DualDecoderVNet (--network vnet), or another method"
        raise InputError("network", f"has {count} decoder{'s' * (count != 1)}, TCSeg compares two", remedy)


def views_of(output: Output, rule: "Rule", *, features: bool, missing: MissingPrototype) -> Views:
    """Probabilities of both decoders and, with ``features``, affinities to their prototypes (eq. 9, 10).

    Args:
        output: of a network with two decoders.
        rule: says which voxels a prototype is averaged over.
        features: False leaves prototypes and affinities out.
        missing: what stands for the prototype of a class of which no voxel is confident.

    Raises:
        InputError: a network with another number of decoders, or without features.
    """
    check_decoders(len(output.logits))
    if features and len(output.features) != 2:
        raise InputError("network", "gives no features of its decoders", "leave 'feature' out of spaces")
    p = (torch.softmax(output.logits[0].float(), 1), torch.softmax(output.logits[1].float(), 1))
    if not features:
        return Views(p)
    with torch.no_grad():
        keep = rule.prototype_voxels(p)
    affinities, present = [], []
    for embeddings, probs, voxels in zip(output.features, p, keep, strict=True):
        prototypes, exists = class_prototypes(embeddings, probs, voxels, fallback=missing == "fallback")
        affinities.append(prototype_affinity(embeddings, prototypes))
        present.append(exists)
    return Views(
        p,
        (affinities[0], affinities[1]),
        (present[0], present[1]) if missing == "exclude" else None,
        (output.features[0], output.features[1]),
    )


@dataclass(frozen=True, kw_only=True)
class Rule(ABC):
    """One reading of TCSeg; the arguments are those of :class:`~medssl.methods.TCSeg`."""

    tau: float
    tau_min: float
    tau_max: float
    use_confidence: bool
    use_uncertainty: bool
    accumulate_calibration: bool

    norm: ClassVar[Norm]
    """Of the disagreement between two views."""
    feature_tolerance: ClassVar[float]
    """Tolerance of two affinities, in units of ``tau``."""
    ramp: ClassVar[SigmoidRamp]
    """Weight of the unlabelled losses."""
    warmup: ClassVar[int]
    """Steps before images are mixed."""
    supervised_weight: ClassVar[float]
    """Factor of the mean over cross-entropy and Dice of both decoders."""
    missing_prototype: ClassVar[MissingPrototype]
    """What stands for a missing prototype."""
    pastes_boxes: ClassVar[bool]
    """Whether boxes are pasted, every second pair the other way round, and not the region itself."""

    @cached_property
    def axes(self) -> DualAxis:
        """Tolerances and norm of the two axes."""
        return DualAxis(
            tau=self.tau,
            tau_min=self.tau_min,
            tau_max=self.tau_max,
            feature_tau=self.feature_tolerance * self.tau,
            norm=self.norm,
            use_confidence=self.use_confidence,
            use_uncertainty=self.use_uncertainty,
        )

    @abstractmethod
    def prototype_voxels(self, p: Pair) -> Pair:
        """Bool ``(B, *S)`` a decoder: the voxels that its prototypes are averaged over."""

    @abstractmethod
    def judge(self, student: Views, teacher: Views) -> Judgement:
        """What the decoders may believe of the unlabelled images."""

    @abstractmethod
    def calibration(self, views: Views) -> Tensor:
        """The calibration loss over labelled and unlabelled images."""

    @abstractmethod
    def mixing_weight(self, ramp: float) -> float:
        """Weight of the mixing loss, where the other unlabelled losses have ``ramp``."""


@dataclass(frozen=True, kw_only=True)
class ReferenceRule(Rule):
    """The published code.

    Each decoder learns from the student's other decoder, where that one is confident, both decoders agree in
    probability and, for the foreground classes, in affinity, the teacher's decoders agree in affinity, and
    the other decoder's affinity is near its own probability. For two classes this is the published code,
    voxel for voxel. A pseudo-label counts as much as the other decoder holds it for probable.
    """

    norm = "max"
    feature_tolerance = 2.0  # cosines range twice as far as probabilities
    ramp = SigmoidRamp(1.0, 6000, 150)
    warmup = 100  # the published loop counts from 1 and asks for more than 100
    supervised_weight = 1.0
    missing_prototype = "zero"
    pastes_boxes = True

    def prototype_voxels(self, p: Pair) -> Pair:
        """Each decoder by its own confidence.

        Two classes: foreground at least ``tau_max`` or at most ``tau_min``, which asks more of the
        background; more: the predicted class at least ``tau_max``.
        """
        one, two = (
            (v[:, 1] >= self.tau_max) | (v[:, 1] <= self.tau_min)
            if v.shape[1] == 2
            else v.amax(1) >= self.tau_max
            for v in p
        )
        return one, two

    @torch.no_grad()
    def judge(self, student: Views, teacher: Views) -> Judgement:
        """Pseudo-labels of the peer, and the region of the published code."""
        selections, ruled_out = [], []
        one, two = student.p[0].detach(), student.p[1].detach()
        for peer, source in ((1, two), (0, one)):
            mask = self.axes(
                (source,),
                probability_pairs=(student.p,),
                feature_pairs=_foreground(
                    student.pairs(0, 1, probability=False),
                    teacher.pairs(0, 1, probability=False),
                    student.pairs(peer, peer, probability=True),
                ),
            )
            selections.append(Selection(source.max(1).indices, mask.positive, mask.confidence))
            ruled_out.append(mask.negative)
        return Judgement(
            (selections[0], selections[1]),
            (ruled_out[0], ruled_out[1]),
            self._unreliable(student, teacher),
            negative_weights=(two, one),
        )

    def _unreliable(self, student: Views, teacher: Views) -> Tensor:
        """Neither clearly foreground nor clearly background in the mean of all views, or views that differ.

        Background counts as clear below a foreground probability of ``tau_min``, and not from ``tau_max`` on.
        """
        views = (*student.p, *teacher.p)
        certain = self.axes(
            views,
            probability_pairs=(student.p, teacher.p),
            feature_pairs=_foreground(
                student.pairs(0, 1, probability=False), teacher.pairs(0, 1, probability=False)
            ),
        ).certain
        if not self.use_confidence:
            return ~certain
        foreground = mean_view(views)[:, 1:]
        clear = (foreground.amax(1) > self.tau_max) | (foreground.sum(1) < self.tau_min)
        return ~(clear & certain)

    def calibration(self, views: Views) -> Tensor:
        """Mean squared errors, some of them added twice."""
        return published_calibration_loss(*_calibrated(views), accumulate=self.accumulate_calibration)

    def mixing_weight(self, ramp: float) -> float:
        """Half, from the first mixed step on."""
        return 0.5


@dataclass(frozen=True, kw_only=True)
class PaperRule(Rule):
    """Equations 1 to 23, with two repairs that they need.

    The negative mask takes classes of a mean probability of at most ``tau_min`` (the printed one is empty for
    two classes), and prototypes are averaged over voxels of a confidence of at least ``tau_max`` (the printed
    threshold has the symbol of the tolerance).
    """

    norm = "l1"
    feature_tolerance = 1.0
    ramp = SigmoidRamp(1.0, 0)
    warmup = 0
    supervised_weight = 4.0  # the sum of four terms
    missing_prototype = "fallback"
    pastes_boxes = False

    def prototype_voxels(self, p: Pair) -> Pair:
        """Both decoders by the confidence of their mean (eq. 10)."""
        keep = confidence(p) >= self.tau_max
        return keep, keep

    @torch.no_grad()
    def judge(self, student: Views, teacher: Views) -> Judgement:
        """Pseudo-labels of the teacher's other decoder where all four views are reliable (eq. 11-14, 16)."""
        pairs = [views.pairs(0, 1, probability=False) for views in (student, teacher)]
        overall: DualAxisReliability = self.axes(
            (*student.p, *teacher.p),
            probability_pairs=(student.p, teacher.p),
            feature_pairs=[pair for pair in pairs if pair is not None],
        )
        one, two = (Selection(teacher.p[peer].max(1).indices, overall.positive) for peer in (1, 0))
        return Judgement((one, two), (overall.negative, overall.negative), overall.unreliable)

    def calibration(self, views: Views) -> Tensor:
        """Eq. 15 over labelled and unlabelled voxels."""
        return calibration_loss(*_calibrated(views))

    def mixing_weight(self, ramp: float) -> float:
        """As every unlabelled loss."""
        return ramp


RULES: dict[Preset, type[Rule]] = {"reference": ReferenceRule, "paper": PaperRule}


def _foreground(*pairs: Pair | None) -> list[Pair]:
    """The foreground classes of what there is to compare.

    The published code compares the foreground channel. For probabilities of two classes that is the whole
    difference; a cosine to the background's prototype is a number of its own, which would rule out more.
    """
    return [(a[:, 1:], b[:, 1:]) for a, b in (pair for pair in pairs if pair is not None)]


def _calibrated(views: Views) -> tuple[Pair, Pair, Pair, Pair]:
    """The pairs of the calibration losses: decoders, prototypes, prototype and decoder 1, and 2."""
    prototypes = views.pairs(0, 1, probability=False)
    first, second = (views.pairs(own, own, probability=True) for own in (0, 1))
    if prototypes is None or first is None or second is None:
        raise ValueError("calibration needs the affinities of both decoders")
    return views.p, prototypes, first, second
