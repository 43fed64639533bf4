"""Runs of images in the long table: numbers that are pooled, and what they are pooled from."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medssl.metrics import ImageSums

SUMS = "sums"
"""Column of the long table that names, for a pooled number, the :class:`PooledRun` that it is of."""

POOLED_CASE = "all images"
"""What stands for a case in the row of a pooled number."""

ALL_CLASSES = -1
"""What stands for a class in the row of a number that is of no class."""

Floats = NDArray[np.float64]


class PooledRun:
    """One checkpoint of one run of images.

    It remembers its numbers under the last draw of images that it was asked for: all metrics of a bootstrap,
    and all its statistics, are of the same draws.

    Args:
        sums: of the images, which are put in the order of their names.
    """

    def __init__(self, sums: ImageSums) -> None:
        self.sums = sums.arranged(sorted(sums.cases))
        self._of_all = self.sums.pooled(), self.sums.class_iou()
        self._draws: NDArray[np.int64] | None = None
        self._of_draws = self._of_all

    @property
    def cases(self) -> tuple[str, ...]:
        """Names of the images, sorted."""
        return self.sums.cases

    def pooled(self, draws: NDArray[np.int64] | None = None) -> dict[str, Floats]:
        """Numbers by metric, ``(resamples,)`` each: :meth:`medssl.metrics.ImageSums.pooled`.

        Args:
            draws: indices of images, ``(resamples, images)``; None for all images once.
        """
        return self._under(draws)[0]

    def class_iou(self, draws: NDArray[np.int64] | None = None) -> Floats:
        """IoU of every class, ``(resamples, K)``."""
        return self._under(draws)[1]

    def _under(self, draws: NDArray[np.int64] | None) -> tuple[dict[str, Floats], Floats]:
        if draws is None:
            return self._of_all
        if self._draws is None or not np.array_equal(draws, self._draws):
            weights = case_weights(draws)
            self._of_draws = self.sums.pooled(weights), self.sums.class_iou(weights)
            self._draws = draws
        return self._of_draws

    def rows(self) -> pd.DataFrame:
        """Its numbers, one a row: columns case, class, metric, value and :data:`SUMS`.

        Pooled ones have the class :data:`ALL_CLASSES`; the IoU of a class is its Jaccard index.
        """
        pooled, (iou,) = self.pooled(), self.class_iou()
        rows = [(ALL_CLASSES, name, float(value[0])) for name, value in pooled.items()]
        rows += [(label, "jaccard", float(value)) for label, value in enumerate(iou)]
        table = pd.DataFrame(rows, columns=["class", "metric", "value"])
        table.insert(0, "case", POOLED_CASE)
        table[SUMS] = pd.Series([self] * len(table), dtype=object)
        return table


def case_weights(draws: NDArray[np.int64]) -> Floats:
    """How often each case was drawn, ``(resamples, cases)``, from indices of that shape."""
    resamples, count = draws.shape
    places = np.arange(resamples)[:, None] * count + draws
    return np.bincount(places.ravel(), minlength=resamples * count).reshape(draws.shape).astype(float)
