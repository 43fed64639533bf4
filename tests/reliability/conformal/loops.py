"""The calibrator pixel by pixel, as the equations say it, with numpy's quantile."""

import math

import numpy as np


def quantile(scores, alpha, finite_sample=True):
    """``alpha`` as a fraction: no rank is rounded."""
    n = len(scores)
    rank = math.ceil((n + finite_sample) * (1 - alpha))
    # In the middle of the step, whose ends numpy may round to a neighbour.
    return 1.0 if rank > n else float(np.quantile(scores, (rank - 0.5) / n, method="inverted_cdf"))


def resized(maps, size):
    """Linear interpolation of ``(K, *S)`` between the centres of cells, axis by axis."""
    for axis, side in enumerate(size, 1):
        old = maps.shape[axis]
        centres = (np.arange(side) + 0.5) * old / side - 0.5
        maps = np.apply_along_axis(
            lambda row, at=centres, n=old: np.interp(at, np.arange(n), row), axis, maps
        )
    return maps


def nearest(labels, size):
    for axis, side in enumerate(size):
        old = labels.shape[axis]
        labels = labels.take([math.floor((i + 0.5) * old / side) for i in range(side)], axis)
    return labels


def scores_by_place(pairs, grid):
    """For each place of the grid the scores and classes of all images that are labelled there."""
    places = {}
    for probs, labels in pairs:
        p, y = resized(np.asarray(probs, np.float64), grid), nearest(np.asarray(labels), grid)
        for place in np.ndindex(*grid):
            if y[place] != 255:
                places.setdefault(place, []).append((1 - p[(y[place], *place)], int(y[place])))
    return places


def pixel_thresholds(pairs, grid, alpha, min_scores, classes=(None,)):
    """``(Q, *grid)``; one group of scores for each of ``classes``, all together where it is None."""
    places = scores_by_place(pairs, grid)
    everything = [score for scores in places.values() for score in scores]
    thresholds = np.empty((len(classes), *grid))
    for row, wanted in enumerate(classes):
        own = [s for s, k in everything if wanted in (None, k)]
        few = wanted is not None and len(own) < min_scores
        whole = quantile([s for s, _ in everything] if few else own, alpha)
        for place in np.ndindex(*grid):
            at = [s for s, k in places.get(place, []) if wanted in (None, k)]
            thresholds[(row, *place)] = whole if len(at) < min_scores else quantile(at, alpha)
    return thresholds


def label(probs, inside, background):
    """Of one pixel, by the rule's four lines."""
    members = [k for k in range(len(probs)) if inside[k]]
    if not members:
        return 255
    if background not in members:
        return max(members, key=lambda k: probs[k])
    if members == [background]:
        return background
    return max((k for k in members if k != background), key=lambda k: probs[k])
