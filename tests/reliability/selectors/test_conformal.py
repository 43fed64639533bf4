import copy

import numpy as np
import pytest
import torch

from medssl.common.errors import InputError
from medssl.reliability import ConfidenceThreshold, ConformalSelector
from medssl.reliability.conformal import labels_of_sets


def labeled_views(seed=0, count=2, shape=(16, 16), classes=3, sure=3.0):
    """Maps, and labels that they mostly find, some of them ignored."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (2, *shape), generator=generator)
    base = sure * torch.nn.functional.one_hot(labels, classes).movedim(-1, 1)
    views = [(base + torch.randn(base.shape, generator=generator)).softmax(1) for _ in range(count)]
    labels[torch.rand(labels.shape, generator=generator) < 0.1] = 255
    return views, labels


def observed(selector, batches, shape=(16, 16)):
    for seed in range(batches):
        selector.observe(*labeled_views(seed, shape=shape))
    return selector


def weighted_quantile(scores, weights, alpha):
    """Of the distribution with one more score above all others."""
    order = np.argsort(scores)
    reached = np.cumsum(weights[order]) >= (weights.sum() + 1) * (1 - alpha) - 1e-6
    return scores[order][reached.argmax()] if reached.any() else 1.0


def scores_of(views, labels):
    mean, known = torch.stack(views).mean(0), labels != 255
    of_truth = mean.gather(1, labels.where(known, 0)[:, None])[:, 0]
    return (1 - of_truth)[known].numpy(), labels[known].numpy()


@pytest.mark.parametrize("shape", [(16, 16), (8, 8, 4)])
@pytest.mark.parametrize("num_classes", [None, 3])
@pytest.mark.parametrize("forgetting", [1.0, 0.7])
def test_the_quantile_is_that_of_all_scores_weighted_by_age(shape, num_classes, forgetting):
    selector = ConformalSelector(0.1, num_classes=num_classes, forgetting=forgetting)
    observed(selector, 5, shape)
    parts = [scores_of(*labeled_views(seed, shape=shape)) for seed in range(5)]
    scores = np.concatenate([part[0] for part in parts])
    classes = np.concatenate([part[1] for part in parts])
    weights = np.concatenate([np.full(len(p[0]), forgetting ** (4 - i)) for i, p in enumerate(parts)])
    for row, quantile in enumerate(selector.quantiles().tolist()):
        of_row = classes == row if num_classes else np.ones(len(scores), bool)
        exact = weighted_quantile(scores[of_row], weights[of_row], 0.1)
        assert exact * (1 - 1e-5) <= quantile <= exact * 10 ** (7 / 2048) * (1 + 1e-5)


@pytest.mark.parametrize(("alpha", "sizes"), [(0.05, {0, 1}), (0.005, {1, 2})])
def test_a_pixel_is_believed_where_its_set_holds_one_class(alpha, sizes):
    selector = observed(ConformalSelector(alpha), 3)
    views, _ = labeled_views(9, sure=1.5)
    selection, mean = selector.select(views), torch.stack(views).mean(0)
    sets = 1 - mean <= selector.quantiles().view(1, -1, 1, 1)
    assert sizes <= set(sets.sum(1).unique().tolist())
    assert torch.equal(selection.mask, sets.sum(1) == 1)
    assert torch.equal(selection.labels, mean.argmax(1))
    assert torch.equal(selection.ruled_out, ~sets & sets.any(1, keepdim=True))
    assert selection.statistics["set_size"] == sets.sum(1).float().mean()


def test_below_one_half_the_quantile_is_a_threshold_of_confidence():
    selector = observed(ConformalSelector(0.3), 3)
    threshold = 1 - float(selector.quantiles())
    assert threshold > 0.5
    views, _ = labeled_views(9)
    assert torch.equal(selector.select(views).mask, ConfidenceThreshold(threshold).select(views).mask)


@pytest.mark.parametrize("background", [None, 0])
def test_the_rule_of_conformalsam_believes_every_set_that_is_not_empty(background):
    selector = observed(ConformalSelector(0.001, rule="conformalsam", background=background), 3)
    views, _ = labeled_views(9, sure=1.0)
    selection, mean = selector.select(views), torch.stack(views).mean(0)
    expected = labels_of_sets(1 - mean <= selector.quantiles(), mean, background=background)
    assert torch.equal(selection.mask, expected != 255)
    assert torch.equal(selection.labels[selection.mask], expected[selection.mask])
    assert torch.equal(selection.labels[~selection.mask], mean.argmax(1)[~selection.mask])
    assert (selection.labels != mean.argmax(1)).any() == (background == 0)


@pytest.mark.parametrize("rule", ["singleton", "conformalsam"])
def test_before_enough_is_observed_nothing_is_believed(rule):
    selector = ConformalSelector(rule=rule, min_scores=600)
    views, labels = labeled_views()
    for _ in range(2):
        selection = selector.select(views)
        assert not selection.mask.any()
        assert not selection.ruled_out.any()
        assert torch.equal(selection.labels, torch.stack(views).mean(0).argmax(1))
        selector.observe(views, labels)
    assert selector.select(views).mask.any()


def test_a_class_with_few_scores_takes_the_quantile_of_all():
    views, labels = labeled_views()
    labels[labels == 2] = 255
    selector, pooled = ConformalSelector(num_classes=3), ConformalSelector()
    for each in (selector, pooled):
        each.observe(views, labels)
    quantiles = selector.quantiles()
    assert quantiles[2] == pooled.quantiles()[0]
    assert quantiles[0] != quantiles[2]


def test_ignored_pixels_and_evaluation_mode_are_not_observed():
    views, labels = labeled_views()
    selector = ConformalSelector()
    selector.observe(views, torch.full_like(labels, 255))
    selector.eval().observe(views, labels)
    assert not selector.histogram.any()
    selector.train().observe(views, labels)
    assert selector.histogram.sum() == (labels != 255).sum()


def test_a_resumed_selector_goes_on_bit_for_bit():
    selector = observed(ConformalSelector(num_classes=3), 3)
    resumed = ConformalSelector(num_classes=3)
    resumed.load_state_dict(copy.deepcopy(selector.state_dict()))
    for each in (selector, resumed):
        observed(each, 2)
    assert torch.equal(selector.histogram, resumed.histogram)
    views, _ = labeled_views(9)
    assert torch.equal(selector.select(views).mask, resumed.select(views).mask)


def test_sure_labels_are_covered_by_small_sets():
    views, labels = labeled_views()
    selector = ConformalSelector()
    one_hot = torch.nn.functional.one_hot(labels.where(labels != 255, 0), 3).movedim(-1, 1).float()
    selector.observe([one_hot], labels)
    assert float(selector.quantiles()) == pytest.approx(1e-7, rel=0.01)
    assert selector.select([one_hot]).mask.all()
    assert not selector.select(views).mask.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 0}, "alpha=0: out of range"),
        ({"rule": "single"}, "did you mean 'singleton'"),
        ({"num_classes": 0}, "num_classes=0: out of range"),
        ({"forgetting": 0}, "forgetting=0: out of range"),
        ({"min_scores": 0}, "min_scores=0: out of range"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        ConformalSelector(**options)


def test_another_number_of_classes_is_refused():
    views, labels = labeled_views()
    selector = ConformalSelector(num_classes=4)
    with pytest.raises(ValueError, match="views must have num_classes=4, got 3"):
        selector.select(views)
    with pytest.raises(ValueError, match="views must have num_classes=4, got 3"):
        selector.observe(views, labels)
    with pytest.raises(ValueError, match="labels must be"):
        ConformalSelector().observe(views, labels[:1])


@pytest.mark.parametrize("num_classes", [None, 3])
def test_permuting_classes_permutes_the_labels_and_leaves_the_mask(num_classes):
    order = torch.tensor([2, 0, 1])
    views, labels = labeled_views()
    known = labels != 255
    selector, permuted = (
        ConformalSelector(num_classes=num_classes),
        ConformalSelector(num_classes=num_classes),
    )
    selector.observe(views, labels)
    permuted.observe(
        [view[:, order] for view in views], order.argsort()[labels.where(known, 0)].where(known, 255)
    )
    new, _ = labeled_views(9, sure=2.0)
    selection, other = selector.select(new), permuted.select([view[:, order] for view in new])
    assert torch.equal(order[other.labels], selection.labels)
    assert torch.equal(other.mask, selection.mask)
    assert torch.equal(other.ruled_out, selection.ruled_out[:, order])
    assert 0 < selection.mask.float().mean() < 1


def test_an_image_is_selected_like_a_volume_with_one_slice():
    views, labels = labeled_views()
    flat, deep = ConformalSelector(), ConformalSelector()
    flat.observe(views, labels)
    deep.observe([view.unsqueeze(-1) for view in views], labels.unsqueeze(-1))
    selection, other = flat.select(views), deep.select([view.unsqueeze(-1) for view in views])
    assert torch.equal(other.labels.squeeze(-1), selection.labels)
    assert torch.equal(other.mask.squeeze(-1), selection.mask)
