from dataclasses import fields

import pytest
import torch

from medssl.reliability import DualAxis, DualAxisReliability
from tests.reliability import loops


def random_case(classes: int, shape: tuple[int, ...] = (4, 3, 2), seed: int = 0):
    """Views near to each other, so that each of the four quadrants has voxels."""
    generator = torch.Generator().manual_seed(seed)
    base = 4 * torch.randn(2, classes, *shape, generator=generator)
    maps = [base + 0.4 * torch.randn(base.shape, generator=generator) for _ in range(6)]
    views = [x.softmax(1) for x in maps[:4]]
    affinities = [x.softmax(1) for x in maps[4:]]
    return views, [(views[0], views[1]), (views[2], views[3])], [(affinities[0], affinities[1])]


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("shape", [(5, 4), (4, 3, 2)])
@pytest.mark.parametrize("norm", ["l1", "max"])
@pytest.mark.parametrize("switches", [{}, {"use_confidence": False}, {"use_uncertainty": False}])
def test_masks_agree_with_the_equations_written_as_loops(classes, shape, norm, switches):
    views, probability_pairs, feature_pairs = random_case(classes, shape)
    settings = {"tau": 0.1, "feature_tau": 0.2, "tau_min": 0.1, "tau_max": 0.8, "norm": norm, **switches}
    reliability = DualAxis(**settings)(
        views, probability_pairs=probability_pairs, feature_pairs=feature_pairs
    )
    expected = loops.dual_axis(views, probability_pairs, feature_pairs, **settings)
    for name, value in expected.items():
        ours = getattr(reliability, name)
        if value.dtype is torch.bool:
            assert torch.equal(ours, value), name
        else:
            torch.testing.assert_close(ours.double(), value, atol=1e-5, rtol=1e-6, msg=name)


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("switches", [{}, {"use_confidence": False}, {"use_uncertainty": False}])
def test_every_voxel_is_believed_or_unreliable(classes, switches):
    views, probability_pairs, feature_pairs = random_case(classes, (8, 8, 4))
    reliability = DualAxis(tau=0.15, **switches)(
        views, probability_pairs=probability_pairs, feature_pairs=feature_pairs
    )
    assert torch.equal(reliability.positive, reliability.confident & reliability.certain)
    assert torch.equal(reliability.unreliable, ~reliability.positive)
    if not switches:
        for confident in (reliability.confident, ~reliability.confident):
            assert all((confident & certain).any() for certain in (reliability.certain, ~reliability.certain))


def test_permuting_classes_permutes_the_negative_mask_and_leaves_the_others():
    views, probability_pairs, feature_pairs = random_case(5)
    order = torch.tensor([4, 2, 0, 3, 1])
    axis = DualAxis(tau=0.3)
    reliability = axis(views, probability_pairs=probability_pairs, feature_pairs=feature_pairs)
    permuted = axis(
        [view[:, order] for view in views],
        probability_pairs=[(a[:, order], b[:, order]) for a, b in probability_pairs],
        feature_pairs=[(a[:, order], b[:, order]) for a, b in feature_pairs],
    )
    assert reliability.negative.any()
    assert torch.equal(permuted.negative, reliability.negative[:, order])
    assert torch.equal(permuted.positive, reliability.positive)
    assert torch.equal(permuted.unreliable, reliability.unreliable)


def test_an_image_equals_a_volume_with_one_slice():
    views, probability_pairs, feature_pairs = random_case(3, (6, 5))
    axis = DualAxis(tau=0.2)
    flat = axis(views, probability_pairs=probability_pairs, feature_pairs=feature_pairs)
    deep = axis(
        [view.unsqueeze(-1) for view in views],
        probability_pairs=[(a.unsqueeze(-1), b.unsqueeze(-1)) for a, b in probability_pairs],
        feature_pairs=[(a.unsqueeze(-1), b.unsqueeze(-1)) for a, b in feature_pairs],
    )
    for field in fields(DualAxisReliability):
        assert torch.equal(getattr(deep, field.name).squeeze(-1), getattr(flat, field.name))


def test_views_that_agree_exactly_are_certain_everywhere():
    views, _, _ = random_case(3)
    reliability = DualAxis()(views, probability_pairs=[(views[0], views[0])])
    assert not reliability.uncertainty.any()
    assert reliability.certain.all()


def test_one_pair_that_disagrees_is_enough_whichever_it_is():
    near = torch.tensor([0.9, 0.1]).view(1, 2, 1)
    far = torch.tensor([0.95, 0.05]).view(1, 2, 1)
    axis = DualAxis(tau=0.05)
    assert axis([near], probability_pairs=[(near, near)] * 3).positive.all()
    for place in range(3):
        pairs = [(near, near)] * 3
        pairs[place] = (near, far)
        assert not axis([near], probability_pairs=pairs).positive.any()
        assert not axis([near], probability_pairs=[], feature_pairs=pairs).positive.any()


def test_feature_pairs_have_a_tolerance_of_their_own():
    a = torch.tensor([0.9, 0.1]).view(1, 2, 1)
    b = torch.tensor([0.93, 0.07]).view(1, 2, 1)  # L1 distance 0.06
    assert not DualAxis(tau=0.05)([a], probability_pairs=[], feature_pairs=[(a, b)]).certain.any()
    relaxed = DualAxis(tau=0.05, feature_tau=0.1)
    reliability = relaxed([a], probability_pairs=[], feature_pairs=[(a, b)])
    assert reliability.certain.all()
    assert reliability.uncertainty.item() == pytest.approx(0.6, abs=1e-5)
    assert not relaxed([a], probability_pairs=[(a, b)]).certain.any()


def test_a_disagreement_of_exactly_the_tolerance_is_certain():
    for tau in (0.05, 0.1, 0.3, 0.85, 0.91):
        a = torch.tensor([tau, 0.5]).view(1, 2, 1)
        b = torch.tensor([0.0, 0.5]).view(1, 2, 1)
        reliability = DualAxis(tau=tau)([a], probability_pairs=[(a, b)])
        assert reliability.certain.all()
        beyond = DualAxis(tau=tau)([a], probability_pairs=[(torch.nextafter(a, a + 1), b)])
        assert not beyond.certain.any()


def test_two_classes_have_negatives_where_the_mean_rules_a_class_out():
    probs = torch.tensor([[0.95, 0.05], [0.85, 0.15], [0.08, 0.92]]).T.unsqueeze(0)
    reliability = DualAxis(tau_min=0.1)([probs], probability_pairs=[])
    assert reliability.negative[0].T.tolist() == [[False, True], [False, False], [True, False]]
    assert reliability.positive.tolist() == [[True, True, True]]


def test_without_confidence_nothing_is_negative_and_certainty_decides():
    views, probability_pairs, _ = random_case(3)
    reliability = DualAxis(tau=0.2, use_confidence=False)(views, probability_pairs=probability_pairs)
    assert not reliability.negative.any()
    assert torch.equal(reliability.positive, reliability.uncertainty <= 1)
    assert 0 < reliability.positive.sum() < reliability.positive.numel()


def test_without_uncertainty_confidence_decides_and_the_axis_is_still_measured():
    views, probability_pairs, _ = random_case(3)
    reliability = DualAxis(tau=0.2, use_uncertainty=False)(views, probability_pairs=probability_pairs)
    assert torch.equal(reliability.positive, reliability.confidence >= 0.85)
    assert (reliability.uncertainty > 1).any()


def test_nothing_carries_a_gradient():
    views, probability_pairs, feature_pairs = random_case(3)
    for tensor in (*views, *feature_pairs[0]):
        tensor.requires_grad_()
    reliability = DualAxis()(views, probability_pairs=probability_pairs, feature_pairs=feature_pairs)
    for field in fields(DualAxisReliability):
        assert not getattr(reliability, field.name).requires_grad


def test_half_precision_input_is_judged_in_float32():
    views, probability_pairs, _ = random_case(3)
    views = [view.bfloat16() for view in views]
    probability_pairs = [(a.bfloat16(), b.bfloat16()) for a, b in probability_pairs]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        reliability = DualAxis()(views, probability_pairs=probability_pairs)
    exact = DualAxis()(
        [view.float() for view in views],
        probability_pairs=[(a.float(), b.float()) for a, b in probability_pairs],
    )
    assert reliability.confidence.dtype == reliability.uncertainty.dtype == torch.float32
    for field in fields(DualAxisReliability):
        assert torch.equal(getattr(reliability, field.name), getattr(exact, field.name))


def test_a_voxel_without_a_number_is_unreliable():
    probs = torch.tensor([0.99, 0.01]).view(1, 2, 1).repeat(1, 1, 2)
    broken = probs.clone()
    broken[..., 1] = float("nan")
    assert DualAxis()([broken], probability_pairs=[]).unreliable.tolist() == [[False, True]]
    assert DualAxis()([probs], probability_pairs=[(probs, broken)]).unreliable.tolist() == [[False, True]]


def test_a_volume_of_one_voxel_and_a_batch_of_no_samples_pass():
    voxel = torch.tensor([0.9, 0.1]).view(1, 2, 1, 1, 1)
    assert DualAxis()([voxel], probability_pairs=[(voxel, voxel)]).positive.all()
    assert DualAxis()([voxel[:0]], probability_pairs=[(voxel[:0], voxel[:0])]).negative.shape == (
        0,
        2,
        1,
        1,
        1,
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tau": 0}, "tau must be above 0, got 0"),
        ({"tau": float("nan")}, "tau must be above 0, got nan"),
        ({"feature_tau": -1}, "feature_tau must be above 0 or None, got -1"),
        ({"tau_min": 0.9}, "got 0.9 and 0.85"),
        ({"tau_max": 1.5}, "got 0.1 and 1.5"),
        ({"norm": "l2"}, "norm 'l2'"),
    ],
)
def test_settings_outside_their_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        DualAxis(**settings)


def test_pairs_of_another_shape_are_refused():
    views, _, _ = random_case(3)
    image = views[0][..., 0]
    with pytest.raises(ValueError, match=r"pairs must have the batch and grid .* got \(2, 3, 4, 3\)"):
        DualAxis()(views, probability_pairs=[(image, image)])
