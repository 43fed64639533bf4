"""The region worth perturbing: unreliable voxels, closed, grown at random, largest piece (TCSeg eq. 16)."""

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor

from medssl.reliability.device_morphology import close_dilate_keep_largest

Mask = npt.NDArray[np.bool_]


def perturbation_region(
    unreliable: Tensor,
    *,
    closing: int = 3,
    max_dilation: int = 7,
    density: float = 0.5,
    min_voxels: int = 100,
    generator: torch.Generator | None = None,
    allow_empty_structure: bool = False,
) -> Tensor:
    """One connected region around the unreliable voxels of every sample (TCSeg eq. 16).

    Closing with a full structure; dilation with a random one, whose side is uniform in
    ``1..max_dilation`` and each of whose cells is set with probability ``density``; then nothing at all
    where fewer than ``min_voxels`` remain, else the largest component (neighbours share a face; of two
    equally large ones, that whose first voxel comes first).

    Three properties of the published code, and so of this function: voxels outside the volume count as
    reliable in both halves of the closing (scipy's ``border_value=0``), which thus clears the outermost
    ``closing // 2`` layers of the volume; a structure of even side reaches one voxel farther towards
    lower indices; and the region need not contain all it started from, since the centre of the structure
    may be unset.

    On the CPU this is scipy.ndimage; on a GPU the same morphology without a host round trip. The random
    structures are drawn on the CPU in every call, one for every sample whatever its mask, so that the
    state of ``generator`` depends on the number of calls and samples alone.

    Args:
        unreliable: bool ``(B, H, W)`` or ``(B, X, Y, Z)``.
        closing: side of the closing's structure in voxels, odd; 1 for none.
        max_dilation: largest side of the random structure in voxels, at least 1.
        density: probability that a cell of the structure is set, in [0, 1].
        min_voxels: least number of voxels after dilation.
        generator: a CPU generator; torch's default one where None.
        allow_empty_structure: a structure without a set cell empties the region, as in the published
            code (7% of all draws there); False sets its centre instead.

    Returns:
        Bool, of the shape and on the device of ``unreliable``.

    Raises:
        ValueError: where an argument is outside its range.
    """
    if unreliable.dtype is not torch.bool or unreliable.ndim not in (3, 4):
        raise ValueError(
            "unreliable must be bool (B, H, W) or (B, X, Y, Z), "
            f"got {unreliable.dtype} {tuple(unreliable.shape)}"
        )
    if closing < 1 or closing % 2 == 0:
        raise ValueError(f"closing must be odd and at least 1, got {closing}")
    if max_dilation < 1:
        raise ValueError(f"max_dilation must be at least 1, got {max_dilation}")
    if not 0 <= density <= 1:
        raise ValueError(f"density must be in [0, 1], got {density}")
    if min_voxels < 0:
        raise ValueError(f"min_voxels must be at least 0, got {min_voxels}")
    if generator is not None and generator.device.type != "cpu":
        raise ValueError(f"generator must be on the CPU, got one on {generator.device}")
    structures = []
    for _ in range(len(unreliable)):
        structure = _random_structure(unreliable.ndim - 1, max_dilation, density, generator)
        if not allow_empty_structure and not structure.any():
            structure[(len(structure) // 2,) * structure.ndim] = True
        structures.append(structure)
    if unreliable.numel() == 0:
        return unreliable.clone()
    if unreliable.device.type != "cpu":
        return close_dilate_keep_largest(unreliable, structures, closing=closing, min_voxels=min_voxels)
    region = torch.empty_like(unreliable)
    for mask, structure, largest in zip(unreliable, structures, region, strict=True):
        closed = ndimage.binary_closing(mask.numpy(), structure=np.ones((closing,) * mask.ndim, bool))
        dilated = ndimage.binary_dilation(closed, structure=structure.numpy())
        largest.copy_(torch.from_numpy(_largest_component(dilated, min_voxels)))
    return region


def _random_structure(ndim: int, max_side: int, density: float, generator: torch.Generator | None) -> Tensor:
    side = int(torch.randint(1, max_side + 1, (), generator=generator))
    return torch.rand((side,) * ndim, generator=generator) < density


def _largest_component(mask: Mask, min_voxels: int) -> Mask:
    if np.count_nonzero(mask) < min_voxels:
        return np.zeros_like(mask)
    labels = ndimage.label(mask)[0]
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    # The first voxel that lies in a component of the largest size.
    first = sizes[labels.ravel()].argmax()
    largest: Mask = mask & (labels == labels.flat[first])
    return largest
