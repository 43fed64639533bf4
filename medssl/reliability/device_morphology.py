"""Binary morphology and connected components in tensor operations of a fixed number.

scipy.ndimage and connected-components-3d run on the CPU, so that a mask on a GPU would have to travel
there and the whole device to wait. Nothing here depends on a value that only the device knows.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


@torch.no_grad()
def close_dilate_keep_largest(
    mask: Tensor, structures: Sequence[Tensor], *, closing: int, min_voxels: int
) -> Tensor:
    """The morphology of :func:`~medssl.reliability.perturbation_region` on any device.

    Args:
        mask: bool ``(B, H, W)`` or ``(B, X, Y, Z)``.
        structures: B bool tensors on the CPU, square or cubic, to dilate with.
        closing: odd side of the full structure to close with.
        min_voxels: samples with fewer voxels after dilation become empty.

    Returns:
        Bool, as ``mask``; equal to what scipy.ndimage gives.
    """
    with torch.autocast(mask.device.type, enabled=False):
        dilated = _dilate(_close(mask, closing), structures)
    enough = dilated.flatten(1).sum(1) >= min_voxels
    return largest_component(dilated) & enough.view(-1, *[1] * (mask.ndim - 1))


def _close(mask: Tensor, side: int) -> Tensor:
    """Closing with a full structure; voxels outside count as unset in both halves, as in scipy."""
    pool = F.max_pool3d if mask.ndim == 4 else F.max_pool2d
    reach = side // 2
    dilated = pool(mask.unsqueeze(1).float(), side, stride=1, padding=reach)
    # Pooling ignores what is outside; an erosion that sees unset voxels there needs them written out.
    outside = F.pad(dilated, [reach] * 2 * (mask.ndim - 1))
    return (-pool(-outside, side, stride=1)).squeeze(1) > 0.5


def _dilate(mask: Tensor, structures: Sequence[Tensor]) -> Tensor:
    """Dilation of each sample with its own structure, whose origin is cell ``side // 2`` of each axis."""
    axes = mask.ndim - 1
    reach = max(len(structure) // 2 for structure in structures)
    kernels = torch.zeros(len(structures), 1, *[2 * reach + 1] * axes)
    for kernel, structure in zip(kernels, structures, strict=True):
        start = reach - len(structure) // 2
        kernel[(0, *[slice(start, start + len(structure))] * axes)] = structure.float()
    # A convolution in the mathematical sense: torch's is a correlation, hence the flip.
    kernels = kernels.flip(*range(2, axes + 2)).to(mask.device, non_blocking=True)
    convolve = F.conv3d if axes == 3 else F.conv2d
    hits = convolve(mask.unsqueeze(0).float(), kernels, padding=reach, groups=len(structures))
    return hits.squeeze(0) > 0.5


def largest_component(mask: Tensor) -> Tensor:
    """The largest component of every sample; of equally large ones, that with the lowest first index.

    Args:
        mask: bool ``(B, *S)``.

    Returns:
        Bool ``(B, *S)``; empty where the sample is.
    """
    roots = component_roots(mask)
    counts = mask.flatten().long()
    sizes = torch.zeros_like(counts).scatter_add_(0, roots.flatten(), counts)
    own_size = (sizes[roots] * mask).flatten(1)
    # argmax gives the first of several maxima.
    winner = roots.flatten(1).gather(1, own_size.argmax(1, keepdim=True))
    return mask & (roots == winner.view(-1, *[1] * (mask.ndim - 1)))


def component_roots(mask: Tensor) -> Tensor:
    """Label the connected components of every sample; neighbours share a face.

    Borůvka's scheme. At first every run of set voxels along the last axis is a component of its own.
    In each round, every component hooks onto the adjacent one of the lowest root, and pointer jumping
    then lets all voxels point at the new root.

    Why a fixed number of rounds suffices, for a true component that is in ``c`` pieces before a round:

    - Hooking leaves no cycle but mutual pairs, which are broken: in a cycle, let r be the lowest root
      and s what r hooks onto. r is adjacent to s, so s hooks onto nothing higher than r, and nothing in
      the cycle is lower: s hooks onto r.
    - While ``c > 1``, every piece has an adjacent one and hooks. Every tree has at least two pieces, so
      at most ``floor(c / 2)`` are left: rounds are as many as one can halve the first ``c`` before it
      is 1, that is ``floor(log2 c)``.
    - A voxel points at its old root, and at most ``c - 1`` hooks lead from there to the new one: a path
      of at most ``c`` steps, which ``ceil(log2 c)`` jumps, each doubling the reach, walk to its end.

    The first ``c`` is at most the number of runs that fit into a sample: half its voxels, rounded up in
    each line. The form of the component, a spiral or a comb, does not enter.

    Args:
        mask: bool ``(B, *S)``.

    Returns:
        int64 ``(B, *S)``: the flat index (over the whole batch) of one voxel of the same component,
        equal all over the component; for an unset voxel its own index.
    """
    index = torch.arange(mask.numel(), device=mask.device).view(mask.shape)
    starts = mask.clone()
    starts[..., 1:] &= ~mask[..., :-1]
    roots = torch.where(mask, torch.where(starts, index, 0).cummax(-1).values, index)
    touching = [
        (axis, mask.narrow(axis, 0, mask.shape[axis] - 1) & mask.narrow(axis, 1, mask.shape[axis] - 1))
        for axis in range(1, mask.ndim - 1)
    ]
    pieces = math.prod(mask.shape[1:-1]) * ((mask.shape[-1] + 1) // 2)
    while pieces > 1:
        parents = _hook(roots, touching, index)
        for _ in range((pieces - 1).bit_length()):
            parents = parents[parents]
        roots = parents.view(mask.shape)
        pieces //= 2
    return roots


def _hook(roots: Tensor, touching: Sequence[tuple[int, Tensor]], index: Tensor) -> Tensor:
    """Parents, flat, after every component has hooked onto the adjacent one of the lowest root."""
    none = roots.numel()
    lowest = torch.full_like(roots, none)
    for axis, joined in touching:
        length = roots.shape[axis] - 1
        low, high = roots.narrow(axis, 0, length), roots.narrow(axis, 1, length)
        foreign = joined & (low != high)
        for offset, neighbours in ((0, high), (1, low)):
            side = lowest.narrow(axis, offset, length)
            side.copy_(torch.minimum(side, torch.where(foreign, neighbours, none)))
    roots, lowest, index = roots.flatten(), lowest.flatten(), index.flatten()
    # Voxels inside a piece report to themselves: thousands of atomic writes to one root would queue.
    report_to = torch.where(lowest < none, roots, index)
    hooks = torch.full_like(roots, none).scatter_reduce_(0, report_to, lowest, "amin")
    parents = torch.where(hooks < none, hooks, roots)
    mutual = (parents[parents] == index) & (index < parents)
    return torch.where(mutual, index, parents)
