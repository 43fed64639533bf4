"""How good a selection of pseudo-labels is."""

import itertools
import math
from dataclasses import asdict

import numpy as np
import pytest
import torch
from scipy.stats import norm

from medssl.metrics import (
    ClassSelectionCounts,
    SelectionCounts,
    false_positive_rate_at,
    fpr_at_tpr,
    selection_quality,
)


def test_shares_by_hand():
    pseudo = torch.tensor([[1, 1, 0, 0, 1, 0, 1, 0]])
    truth = torch.tensor([[1, 0, 0, 1, 1, 255, 0, 0]])
    selected = torch.tensor([[1, 1, 1, 0, 0, 1, 0, 1]], dtype=torch.bool)
    # Judged: right and selected 0, 2, 7; wrong and selected 1; right and left 4; wrong and left 3, 6.
    quality = selection_quality(pseudo, selected, truth)
    assert quality.tpr == 3 / 4
    assert quality.fpr == 1 / 3
    assert quality.ppv == 3 / 4
    assert quality.npv == 2 / 3
    assert (quality.coverage, quality.pixels) == (4 / 7, 7)


def test_batches_add_up():
    generator = torch.Generator().manual_seed(0)
    pseudo, truth = (torch.randint(0, 3, (6, 5, 4, 3), generator=generator) for _ in range(2))
    selected = torch.rand(pseudo.shape, generator=generator) < 0.4
    counts = SelectionCounts()
    for rows in (slice(0, 1), slice(1, 4), slice(4, 6)):
        counts.update(pseudo[rows], selected[rows], truth[rows])
    assert counts.compute() == selection_quality(pseudo, selected, truth)


def test_degenerate_selections():
    labels = torch.zeros(1, 4, dtype=torch.long)
    everything, nothing = torch.ones(1, 4, dtype=torch.bool), torch.zeros(1, 4, dtype=torch.bool)
    quality = selection_quality(labels, everything, labels)
    assert (quality.tpr, quality.ppv, quality.coverage) == (1, 1, 1)
    assert math.isnan(quality.fpr)
    assert math.isnan(quality.npv)
    assert math.isnan(selection_quality(labels, nothing, labels).ppv)
    with pytest.raises(ValueError, match="bool"):
        selection_quality(labels, labels, labels)
    with pytest.raises(ValueError, match="one shape"):
        selection_quality(labels, everything[:, :2], labels)


def by_mask(predicted, truth, mask):
    """TPR, FPR, PPV and NPV of a binary prediction, where only what ``mask`` holds is predicted at all."""
    with np.errstate(invalid="ignore"):
        hit, false = (predicted & truth & mask).sum(), (predicted & ~truth & mask).sum()
        left = ~predicted & mask
        return (
            np.float64(hit) / truth.sum(),
            np.float64(false) / (~truth).sum(),
            np.float64(hit) / (predicted & mask).sum(),
            np.float64((left & ~truth).sum()) / left.sum(),
        )


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_classes_are_judged_one_by_one(share):
    rng = np.random.default_rng(3)
    pseudo, truth = rng.integers(0, 3, (2, 4, 6, 5, 4))
    truth[0, 0] = 255
    selected = rng.random(truth.shape) < share
    counts, plain = ClassSelectionCounts(3), SelectionCounts()
    for row in range(4):
        for each in (counts, plain):
            each.update(*(torch.from_numpy(a[row : row + 1]) for a in (pseudo, selected, truth)))
    counted, expected = counts.compute(), plain.compute()
    assert asdict(counted) == pytest.approx(asdict(expected), nan_ok=True)
    judged = truth != 255
    for label in (0, 1, 2):
        for everything, mask in ((False, selected), (True, np.ones_like(selected))):
            of_class = counts.compute_class(label, everything=everything)
            by_masking = by_mask(*((a == label)[judged] for a in (pseudo, truth)), mask[judged])
            assert (of_class.tpr, of_class.fpr, of_class.ppv, of_class.npv) == pytest.approx(
                by_masking, nan_ok=True
            )


def test_classes_refuse_what_the_whole_refuses():
    labels = torch.zeros(1, 4, dtype=torch.long)
    with pytest.raises(ValueError, match="bool"):
        ClassSelectionCounts(2).update(labels, labels, labels)


@pytest.mark.parametrize("tpr", [0.1, 0.5, 0.95])
@pytest.mark.parametrize(("positive", "negative"), [(1.0, 1.0), (0.4, 1.3), (2.0, 0.5)])
def test_the_rate_falls_as_the_gap_grows(tpr, positive, negative):
    rates = [
        false_positive_rate_at(tpr, gap=gap, positive_std=positive, negative_std=negative)
        for gap in np.linspace(-2, 6, 40)
    ]
    assert all(a > b or a == b == 0 or a == b == 1 for a, b in itertools.pairwise(rates))


def test_the_rate_is_that_of_a_threshold_on_samples():
    rng = np.random.default_rng(0)
    right, wrong = rng.normal(1.5, 0.8, 400_000), rng.normal(0, 1.2, 400_000)
    threshold = np.quantile(right, 1 - 0.9)
    rate = false_positive_rate_at(0.9, gap=1.5, positive_std=0.8, negative_std=1.2)
    assert rate == pytest.approx((wrong > threshold).mean(), abs=3e-3)
    assert false_positive_rate_at(0.7, gap=0) == pytest.approx(0.7)
    with pytest.raises(ValueError, match="tpr"):
        false_positive_rate_at(1.0, gap=1)
    with pytest.raises(ValueError, match="deviations"):
        false_positive_rate_at(0.5, gap=1, negative_std=0)


@pytest.mark.parametrize(("positive", "negative", "gap"), [(1.0, 1.0, 0.7), (0.4, 1.3, 1.0), (2.0, 0.5, 3.0)])
@pytest.mark.parametrize("tpr", [0.2, 0.8])
def test_the_predicted_rate_is_that_above_the_threshold_of_the_two_normal_distributions(
    positive, negative, gap, tpr
):
    threshold = norm.isf(tpr, loc=3 + gap, scale=positive)
    expected = norm.sf(threshold, loc=3, scale=negative)
    ours = false_positive_rate_at(tpr, gap=gap, positive_std=positive, negative_std=negative)
    assert ours == pytest.approx(expected, abs=1e-12)


SCORES = {
    "continuous": lambda rng: rng.normal(size=200),
    "ties": lambda rng: rng.integers(0, 6, 200) / 5,
    "constant": lambda rng: np.ones(200),
}


def scored(kind, seed=0):
    rng = np.random.default_rng(seed)
    right = rng.random(200) < 0.6
    return SCORES[kind](rng) + 0.5 * right, right


@pytest.mark.parametrize("tpr", [0.01, 0.1, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("kind", SCORES)
def test_the_measured_rate_is_that_of_the_highest_threshold_that_selects_enough(kind, tpr):
    scores, right = scored(kind)
    for threshold in sorted(set(scores), reverse=True):
        selected = scores >= threshold
        if (selected & right).sum() >= tpr * right.sum() - 1e-9:
            break
    expected = (selected & ~right).sum() / (~right).sum()
    ours = fpr_at_tpr(torch.from_numpy(scores).view(10, 20), torch.from_numpy(right).view(10, 20), tpr)
    assert ours == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("tpr", [0.1, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("kind", SCORES)
def test_the_measured_rate_is_a_point_of_scikit_learns_curve(kind, tpr):
    metrics = pytest.importorskip("sklearn.metrics", exc_type=ImportError)
    scores, right = scored(kind, seed=1)
    fprs, tprs, _ = metrics.roc_curve(right, scores, drop_intermediate=False)
    expected = fprs[np.argmax(tprs >= tpr - 1e-12)]
    assert fpr_at_tpr(torch.from_numpy(scores), torch.from_numpy(right), tpr) == pytest.approx(expected)


def test_the_measured_rate_of_normal_scores_is_the_predicted_one():
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.normal(1.5, 0.8, 200_000), rng.normal(0, 1.2, 200_000)])
    right = torch.arange(400_000) < 200_000
    predicted = false_positive_rate_at(0.9, gap=1.5, positive_std=0.8, negative_std=1.2)
    assert fpr_at_tpr(torch.from_numpy(scores), right, 0.9) == pytest.approx(predicted, abs=5e-3)


def test_the_measured_rate_of_nothing_and_of_bad_input():
    scores, right = torch.rand(5), torch.ones(5, dtype=torch.bool)
    assert math.isnan(fpr_at_tpr(scores, right, 0.5))
    assert math.isnan(fpr_at_tpr(scores, ~right, 0.5))
    mixed = torch.tensor([True, False, True, False, True])
    for arguments, message in (
        ((scores, mixed, 0.0), "tpr"),
        ((scores, mixed[:3], 0.5), "right must be bool"),
        ((scores, mixed.float(), 0.5), "right must be bool"),
        ((torch.full((5,), torch.nan), mixed, 0.5), "NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            fpr_at_tpr(*arguments)
