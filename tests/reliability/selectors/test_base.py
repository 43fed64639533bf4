import pytest
import torch

from medssl.reliability import ConfidenceThreshold, DualAxis, Selector

SELECTORS = [ConfidenceThreshold(0.95), DualAxis(tau=0.3)]


def random_views(count: int, classes: int, shape: tuple[int, ...]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    base = 4 * torch.randn(2, classes, *shape, generator=generator)
    noise = [0.3 * torch.randn(base.shape, generator=generator) for _ in range(count)]
    return [(base + one).softmax(1).requires_grad_() for one in noise]


@pytest.mark.parametrize("selector", SELECTORS)
@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("shape", [(6, 5), (4, 3, 5)])
def test_every_selector_labels_every_voxel_and_believes_some(selector, count, shape):
    assert isinstance(selector, Selector)
    views = random_views(count, 3, shape)
    selection = selector.select(views)
    assert selection.labels.dtype == torch.int64
    assert selection.mask.dtype == torch.bool
    assert selection.labels.shape == selection.mask.shape == (2, *shape)
    assert torch.equal(selection.labels, torch.stack(views).mean(0).argmax(1))
    assert 0 < selection.mask.float().mean() < 1
    assert selection.weight is None
    assert not selection.labels.requires_grad


@pytest.mark.parametrize("selector", SELECTORS)
def test_permuting_classes_permutes_the_labels_and_leaves_the_mask(selector):
    views = random_views(3, 4, (5, 5))
    order = torch.tensor([2, 0, 3, 1])
    selection, permuted = selector.select(views), selector.select([view[:, order] for view in views])
    assert torch.equal(order[permuted.labels], selection.labels)
    assert torch.equal(permuted.mask, selection.mask)


def test_the_threshold_itself_is_believed():
    probs = torch.tensor([0.95, 0.9499, 0.96]).view(1, 1, 3)
    mask = ConfidenceThreshold(0.95).select([torch.cat([probs, 1 - probs], 1)]).mask
    assert mask.tolist() == [[True, False, True]]


def test_a_threshold_of_zero_believes_everything():
    assert ConfidenceThreshold(0).select(random_views(1, 5, (4, 4))).mask.all()


def test_dual_axis_compares_every_two_views():
    agree = torch.tensor([0.97, 0.03]).view(1, 2, 1)
    apart = torch.tensor([0.90, 0.10]).view(1, 2, 1)
    axis = DualAxis(tau=0.08)
    assert axis.select([agree, agree, agree]).mask.all()
    for views in ([apart, agree, agree], [agree, apart, agree], [agree, agree, apart]):
        assert not axis.select(views).mask.any()
    assert ConfidenceThreshold(0.85).select([agree, agree, apart]).mask.all()


def test_dual_axis_believes_a_single_view_by_its_confidence_alone():
    views = random_views(1, 3, (6, 6))
    assert torch.equal(DualAxis().select(views).mask, ConfidenceThreshold(0.85).select(views).mask)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_a_threshold_outside_its_range_is_refused(threshold):
    with pytest.raises(ValueError, match=f"threshold must be in .* got {threshold}"):
        ConfidenceThreshold(threshold)
