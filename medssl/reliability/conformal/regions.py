"""Which places of an image share their calibration scores: the poolings of Kandinsky conformal prediction.

"Kandinsky Conformal Prediction: Efficient Calibration of Image Segmentation Algorithms" (Brunekreef et al.,
CVPR 2024). Places are alike where their scores have like quantiles (:data:`LEVELS`).
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2
from scipy.optimize import differential_evolution
from scipy.spatial.distance import cdist
from torch import Tensor

from medssl.common.draws import generator
from medssl.reliability.conformal.quantiles import row_levels

LEVELS = (0.6, 0.7, 0.8, 0.9)
"""The quantiles by which places are compared."""
REGIONS = 4
"""Clusters, or annuli with what lies outside them."""
SIDE = 512
"""Side of the square on which the published bounds of annuli count as pixels."""
# Centre from the middle of the image, and three radii.
_BOUNDS = ((-20.0, 20.0), (-20.0, 20.0), (0.0, 150.0), (0.0, 150.0), (0.0, 300.0))
_SAMPLES = 600

Floats = NDArray[np.float64]


def cluster_regions(ordered: Tensor, counts: Tensor, *, seed: int) -> Tensor:
    """Four clusters of places by k-means, wherever they lie.

    Args:
        ordered: ``(L, N)``, scores of each place as for
            :func:`~medssl.reliability.conformal.quantiles.row_quantiles`.
        counts: ``(L,)``.
        seed: of the first centres.

    Returns:
        int8 ``(L,)``: 0 to 3, in the order of their centres; -1 where a place has no score.
    """
    labeled = counts > 0
    vectors = row_levels(ordered[labeled], counts[labeled], LEVELS).double().numpy()
    distinct = len(np.unique(vectors, axis=0))
    if distinct <= REGIONS:
        clusters = np.unique(vectors, axis=0, return_inverse=True)[1].reshape(-1)
    else:
        centres, clusters = kmeans2(vectors, REGIONS, iter=50, minit="++", seed=generator(seed, "kmeans"))
        clusters = np.argsort(np.argsort(centres.mean(1), kind="stable"))[clusters]
    regions = torch.full((len(counts),), -1, dtype=torch.int8)
    regions[labeled] = torch.from_numpy(clusters.astype(np.int8))
    return regions


def annulus_regions(ordered: Tensor, counts: Tensor, grid: tuple[int, int], *, seed: int) -> Tensor:
    """Three rings about a common centre and what lies outside them, by differential evolution.

    The centre and the radii are those whose rings are most alike within: the mean, over places, of the mean
    distance between a place's quantiles and those of its ring. Distances are measured on up to 600 places
    drawn at random. On a grid that is not square the rings are ellipses.

    Args:
        ordered: ``(L, N)``, scores of each place as for
            :func:`~medssl.reliability.conformal.quantiles.row_quantiles`.
        counts: ``(L,)``.
        grid: height and width, ``L`` in all.
        seed: of places and of the evolution.

    Returns:
        int8 ``(L,)``: 0 for the inner disc to 3 for the outside; every place has a ring.
    """
    rng = generator(seed, "genann")
    labeled = counts.numpy().nonzero()[0]
    sample = np.sort(rng.permutation(labeled)[:_SAMPLES])
    places = _positions(grid)
    vectors = row_levels(ordered[sample], counts[sample], LEVELS).double().numpy()
    apart, at = cdist(vectors, vectors), places[sample]

    def spread(parameters: Floats) -> float:
        member = np.eye(REGIONS)[_rings(at, parameters)]
        within = np.einsum("ir,ir->r", apart @ member, member)
        return float((within / np.maximum(member.sum(0), 1)).sum() / len(at))

    # The published settings; the published tolerance of 0.5 stops at once, whatever was found.
    found = differential_evolution(
        spread, _BOUNDS, popsize=10, mutation=0.8, recombination=0.7, maxiter=100, tol=0.01, polish=False,
        seed=rng,
    )  # fmt: skip
    return torch.from_numpy(_rings(places, found.x).astype(np.int8))


def _positions(grid: tuple[int, int]) -> Floats:
    """Of every place of the grid, from the middle of the image, ``(L, 2)``."""
    axes = [((np.arange(side) + 0.5) / side - 0.5) * SIDE for side in grid]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)


def _rings(places: Floats, parameters: Floats) -> NDArray[np.int64]:
    distance = np.linalg.norm(places - parameters[:2], axis=1)
    rings: NDArray[np.int64] = np.searchsorted(np.sort(parameters[2:]), distance)
    return rings
