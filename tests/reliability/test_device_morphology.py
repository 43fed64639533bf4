"""The path for GPUs, compared on the CPU with scipy.ndimage and with a flood fill."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import ndimage

from medssl.reliability import device_morphology
from medssl.reliability.device_morphology import close_dilate_keep_largest, component_roots, largest_component

from . import loops

SHAPES = [(1, 1), (5, 1), (1, 7), (9, 8), (21, 30), (1, 1, 1), (4, 5, 6), (12, 11, 13), (1, 1, 9), (9, 1, 1)]
FILLS = [0.0, 0.02, 0.3, 0.55, 0.6, 0.8, 1.0]


def random_mask(shape: tuple[int, ...], fill: float, seed: int = 0) -> torch.Tensor:
    return torch.rand(2, *shape, generator=torch.Generator().manual_seed(seed)) < fill


def serpentine(rows: int, columns: int) -> torch.Tensor:
    """One path that fills every other row and turns at alternating ends."""
    mask = torch.zeros(rows, columns, dtype=torch.bool)
    mask[::2] = True
    mask[1::4, -1] = True
    mask[3::4, 0] = True
    return mask


def spiral(side: int) -> torch.Tensor:
    """One path from the corner to the middle, one voxel wide, with walls of one voxel."""
    mask = torch.zeros(side, side, dtype=torch.bool)
    row = column = turns = 0
    heading = (0, 1)
    mask[0, 0] = True
    while turns < 2:
        ahead = [(row + n * heading[0], column + n * heading[1]) for n in (1, 2)]
        clear = loops.inside(ahead[0], mask.shape) and not (
            loops.inside(ahead[1], mask.shape) and bool(mask[ahead[1]])
        )
        if clear:
            (row, column), turns = ahead[0], 0
            mask[row, column] = True
        else:
            heading, turns = (heading[1], -heading[0]), turns + 1
    return mask


def zigzag(teeth: int, depth: int) -> torch.Tensor:
    """One path up and down whose turns lie at shuffled heights, so that its pieces merge in many rounds."""
    generator = torch.Generator().manual_seed(1)
    turns = (torch.randperm(teeth + 1, generator=generator) % (depth // 3)).tolist()
    ends = [turn if place % 2 else depth - 1 - turn for place, turn in enumerate(turns)]
    mask = torch.zeros(depth, 2 * teeth - 1, dtype=torch.bool)
    for tooth in range(teeth):
        top, bottom = sorted(ends[tooth : tooth + 2])
        mask[top : bottom + 1, 2 * tooth] = True
        if tooth + 1 < teeth:
            mask[ends[tooth + 1], 2 * tooth + 1] = True
    return mask


def assert_same_components(mask: torch.Tensor) -> None:
    """The labels are those of scipy up to names, and each is the index of a voxel of its component."""
    roots = component_roots(mask)
    flat = mask.flatten()
    for sample, own in zip(mask, roots, strict=True):
        labels, count = ndimage.label(sample.numpy())
        pairs = set(zip(labels[labels > 0].tolist(), own[sample].tolist(), strict=True))
        assert len(pairs) == count == len({root for _, root in pairs})
        assert flat[own[sample]].all()
    assert torch.equal(roots.flatten()[~flat], torch.arange(flat.numel())[~flat])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("fill", FILLS)
def test_components_of_random_masks_equal_those_of_scipy(shape, fill):
    for seed in range(3):
        assert_same_components(random_mask(shape, fill, seed))


@pytest.mark.parametrize(
    "orientation", [lambda m: m, lambda m: m.T, lambda m: m.flip(0), lambda m: m.flip(1)]
)
@pytest.mark.parametrize(
    "path", [serpentine(41, 40), spiral(41), zigzag(60, 40)], ids=["serpentine", "spiral", "zigzag"]
)
def test_a_path_through_the_whole_image_is_one_component(path, orientation):
    mask = orientation(path).contiguous()
    assert ndimage.label(mask.numpy())[1] == 1
    assert mask.sum() > 0.3 * mask.numel()
    assert len(component_roots(mask.unsqueeze(0))[0][mask].unique()) == 1


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_a_path_through_a_whole_volume_is_one_component(axes):
    volume = torch.zeros(15, 16, 15, dtype=torch.bool)
    volume[::2] = serpentine(15, 16).T
    for level in range(1, 15, 2):  # the storeys are joined at alternating ends of the path
        end = volume[level - 1].nonzero()[-1 if level % 4 == 1 else 0]
        volume[level, end[0], end[1]] = True
    mask = volume.permute(axes).contiguous().unsqueeze(0)
    assert ndimage.label(mask[0].numpy())[1] == 1
    assert len(component_roots(mask)[0][mask[0]].unique()) == 1


def test_every_round_at_least_halves_the_pieces_of_a_component(monkeypatch):
    """The premise of the fixed number of rounds, on masks near the percolation threshold."""
    seen = []
    hook = device_morphology._hook

    def counting(roots, touching, index):
        seen.append(roots.clone())
        return hook(roots, touching, index)

    monkeypatch.setattr(device_morphology, "_hook", counting)
    most_rounds = 0
    for seed in range(5):
        for mask in (random_mask((40, 40), 0.6, seed)[:1], random_mask((12, 12, 12), 0.33, seed)[:1]):
            seen.clear()
            final = component_roots(mask)
            for component in final[mask].unique():
                inside = final == component
                pieces = [len(roots[inside].unique()) for roots in [*seen, final]]
                for before, after in pairwise(pieces):
                    assert after <= max(1, before // 2)
                most_rounds = max(most_rounds, sum(count > 1 for count in pieces))
    assert most_rounds >= 3


@pytest.mark.parametrize("shape", [(9, 8), (1, 6), (5, 4, 6)])
@pytest.mark.parametrize("fill", FILLS)
def test_the_largest_component_equals_that_of_a_flood_fill(shape, fill):
    mask = random_mask(shape, fill)
    expected = torch.stack([loops.largest_component(sample) for sample in mask])
    assert torch.equal(largest_component(mask), expected)


def test_of_two_equal_components_the_first_is_kept():
    mask = torch.tensor([[[0, 0, 1, 1], [1, 0, 0, 0], [1, 0, 1, 1]]], dtype=torch.bool)
    assert largest_component(mask)[0].nonzero().tolist() == [[0, 2], [0, 3]]


def test_samples_of_a_batch_do_not_touch():
    mask = torch.ones(3, 2, 2, dtype=torch.bool)
    assert len(component_roots(mask).unique()) == 3


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("closing", [1, 3, 5])
def test_closing_and_dilation_equal_those_of_scipy_up_to_the_border(shape, closing):
    generator = torch.Generator().manual_seed(0)
    for fill in FILLS:
        mask = random_mask(shape, fill)
        for sides in ((1, 2), (3, 4), (6, 7)):
            structures = [torch.rand((side,) * len(shape), generator=generator) < 0.5 for side in sides]
            closed = device_morphology._close(mask, closing)
            dilated = device_morphology._dilate(closed, structures)
            for sample, structure, c, d in zip(mask, structures, closed, dilated, strict=True):
                expected = ndimage.binary_closing(sample.numpy(), np.ones((closing,) * len(shape)))
                assert np.array_equal(c.numpy(), expected)
                assert np.array_equal(d.numpy(), ndimage.binary_dilation(expected, structure.numpy()))


def test_an_empty_structure_empties_one_sample_and_not_the_other():
    mask = torch.ones(2, 6, 6, dtype=torch.bool)
    structures = [torch.zeros(3, 3, dtype=torch.bool), torch.ones(1, 1, dtype=torch.bool)]
    region = close_dilate_keep_largest(mask, structures, closing=1, min_voxels=0)
    assert not region[0].any()
    assert region[1].all()
