import numpy as np
import pytest
import torch

from medssl.common.errors import InputError
from medssl.reliability import (
    AgentScoreSelector,
    ConfidenceThreshold,
    DualAxis,
    Selector,
    class_prototypes,
    prototype_affinity,
)

SELECTORS = [ConfidenceThreshold(0.95), DualAxis(tau=0.3)]


def random_views(count: int, classes: int, shape: tuple[int, ...]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    base = 4 * torch.randn(2, classes, *shape, generator=generator)
    noise = [0.3 * torch.randn(base.shape, generator=generator) for _ in range(count)]
    return [(base + deviation).softmax(1).requires_grad_() for deviation in noise]


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
    assert selection.ruled_out is None or selection.ruled_out.shape == views[0].shape
    assert not selection.labels.requires_grad


@pytest.mark.parametrize("selector", SELECTORS)
def test_permuting_classes_permutes_the_labels_and_leaves_the_mask(selector):
    views = random_views(3, 4, (5, 5))
    order = torch.tensor([2, 0, 3, 1])
    selection, permuted = selector.select(views), selector.select([view[:, order] for view in views])
    assert torch.equal(order[permuted.labels], selection.labels)
    assert torch.equal(permuted.mask, selection.mask)
    if selection.ruled_out is not None:
        assert torch.equal(permuted.ruled_out, selection.ruled_out[:, order])


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


@pytest.mark.parametrize("selector", SELECTORS)
def test_an_image_is_selected_like_a_volume_with_one_slice(selector):
    views = random_views(3, 3, (6, 5))
    features = [torch.randn(2, 4, 6, 5, generator=torch.Generator().manual_seed(i)) for i in range(3)]
    flat = selector.select(views, features=features)
    deep = selector.select([v.unsqueeze(-1) for v in views], features=[f.unsqueeze(-1) for f in features])
    assert torch.equal(deep.labels.squeeze(-1), flat.labels)
    assert torch.equal(deep.mask.squeeze(-1), flat.mask)


def of_predicted(affinity, views):
    """The affinity of every voxel to the class that the mean view predicts, voxel by voxel."""
    labels = torch.stack(views).mean(0).argmax(1)
    chosen = torch.empty(affinity.shape[0], 1, *affinity.shape[2:])
    for place in np.ndindex(*labels.shape):
        chosen[(place[0], 0, *place[1:])] = affinity[(place[0], labels[place], *place[1:])]
    return chosen


@pytest.mark.parametrize(("features", "compared"), [(False, "all"), (True, "all"), (True, "predicted")])
def test_dual_axis_selects_what_it_judges_of_all_pairs(features, compared):
    views = [view.detach() for view in random_views(3, 3, (8, 8))]
    embeddings = [
        torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(7)) + 0.05 * i for i in range(3)
    ]
    axis = DualAxis(tau=0.3, feature_tau=0.6 if compared == "all" else 0.1, tau_max=0.8, affinities=compared)
    keep = torch.stack(views).mean(0).amax(1) >= 0.8
    affinities = [
        prototype_affinity(embedding, class_prototypes(embedding, view, keep, fallback=True)[0])
        for embedding, view in zip(embeddings, views, strict=True)
    ]
    if compared == "predicted":
        affinities = [of_predicted(affinity, views) for affinity in affinities]
    pairs = [(0, 1), (0, 2), (1, 2)]
    judged = axis(
        views,
        probability_pairs=[(views[a], views[b]) for a, b in pairs],
        feature_pairs=[(affinities[a], affinities[b]) for a, b in pairs] if features else [],
    )
    selection = axis.select(views, features=embeddings if features else None)
    assert torch.equal(selection.mask, judged.positive)
    assert torch.equal(selection.ruled_out, judged.negative)
    assert 0 < selection.mask.float().mean() < 1
    assert selection.ruled_out.any()


def test_many_classes_that_a_voxel_is_not_of_do_not_make_it_uncertain():
    """Two networks lay out what is no car differently; what both take for road, they know alike."""
    classes, generator = 11, torch.Generator().manual_seed(3)
    labels = torch.randint(0, classes, (1, 40), generator=generator)
    probs = torch.nn.functional.one_hot(labels, classes).movedim(-1, 1).float()
    embeddings = [
        torch.randn(classes, 32, generator=generator)[labels].movedim(-1, 1) + 0.001 * torch.randn(1, 32, 40)
        for _ in range(2)
    ]
    shares = {
        compared: DualAxis(affinities=compared)
        .select([probs, probs], features=embeddings)
        .mask.float()
        .mean()
        for compared in ("predicted", "all")
    }
    assert shares == {"predicted": 1.0, "all": 0.0}
    with pytest.raises(InputError, match="affinities 'own': no such name"):
        DualAxis(affinities="own")


def test_dual_axis_distrusts_views_whose_features_disagree():
    agree = torch.tensor([[0.99, 0.01], [0.01, 0.99]]).T.unsqueeze(0).repeat(1, 1, 4)
    one_hot = torch.nn.functional.one_hot(agree.argmax(1), 2).movedim(-1, 1).float()
    two = one_hot.clone()
    two[..., 0] = two[..., 1]  # to the second view's eyes the first voxel is of the other class
    axis = DualAxis(tau=0.1, feature_tau=0.5)
    assert axis.select([agree, agree], features=[one_hot, one_hot]).mask.all()
    assert axis.select([agree, agree], features=[one_hot, two]).mask[0].tolist() == [False] + [True] * 7


def test_a_view_without_its_features_is_refused():
    views = random_views(2, 3, (4, 4))
    with pytest.raises(ValueError, match="argument 2 is longer"):
        DualAxis().select(views, features=[torch.zeros(2, 4, 4, 4)])


def test_a_selector_says_how_it_is_set():
    assert repr(ConfidenceThreshold(0.9)) == "ConfidenceThreshold(0.9)"
    assert "tau=0.1" in repr(DualAxis(tau=0.1))


@pytest.mark.parametrize(("shape", "grid"), [((9, 8), (3, 2)), ((8, 8, 6), (4, 4, 3))])
def test_dual_axis_takes_prototypes_where_the_embeddings_are_and_compares_where_the_views_are(shape, grid):
    views = [view.detach() for view in random_views(2, 3, shape)]
    generator = torch.Generator().manual_seed(7)
    base = torch.randn(2, 4, *grid, generator=generator)
    embeddings = [base + 0.3 * torch.randn(base.shape, generator=generator) for _ in range(2)]

    def resize(x, size):
        mode = {2: "bilinear", 3: "trilinear"}[len(size)]
        return torch.nn.functional.interpolate(x, size, mode=mode)

    keep = resize(torch.stack(views).mean(0), grid).amax(1) >= 0.85
    affinities = [
        resize(prototype_affinity(e, class_prototypes(e, resize(v, grid), keep, fallback=True)[0]), shape)
        for e, v in zip(embeddings, views, strict=True)
    ]
    axis = DualAxis(tau=0.4, feature_tau=0.3, affinities="all")
    judged = axis(views, probability_pairs=[tuple(views)], feature_pairs=[tuple(affinities)])
    selection = axis.select(views, features=embeddings)
    assert torch.equal(selection.mask, judged.positive)
    assert torch.equal(selection.ruled_out, judged.negative)
    without = axis.select(views)
    assert 0 < selection.mask.sum() < without.mask.sum()


def test_dual_axis_asks_for_two_views():
    assert (DualAxis.min_views, ConfidenceThreshold.min_views, AgentScoreSelector.min_views) == (2, 1, 1)
