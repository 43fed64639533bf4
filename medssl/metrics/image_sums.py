"""What a test set's numbers are made of, image by image, so that they follow for any weighting of images.

A bootstrap over images weighs each by how often it was drawn. A mean over images is then a weighted mean; but
mIoU, ECE and the Reliable Segmentation Score of a test set are functions of sums over its images.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medssl.common.errors import InputError
from medssl.common.files import atomic_path
from medssl.metrics.reliability_summary import ReliabilityMetrics
from medssl.metrics.uncertainty import reliable_segmentation_scores

Floats = NDArray[np.float64]

PROTOCOLS = {"": "principled", "_landgraf2025": "landgraf2025"}
"""The endings of the names of p(acc|cer), p(unc|inacc) and RSS, and whose sums they are made of."""

_COUNTS = ("accurate and certain", "certain", "uncertain and inaccurate", "inaccurate")
_BINS = ("count", "confidence", "correct")
_SCORES = ("brier", "nll", "count")
_SHAPES = {"intersection": None, "union": None, "bins": (len(_BINS), None), "scores": (len(_SCORES),)} | {
    name: (len(_COUNTS),) for name in PROTOCOLS.values()
}


class ImageSums:
    """Additive sums of images; :meth:`pooled` makes a test set's numbers of them.

    What has a size per image that would not be worth it (classwise and adaptive ECE, AURC) is left to
    :class:`medssl.metrics.ReliabilityMetrics`, with which all else agrees where every image counts once.

    Args:
        cases: names of the images, ``N``.
        sums: ``intersection`` and ``union`` ``(N, K)``, pixels of every class; ``bins`` ``(N, 3, bins)``:
            pixels, their confidences and the right ones in each bin of confidence; ``principled`` and
            ``landgraf2025`` ``(N, 4)``: numerator and denominator of p(accurate | certain), then of
            p(uncertain | inaccurate); ``scores`` ``(N, 3)``: Brier scores, negative log-likelihoods, pixels.

    Raises:
        ValueError: arrays that are missing, of another shape, or not finite; an image that is named twice.
    """

    def __init__(self, cases: Sequence[str], sums: Mapping[str, Floats]) -> None:
        self.cases = tuple(cases)
        if len(set(self.cases)) < len(self.cases):
            raise ValueError("an image is named twice")
        self.sums = {name: np.asarray(sums[name], np.float64) for name in _SHAPES if name in sums}
        for name, shape in _SHAPES.items():
            if name not in self.sums:
                raise ValueError(f"has no {name}")
            found, wanted = self.sums[name].shape, (len(self.cases), *(shape or (None,)))
            fits = len(found) == len(wanted) and all(
                w in (None, f) for f, w in zip(found, wanted, strict=True)
            )
            if not fits or not np.isfinite(self.sums[name]).all():
                raise ValueError(f"{name} is not {wanted}, or not finite")
        if self.sums["union"].shape != self.sums["intersection"].shape:
            raise ValueError("intersection and union are of different classes")

    @classmethod
    def of(cls, case: str, metrics: ReliabilityMetrics) -> "ImageSums":
        """The sums of one image.

        Args:
            case: its name.
            metrics: an object to which nothing but that image was added.
        """
        return cls([case], {name: values[None] for name, values in _sums_of(metrics).items()})

    @classmethod
    def joined(cls, parts: Sequence["ImageSums"]) -> "ImageSums":
        """The sums of all images of some objects, in their order; at least one."""
        cases = [case for part in parts for case in part.cases]
        return cls(cases, {name: np.concatenate([part.sums[name] for part in parts]) for name in _SHAPES})

    @property
    def num_classes(self) -> int:
        """Classes ``K``."""
        return int(self.sums["union"].shape[1])

    def arranged(self, cases: Sequence[str]) -> "ImageSums":
        """The same with the images in another order.

        Raises:
            ValueError: other images.
        """
        if set(cases) != set(self.cases) or len(cases) != len(self.cases):
            raise ValueError("not the same images")
        place = {case: index for index, case in enumerate(self.cases)}
        order = [place[case] for case in cases]
        return ImageSums(cases, {name: values[order] for name, values in self.sums.items()})

    def class_iou(self, weights: Floats | None = None) -> Floats:
        """IoU of every class under each weighting, ``(D, K)``; NaN for a class that is nowhere.

        Args:
            weights: see :meth:`pooled`.
        """
        return _ratio(self._total("intersection", weights), self._total("union", weights))

    def pooled(self, weights: Floats | None = None) -> dict[str, Floats]:
        """A test set's numbers under each weighting of its images, ``(D,)`` each; NaN where undefined.

        Args:
            weights: ``(D, N)``, at least 0; how often each image counts. None: each once, with ``D = 1``.

        Returns:
            miou, ece, brier and nll, and under both protocols p_acc_cer, p_unc_inacc and rss, as
            :meth:`medssl.metrics.ReliabilityMetrics.compute` defines them.
        """
        iou = self.class_iou(weights)
        counted = ~np.isnan(iou)
        miou = _ratio(np.where(counted, iou, 0.0).sum(1), counted.sum(1).astype(float))
        count, confidence, correct = np.moveaxis(self._total("bins", weights), 1, 0)
        divisor = np.maximum(
            count, np.finfo(float).tiny
        )  # weights may be below 1, but an empty bin adds nothing
        gap = np.abs(confidence / divisor - correct / divisor)
        values = {"miou": miou, "ece": _ratio((gap * count).sum(1), count.sum(1))}
        for ending, protocol in PROTOCOLS.items():
            sums = self._total(protocol, weights)
            pair = _ratio(sums[:, 0], sums[:, 1]), _ratio(sums[:, 2], sums[:, 3])
            values[f"p_acc_cer{ending}"], values[f"p_unc_inacc{ending}"] = pair
            values[f"rss{ending}"] = reliable_segmentation_scores(miou, values["ece"], *pair)
        scores = self._total("scores", weights)
        values["brier"], values["nll"] = (_ratio(scores[:, part], scores[:, 2]) for part in range(2))
        return values

    def save(self, path: str | Path) -> None:
        """Write all of it (``.npz``), atomically; the same sums give the same bytes."""
        with atomic_path(path) as temporary:
            np.savez_compressed(temporary, cases=np.array(self.cases, np.str_), **self.sums)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: str | Path) -> "ImageSums":
        """Read what :meth:`save` wrote.

        Raises:
            InputError: missing or damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                return cls([str(case) for case in stored["cases"]], {n: stored[n] for n in _SHAPES})
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise InputError(
                path, "cannot be read as sums of images", "score the checkpoint again"
            ) from error

    def _total(self, name: str, weights: Floats | None) -> Floats:
        values = self.sums[name]
        if weights is None:
            return np.asarray(values.sum(0, keepdims=True))
        flat: Floats = weights @ values.reshape(len(values), -1)
        return flat.reshape(len(weights), *values.shape[1:])


def _sums_of(metrics: ReliabilityMetrics) -> dict[str, Floats]:
    """The sums of one image."""
    confusion = metrics.iou.total("confusion").numpy()
    if not confusion.ndim:  # nothing was labelled
        confusion = np.zeros((metrics.iou.num_classes,) * 2)
    both = confusion.diagonal()
    length = metrics.calibration.num_bins + 1
    return {
        "intersection": both,
        "union": confusion.sum(0) + confusion.sum(1) - both,
        "bins": np.stack(
            [np.broadcast_to(metrics.calibration.total(name).numpy(), length) for name in _BINS]
        ),
        "scores": np.array([float(metrics.scores.total(name)) for name in _SCORES]),
    } | {
        name: np.array([float(getattr(metrics, name).total(count)) for count in _COUNTS])
        for name in PROTOCOLS.values()
    }


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    shape = np.broadcast_shapes(numerator.shape, denominator.shape)
    quotient: Floats = np.divide(numerator, denominator, out=np.full(shape, np.nan), where=denominator > 0)
    return quotient
