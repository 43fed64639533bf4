"""Every metric once: its name, title, unit and direction, what it says, and how it is measured in a case.

Scores, tables, figures, pages and cautions take from here all that they know of a metric. A new one is a row
here: it is then a column of the scores, and with ``headline`` one of the report's tables.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from medssl.common.errors import unknown_name
from medssl.metrics.segmentation import MaskPair

Group = Literal["overlap", "distance", "reliability"]
Unit = Literal["percent", "distance", "nats", ""]


@dataclass(frozen=True)
class ScoredClass:
    """What an evaluation knows of one class of one case.

    Attributes:
        masks: the class as predicted and in the reference, at the spacing in which distances are measured.
        nsd_tolerance: tolerance of the surface Dice in that unit.
        reliability: of the case as a whole, what :meth:`medssl.metrics.ReliabilityMetrics.compute` gives.
    """

    masks: MaskPair
    nsd_tolerance: float
    reliability: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """All that is known of a metric.

    Attributes:
        name: column of the scores, and key of all else.
        title: as tables and figures print it.
        group: ``"overlap"`` and ``"distance"`` are measured class by class, ``"reliability"`` of a case as a
            whole.
        definition: what it is, in a phrase.
        unit: ``"percent"``: a share, stored in [0, 1] and printed times 100; ``"distance"``: mm, or voxels
            where the evaluation measures in them.
        lower_is_better: the direction.
        headline: whether it has a column in the tables that a paper would print.
        measure: its value in a case; None where it is only pooled over cases.
        surface: whether it is measured between surfaces, which images have none of.
        empty: what counts where a mask has no voxel; empty where masks do not matter.
    """

    name: str
    title: str
    group: Group
    definition: str
    unit: Unit = ""
    lower_is_better: bool = False
    headline: bool = False
    measure: Callable[[ScoredClass], float] | None = None
    surface: bool = False
    empty: str = ""

    def heading(self, unit: str) -> str:
        """The title with its unit, ``unit`` being that of distances."""
        shown = {"percent": "%", "distance": unit}.get(self.unit, self.unit)
        return f"{self.title} ({shown})" if shown else self.title

    def text(self, value: float) -> str:
        """A value as tables print it: percentages and distances with two decimals, others with four."""
        if math.isnan(value):
            return "\N{EN DASH}"
        if self.unit == "percent":
            return f"{100 * value:.2f}"
        return f"{value:.2f}" if self.unit == "distance" else f"{value:.4f}"


def _of_case(name: str) -> Callable[[ScoredClass], float]:
    return lambda scored: scored.reliability[name]


_EMPTY_SHARE = "0 where one mask is empty, 1 where both are"
_EMPTY_DISTANCE = "the diagonal of the volume where one mask is empty, 0 where both are"

METRICS = (
    Metric(
        name="dice",
        title="Dice",
        group="overlap",
        definition="twice the shared voxels over the voxels of both masks",
        unit="percent",
        headline=True,
        measure=lambda scored: scored.masks.dice,
        empty=_EMPTY_SHARE,
    ),
    Metric(
        name="jaccard",
        title="Jaccard",
        group="overlap",
        definition="shared voxels over those of the union",
        unit="percent",
        headline=True,
        measure=lambda scored: scored.masks.jaccard,
        empty=_EMPTY_SHARE,
    ),
    Metric(
        name="hausdorff95",
        title="95HD",
        group="distance",
        definition="95th percentile of the distances of both surfaces to one another, pooled",
        unit="distance",
        lower_is_better=True,
        headline=True,
        measure=lambda scored: scored.masks.distance(lambda surfaces: surfaces.hausdorff95),
        surface=True,
        empty=_EMPTY_DISTANCE,
    ),
    Metric(
        name="asd",
        title="ASD",
        group="distance",
        definition="mean distance from the predicted surface to that of the reference",
        unit="distance",
        lower_is_better=True,
        headline=True,
        measure=lambda scored: scored.masks.distance(lambda surfaces: surfaces.asd),
        surface=True,
        empty=_EMPTY_DISTANCE,
    ),
    Metric(
        name="assd",
        title="ASSD",
        group="distance",
        definition="mean distance of both surfaces to one another, pooled",
        unit="distance",
        lower_is_better=True,
        measure=lambda scored: scored.masks.distance(lambda surfaces: surfaces.assd),
        surface=True,
        empty=_EMPTY_DISTANCE,
    ),
    Metric(
        name="nsd",
        title="NSD",
        group="overlap",
        definition="share of both surfaces that lies within the tolerance of the other",
        unit="percent",
        measure=lambda scored: scored.masks.surface_dice(scored.nsd_tolerance),
        surface=True,
        empty=_EMPTY_SHARE,
    ),
    Metric(
        name="miou",
        title="mIoU",
        group="reliability",
        definition="mean over the classes of shared pixels over those of the union, background included",
        unit="percent",
    ),
    Metric(
        name="ece",
        title="ECE",
        group="reliability",
        definition="mean distance of confidence and accuracy in 15 bins of confidence",
        lower_is_better=True,
        headline=True,
        measure=_of_case("ece"),
    ),
    Metric(
        name="p_acc_cer",
        title="p(acc|cer)",
        group="reliability",
        definition="share of the certain voxels that is right",
        headline=True,
        measure=_of_case("p_acc_cer"),
    ),
    Metric(
        name="p_unc_inacc",
        title="p(unc|inacc)",
        group="reliability",
        definition="share of the wrong voxels that is uncertain",
        headline=True,
        measure=_of_case("p_unc_inacc"),
    ),
    Metric(
        name="rss",
        title="RSS",
        group="reliability",
        definition="harmonic mean of mIoU, 1 - ECE, p(acc|cer) and p(unc|inacc)",
        headline=True,
        measure=_of_case("rss"),
    ),
    Metric(
        name="p_acc_cer_landgraf2025",
        title="p(acc|cer), published protocol",
        group="reliability",
        definition="as p(acc|cer), image by image, unlabelled pixels counting as inaccurate",
    ),
    Metric(
        name="p_unc_inacc_landgraf2025",
        title="p(unc|inacc), published protocol",
        group="reliability",
        definition="as p(unc|inacc), image by image, unlabelled pixels counting as inaccurate",
    ),
    Metric(
        name="rss_landgraf2025",
        title="RSS, published protocol",
        group="reliability",
        definition="as RSS, of the published protocol's p(acc|cer) and p(unc|inacc)",
    ),
    Metric(
        name="classwise_ece",
        title="classwise ECE",
        group="reliability",
        definition="ECE of every class's probability, mean over the classes",
        lower_is_better=True,
    ),
    Metric(
        name="adaptive_ece",
        title="adaptive ECE",
        group="reliability",
        definition="ECE in bins of as many pixels each",
        lower_is_better=True,
    ),
    Metric(
        name="brier",
        title="Brier score",
        group="reliability",
        definition="mean squared distance of the probabilities to the one-hot reference",
        lower_is_better=True,
        measure=_of_case("brier"),
    ),
    Metric(
        name="nll",
        title="NLL",
        group="reliability",
        definition="mean negative logarithm of the probability of the true class",
        unit="nats",
        lower_is_better=True,
        measure=_of_case("nll"),
    ),
    Metric(
        name="aurc",
        title="AURC",
        group="reliability",
        definition="mean share of wrong pixels among the n surest, over all n",
        lower_is_better=True,
    ),
)
"""All metrics, in the order of columns."""

CLASS_METRICS = tuple(metric for metric in METRICS if metric.measure and metric.group != "reliability")
"""Those of the scores that belong to a class of a case."""

CASE_METRICS = tuple(metric for metric in METRICS if metric.measure and metric.group == "reliability")
"""Those of the scores that belong to a case as a whole."""

SCORE_COLUMNS = tuple(metric.name for metric in (*CLASS_METRICS, *CASE_METRICS))
"""Names of those, in the order of the scores' columns."""

IMAGE_CLASS_METRICS = tuple(metric for metric in CLASS_METRICS if not metric.surface)
"""Those of a class of an image: no distances between surfaces, and no share of them."""

_BY_NAME = {metric.name: metric for metric in METRICS}


def find_metric(name: str) -> Metric:
    """A metric by its name.

    Raises:
        InputError: there is none of that name.
    """
    if name not in _BY_NAME:
        raise unknown_name("metric", name, _BY_NAME)
    return _BY_NAME[name]
