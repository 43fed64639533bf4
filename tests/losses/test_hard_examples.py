import numpy as np
import pytest
import torch
from torch.nn import functional as F

from medssl.losses import OhemCrossEntropy


def plain(logits, labels, threshold, min_kept):
    """Sorting, one pixel at a time."""
    pixels = []
    for b, *place in (labels != 255).nonzero().tolist():
        probs = logits[(b, slice(None), *place)].double().softmax(0)
        pixels.append(float(probs[labels[(b, *place)]]))
    pixels.sort()
    hard = [p for i, p in enumerate(pixels) if p <= threshold or i < min_kept]
    return -np.log(hard).mean()


@pytest.mark.parametrize("shape", [(7, 9), (4, 5, 3)])
@pytest.mark.parametrize("min_kept", [1, 40, 90, 10_000])
@pytest.mark.parametrize("threshold", [0.1, 0.7])
def test_equals_a_sorted_list_of_pixels(threshold, min_kept, shape):
    rng = torch.Generator().manual_seed(min_kept)
    logits = 3 * torch.randn(2, 4, *shape, generator=rng)
    labels = torch.randint(0, 4, (2, *shape), generator=rng)
    labels[:, :2] = 255
    loss = OhemCrossEntropy(threshold, min_kept)(logits, labels)
    assert loss.item() == pytest.approx(plain(logits, labels, threshold, min_kept), rel=1e-5)


def test_gradient_reaches_hard_pixels_alone():
    logits = torch.tensor([[4.0, 0.0, 9.0], [0.0, 0.0, 0.0]]).view(1, 2, 3).requires_grad_()
    labels = torch.tensor([[0, 1, 255]])
    loss = OhemCrossEntropy(0.7, 1)(logits, labels)
    loss.backward()
    assert loss.item() == pytest.approx(np.log(2))
    assert logits.grad.abs().sum(1).tolist() == [[0.0, 1.0, 0.0]]


def test_with_all_pixels_kept_it_is_the_cross_entropy():
    logits, labels = torch.randn(2, 3, 6, 6), torch.randint(0, 3, (2, 6, 6))
    torch.testing.assert_close(OhemCrossEntropy(1.0, 1)(logits, labels), F.cross_entropy(logits, labels))


def test_ignored_images_cost_nothing():
    loss = OhemCrossEntropy()(torch.randn(1, 3, 4, 4), torch.full((1, 4, 4), 255))
    assert loss == 0


@pytest.mark.parametrize("options", [{"threshold": 0.0}, {"threshold": 2.0}, {"min_kept": 0}])
def test_arguments_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        OhemCrossEntropy(**options)
