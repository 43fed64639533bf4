import pytest
import torch

from medssl.reliability.grids import covered, on_grid


@pytest.mark.parametrize("shape", [(7,), (8, 6), (4, 6, 8)])
def test_on_its_own_grid_nothing_changes(shape):
    x = torch.randn(2, 3, *shape)
    assert on_grid(x, shape) is x
    mask = x[:, 0] > 0
    assert covered(mask, shape) is mask


@pytest.mark.parametrize(("fine", "coarse"), [((12,), (3,)), ((9, 8), (3, 2)), ((8, 8, 6), (2, 4, 3))])
def test_probabilities_stay_probabilities_and_planes_stay_planes(fine, coarse):
    probs = torch.randn(2, 4, *fine).softmax(1)
    for size in (coarse, fine):
        resized = on_grid(on_grid(probs, coarse), size)
        assert resized.shape == (2, 4, *size)
        torch.testing.assert_close(resized.sum(1), torch.ones(2, *size))
        assert resized.min() >= 0
    centres = [(torch.arange(n) + 0.5) / n for n in fine]
    plane = sum(torch.meshgrid(*centres, indexing="ij"))[None, None]
    expected = sum(torch.meshgrid(*[(torch.arange(n) + 0.5) / n for n in coarse], indexing="ij"))
    torch.testing.assert_close(on_grid(plane, coarse)[0, 0], expected)


def test_half_precision_is_resized_in_float32():
    x = torch.rand(1, 2, 8, 8).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert on_grid(x, (2, 2)).dtype == torch.float32
    assert torch.equal(on_grid(x, (2, 2)), on_grid(x.float(), (2, 2)))


def test_a_cell_is_covered_where_all_its_pixels_are():
    mask = torch.ones(1, 9, 8, dtype=torch.bool)
    mask[0, 3, 5] = False
    expected = torch.ones(1, 3, 2, dtype=torch.bool)
    expected[0, 1, 1] = False
    assert torch.equal(covered(mask, (3, 2)), expected)
    assert not covered(torch.zeros(2, 8, 8, 8, dtype=torch.bool), (2, 2, 2)).any()
