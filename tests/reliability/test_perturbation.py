import pytest
import torch

from medssl.reliability import perturbation_region
from medssl.reliability.device_morphology import close_dilate_keep_largest
from medssl.reliability.perturbation import _random_structure

from . import loops


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_mask(shape: tuple[int, ...], fill: float, seed: int = 0, batch: int = 2) -> torch.Tensor:
    return torch.rand(batch, *shape, generator=seeded(seed)) < fill


def drawn(batch: int, ndim: int, max_dilation: int, density: float, generator: torch.Generator):
    """The structures of a call with a generator in the same state."""
    return [_random_structure(ndim, max_dilation, density, generator) for _ in range(batch)]


@pytest.mark.parametrize("shape", [(9, 8), (6, 5, 7)])
@pytest.mark.parametrize("fill", [0.0, 0.05, 0.2, 1.0])
@pytest.mark.parametrize("max_dilation", [1, 4, 5])
def test_the_region_equals_the_one_written_as_loops(shape, fill, max_dilation):
    for seed in range(4):
        mask = random_mask(shape, fill, seed)
        region = perturbation_region(
            mask,
            max_dilation=max_dilation,
            min_voxels=3,
            generator=seeded(seed),
            allow_empty_structure=True,
        )
        structures = drawn(2, len(shape), max_dilation, 0.5, seeded(seed))
        for sample, structure, sample_region in zip(mask, structures, region, strict=True):
            grown = loops.dilate(loops.close(sample, 3), structure)
            expected = loops.largest_component(grown) if grown.sum() >= 3 else torch.zeros_like(grown)
            assert torch.equal(sample_region, expected)


@pytest.mark.parametrize("shape", [(17, 16), (11, 12, 9), (1, 1, 1), (3, 1, 40)])
@pytest.mark.parametrize("fill", [0.0, 0.01, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("min_voxels", [0, 1, 40])
def test_the_path_for_gpus_gives_the_same_region(shape, fill, min_voxels):
    for seed in range(3):
        mask = random_mask(shape, fill, seed, batch=3)
        region = perturbation_region(
            mask, min_voxels=min_voxels, generator=seeded(seed), allow_empty_structure=True
        )
        structures = drawn(3, len(shape), 7, 0.5, seeded(seed))
        on_device = close_dilate_keep_largest(mask, structures, closing=3, min_voxels=min_voxels)
        assert torch.equal(region, on_device)


def test_the_region_is_one_component_or_empty():
    for seed in range(10):
        mask = random_mask((12, 12, 8), 0.03, seed)
        for sample in perturbation_region(mask, min_voxels=20, generator=seeded(seed)):
            assert len(loops.components(sample)) <= 1


def test_fewer_voxels_than_the_minimum_give_nothing_and_as_many_give_something():
    mask = torch.zeros(1, 9, 9, dtype=torch.bool)
    mask[0, 2:5, 2:6] = True
    for min_voxels, expected in ((12, 12), (13, 0)):
        region = perturbation_region(mask, max_dilation=1, density=1, min_voxels=min_voxels)
        assert region.sum() == expected


def test_the_minimum_counts_all_voxels_before_the_largest_component_is_kept():
    mask = torch.zeros(1, 12, 12, dtype=torch.bool)
    mask[0, 2:4, 2:4] = True
    mask[0, 8:10, 8:11] = True
    region = perturbation_region(mask, max_dilation=1, density=1, min_voxels=10)
    assert region.sum() == 6


def test_closing_clears_the_outermost_layer_as_scipy_does():
    mask = torch.ones(1, 6, 7, 8, dtype=torch.bool)
    region = perturbation_region(mask, max_dilation=1, density=1, min_voxels=0)
    assert region[0, 1:-1, 1:-1, 1:-1].all()
    assert region.sum() == 4 * 5 * 6


def test_a_structure_of_even_side_reaches_farther_towards_lower_indices():
    mask = torch.zeros(1, 9, 9, dtype=torch.bool)
    mask[0, 4, 4] = True
    for seed in range(50):
        if int(torch.randint(1, 3, (), generator=seeded(seed))) == 2:
            break
    region = perturbation_region(
        mask, closing=1, max_dilation=2, density=1, min_voxels=0, generator=seeded(seed)
    )
    assert region[0].nonzero().tolist() == [[3, 3], [3, 4], [4, 3], [4, 4]]


def test_an_empty_structure_keeps_the_region_unless_the_published_behaviour_is_asked_for():
    mask = torch.zeros(1, 9, 9, 9, dtype=torch.bool)
    mask[0, 3:6, 3:6, 3:6] = True
    assert torch.equal(perturbation_region(mask, density=0, min_voxels=0), mask)
    assert not perturbation_region(mask, density=0, min_voxels=0, allow_empty_structure=True).any()


def test_an_empty_structure_is_as_frequent_as_it_is_in_the_published_code():
    structures = drawn(4000, 3, 7, 0.5, seeded())
    share = sum(not structure.any() for structure in structures) / 4000
    assert share == pytest.approx(sum(0.5 ** (side**3) for side in range(1, 8)) / 7, abs=0.015)
    sides = torch.tensor([len(structure) for structure in structures])
    assert sides.unique().tolist() == list(range(1, 8))


def test_the_same_seed_gives_the_same_region_and_another_seed_another():
    mask = random_mask((14, 14, 10), 0.05)
    regions = [perturbation_region(mask, min_voxels=10, generator=seeded(seed)) for seed in (1, 1, 2)]
    assert torch.equal(regions[0], regions[1])
    assert not torch.equal(regions[0], regions[2])
    torch.manual_seed(1)
    assert torch.equal(perturbation_region(mask, min_voxels=10), regions[0])


def test_the_generator_advances_alike_whatever_the_mask_and_the_switches():
    states = []
    for fill in (0.0, 0.1, 1.0):
        for allow in (False, True):
            generator = seeded()
            perturbation_region(
                random_mask((8, 8), fill), generator=generator, min_voxels=5, allow_empty_structure=allow
            )
            states.append(generator.get_state())
    assert all(torch.equal(state, states[0]) for state in states)
    assert not torch.equal(states[0], seeded().get_state())


def test_each_sample_has_a_structure_of_its_own():
    mask = torch.zeros(1, 20, 20, dtype=torch.bool)
    mask[0, 8:12, 8:12] = True
    region = perturbation_region(mask.repeat(6, 1, 1), min_voxels=0, generator=seeded())
    assert len({tuple(sample.flatten().tolist()) for sample in region}) > 1


def test_the_input_stays_as_it_was():
    mask = random_mask((8, 8), 0.3)
    before = mask.clone()
    perturbation_region(mask, min_voxels=0)
    assert torch.equal(mask, before)


def test_a_batch_of_no_samples_passes():
    assert perturbation_region(torch.zeros(0, 4, 4, dtype=torch.bool)).shape == (0, 4, 4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"closing": 2}, "closing must be odd and at least 1, got 2"),
        ({"closing": 0}, "closing must be odd and at least 1, got 0"),
        ({"max_dilation": 0}, "max_dilation must be at least 1, got 0"),
        ({"density": 1.5}, r"density must be in \[0, 1\], got 1.5"),
        ({"min_voxels": -1}, "min_voxels must be at least 0, got -1"),
    ],
)
def test_settings_outside_their_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        perturbation_region(torch.zeros(1, 4, 4, dtype=torch.bool), **settings)


def test_a_mask_that_is_not_boolean_or_has_no_batch_is_refused():
    with pytest.raises(ValueError, match=r"unreliable must be bool .* torch.float32"):
        perturbation_region(torch.zeros(1, 4, 4))
    with pytest.raises(ValueError, match=r"unreliable must be bool .* \(4, 4\)"):
        perturbation_region(torch.zeros(4, 4, dtype=torch.bool))
