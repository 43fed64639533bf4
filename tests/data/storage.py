"""One scan stored in every order that its axes can have."""

from itertools import permutations, product

import numpy as np

ORDERS = [(axes, flips) for axes in permutations(range(3)) for flips in product((False, True), repeat=3)]
"""Of each stored axis the axis of the scan that it is, and whether it runs the other way: 48."""


def stored(array, order):
    """The array as a file of this order holds it."""
    axes, flips = order
    return np.ascontiguousarray(
        array.transpose(axes)[tuple(slice(None, None, -1 if f else 1) for f in flips)]
    )


def restored(array, order):
    """Back to the order of the scan."""
    axes, flips = order
    return np.ascontiguousarray(array[_turned(flips)].transpose(np.argsort(axes)))


def stored_affine(affine, shape, order):
    """The affine of :func:`stored`, such that every voxel stays where it is."""
    axes, flips = order
    change = np.zeros((4, 4))
    change[3, 3] = 1
    for new, (old, flip) in enumerate(zip(axes, flips, strict=True)):
        change[old, new] = -1 if flip else 1
        change[old, 3] = shape[old] - 1 if flip else 0
    return affine @ change


def _turned(flips):
    return tuple(slice(None, None, -1 if flip else 1) for flip in flips)
