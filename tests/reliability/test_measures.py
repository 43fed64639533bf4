import math

import pytest
import torch

from medssl.reliability import confidence, disagreement, entropy, mean_view

from . import loops

SHAPES = [(4, 3), (3, 4, 2), (1, 1, 1)]


def random_probs(classes: int, shape: tuple[int, ...], seed: int, batch: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(batch, classes, *shape, generator=generator)).softmax(1)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_measures_agree_with_the_equations_written_as_loops(classes, shape):
    views = [random_probs(classes, shape, seed) for seed in range(4)]
    a, b = views[:2]
    for measure, expected in (
        (confidence(views), loops.confidence(views)),
        (disagreement(a, b), loops.disagreement(a, b, "l1")),
        (disagreement(a, b, norm="max"), loops.disagreement(a, b, "max")),
        (entropy(a), loops.entropy(a)),
    ):
        assert measure.dtype == torch.float32
        torch.testing.assert_close(measure.double(), expected, atol=1e-6, rtol=0)


def test_permuting_classes_changes_nothing():
    views = [random_probs(5, (3, 4), seed) for seed in range(3)]
    order = torch.tensor([3, 0, 4, 1, 2])
    permuted = [view[:, order] for view in views]
    assert torch.equal(confidence(permuted), confidence(views))
    torch.testing.assert_close(disagreement(*permuted[:2]), disagreement(*views[:2]), atol=1e-6, rtol=0)
    torch.testing.assert_close(entropy(permuted[0]), entropy(views[0]), atol=1e-6, rtol=0)


def test_an_image_equals_a_volume_with_one_slice():
    views = [random_probs(3, (5, 4), seed) for seed in range(3)]
    volumes = [view.unsqueeze(-1) for view in views]
    assert torch.equal(confidence(volumes).squeeze(-1), confidence(views))
    assert torch.equal(disagreement(*volumes[:2]).squeeze(-1), disagreement(*views[:2]))
    assert torch.equal(entropy(volumes[0]).squeeze(-1), entropy(views[0]))


@pytest.mark.parametrize("norm", ["l1", "max"])
def test_a_view_does_not_disagree_with_itself(norm):
    view = random_probs(4, (3, 3, 3), 0)
    assert not disagreement(view, view, norm=norm).any()


def test_largest_difference_is_half_the_l1_distance_of_two_classes_only():
    a, b = random_probs(2, (6, 6), 0), random_probs(2, (6, 6), 1)
    torch.testing.assert_close(disagreement(a, b, norm="max"), disagreement(a, b) / 2, atol=1e-6, rtol=0)
    a, b = random_probs(3, (6, 6), 0), random_probs(3, (6, 6), 1)
    assert (disagreement(a, b, norm="max") < disagreement(a, b)).all()


def test_opposite_certainties_disagree_by_two():
    a = torch.tensor([[[1.0]], [[0.0]]]).unsqueeze(0)
    assert disagreement(a, a.flip(1)).item() == 2


@pytest.mark.parametrize("classes", [2, 5])
def test_entropy_spans_zero_to_the_logarithm_of_the_class_count(classes):
    one_hot = torch.eye(classes).view(1, classes, classes)
    assert torch.equal(entropy(one_hot), torch.zeros(1, classes))
    uniform = torch.full((1, classes, 1), 1 / classes)
    assert entropy(uniform).item() == pytest.approx(math.log(classes), abs=1e-6)


def test_entropy_has_a_finite_gradient_where_a_probability_is_zero():
    logits = torch.tensor([[[200.0, 1.0], [-200.0, 0.5]]], requires_grad=True)
    probs = logits.softmax(1)
    assert probs[0, 1, 0] == 0
    entropy(probs).sum().backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[0, :, 1].abs().min() > 0


def test_entropy_gradient_is_the_analytic_one():
    probs = random_probs(3, (2, 2), 0).double().requires_grad_()
    assert torch.autograd.gradcheck(entropy, probs)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_input_is_computed_in_float32(dtype):
    views = [random_probs(3, (4, 4), seed).to(dtype) for seed in range(3)]
    exact = [view.float() for view in views]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        measures = [confidence(views), disagreement(*views[:2]), entropy(views[0])]
    for ours, reference in zip(
        measures, [confidence(exact), disagreement(*exact[:2]), entropy(exact[0])], strict=True
    ):
        assert ours.dtype == torch.float32
        assert torch.equal(ours, reference)


def test_the_mean_view_weighs_every_view_alike():
    views = [torch.full((1, 2, 1), value) for value in (0.0, 0.25, 1.0, 0.75)]
    assert torch.equal(mean_view(views), torch.full((1, 2, 1), 0.5))


def test_faults_name_the_argument_and_the_value():
    view = random_probs(2, (3, 3), 0)
    with pytest.raises(ValueError, match="views must be a sequence"):
        confidence(view)
    with pytest.raises(ValueError, match="views must hold at least one"):
        confidence([])
    with pytest.raises(ValueError, match=r"views must share one shape.*\(2, 2, 3, 2\)"):
        confidence([view, view[..., :2]])
    with pytest.raises(ValueError, match=r"a and b must share.*\(2, 1, 3, 3\)"):
        disagreement(view, view[:, :1])
    with pytest.raises(ValueError, match=r"norm 'L1'.*did you mean 'l1'|norm 'L1'"):
        disagreement(view, view, norm="L1")
    with pytest.raises(ValueError, match=r"probs must have the shape.*\(2, 3\)"):
        entropy(torch.rand(2, 3))
