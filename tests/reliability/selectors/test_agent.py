import copy

import pytest
import torch

from medssl.common.errors import InputError
from medssl.reliability import (
    AgentScore,
    AgentScoreSelector,
    ConfidenceThreshold,
    TwoGaussians,
    choose,
    mean_view,
)
from medssl.reliability.grids import covered, on_grid


def case(shape=(16, 16), coarse=None, classes=3, channels=6, views=1, seed=0, batch=2):
    """Views of blobs with noise, and embeddings that know which pixels are noise."""
    generator = torch.Generator().manual_seed(seed)
    coarse = coarse or shape

    def noise(*size):
        return torch.randn(batch, *size, generator=generator)

    logits = on_grid(6 * noise(classes, *[max(1, n // 4) for n in shape]), shape)
    hard = noise(1, *shape) > 0.7
    logits = torch.where(hard, noise(classes, *shape), logits)
    noisy = on_grid(hard.float(), coarse)
    embeddings = [
        torch.cat([1 - noisy, 2 * noisy + 0.3 * noise(1, *coarse), 0.2 * noise(channels - 2, *coarse)], 1)
        for _ in range(views)
    ]
    probs = [(logits + 0.1 * noise(classes, *shape)).softmax(1) for _ in range(views)]
    return probs, embeddings


def selector_of(**options):
    return AgentScoreSelector(8, 24, **options)


@pytest.mark.parametrize("views", [1, 2, 4])
@pytest.mark.parametrize(
    ("shape", "coarse"),
    [((16, 16), None), ((33, 29), (9, 8)), ((8, 8, 8), None), ((8, 12, 8), (4, 6, 4))],
)
def test_what_is_selected_is_what_its_parts_say(shape, coarse, views):
    probs, features = case(shape, coarse, views=views)
    selector = selector_of()
    selection = selector.select(probs, features=features)
    mean, grid = mean_view(probs), features[0].shape[2:]
    scores = AgentScore(8, 24)(features, on_grid(mean, grid), number=0)
    mixture = TwoGaussians.fit(scores)
    expected = on_grid(scores.unsqueeze(1), shape).squeeze(1) > mixture.crossing()
    assert torch.equal(selection.mask, expected)
    assert 0 < selection.mask.float().mean() < 1
    assert torch.equal(selection.labels, mean.argmax(1))
    assert selection.labels.dtype == torch.int64
    assert selection.weight is None
    assert selection.ruled_out is None
    assert selection.statistics["separation"] == mixture.separation
    assert selection.statistics["fallback"] == 0
    own, seen = selector_of().scores(probs, features=features)
    assert torch.equal(own > seen.crossing(), selection.mask)


def test_pixels_that_embeddings_know_to_be_noise_are_left_out_where_confidence_takes_some():
    probs, features = case((48, 48), seed=3)
    selection = selector_of(budget=0.05).select(probs, features=features)
    noisy = features[0][:, 1] > 1
    assert selection.mask[noisy].float().mean() < 0.1
    assert selection.mask[~noisy].float().mean() > 0.9
    assert ConfidenceThreshold(0.8).select(probs).mask[noisy].any()


def test_state_is_kept_in_training_mode_alone():
    probs, features = case()
    selector = selector_of()
    before = copy.deepcopy(selector.state_dict())
    selector.eval()
    looked = selector.select(probs, features=features)
    assert all(torch.equal(value, before[name]) for name, value in selector.state_dict().items())
    selector.train()
    assert torch.equal(looked.mask, selector.select(probs, features=features).mask)
    assert (int(selector.selections), int(selector.fallbacks)) == (1, 0)
    mixture = TwoGaussians.fit(AgentScore(8, 24)(features, probs[0]))
    for name in ("means", "variances", "weights"):
        torch.testing.assert_close(getattr(selector, name).double(), getattr(mixture, name))
    assert set(before) == {"selections", "fallbacks", "means", "variances", "weights"}
    assert {name: value.shape for name, value in selector.state_dict().items()} == {
        name: value.shape for name, value in before.items()
    }


def test_draws_change_from_call_to_call_and_go_on_where_a_checkpoint_left_them():
    probs, features = case((40, 40))

    def select(selector):
        mask = selector.select(probs, features=features).mask
        return mask, selector.means.clone()

    straight, cut = selector_of(budget=0.3), selector_of(budget=0.3)
    first, second, *later = [select(straight) for _ in range(4)]
    assert not torch.equal(first[1], second[1])
    for _ in range(2):
        select(cut)
    resumed = selector_of(budget=0.3)
    resumed.load_state_dict(cut.state_dict())
    for mask, means in later:
        again = select(resumed)
        assert torch.equal(again[0], mask)
        assert torch.equal(again[1], means)
    assert not torch.equal(select(selector_of(budget=0.3, seed=1))[1], first[1])


def test_torchs_own_generator_is_left_alone():
    probs, features = case()
    state = torch.get_rng_state()
    selector_of(strategy="uniform").select(probs, features=features)
    assert torch.equal(torch.get_rng_state(), state)


def test_where_there_are_no_two_groups_confidence_decides_and_it_is_counted():
    probs, features = case()
    same = [torch.ones_like(features[0])]
    selector = selector_of(fallback_threshold=0.9)
    selection = selector.select(probs, features=same)
    assert torch.equal(selection.mask, ConfidenceThreshold(0.9).select(probs).mask)
    assert 0 < selection.mask.float().mean() < 1
    assert selection.statistics["fallback"] == 1
    selector.select(probs, features=features)
    assert (int(selector.selections), int(selector.fallbacks)) == (2, 1)


@pytest.mark.parametrize("coarse", [None, (8, 6)])
def test_padding_is_no_agent_is_not_fitted_and_is_not_believed(coarse):
    probs, features = case((32, 24), coarse, seed=1)
    valid = torch.ones(2, 32, 24, dtype=torch.bool)
    valid[0, 20:] = False
    valid[1, :, 16:] = False
    expected = selector_of().select(probs, features=features, valid=valid)
    assert not expected.mask[~valid].any()
    assert expected.mask[valid].any()
    assert torch.equal(choose(selector_of(), probs, features=features, valid=valid).mask, expected.mask)
    # Sure and quite different, they would be agents.
    poisoned = [torch.where(valid.unsqueeze(1), p, torch.eye(3)[0].view(1, 3, 1, 1)) for p in probs]
    known = covered(valid, features[0].shape[2:]).unsqueeze(1)
    strange = [torch.where(known, f, torch.full_like(f, -5)) for f in features]
    if coarse is None:
        again = selector_of().select(poisoned, features=strange, valid=valid)
        assert torch.equal(again.mask, expected.mask)
        assert not torch.equal(selector_of().select(poisoned, features=strange).mask & valid, expected.mask)
    _, mixture = selector_of().scores(probs, features=features, valid=valid)
    assert int(mixture.samples) == int(known.sum())


def test_a_batch_that_is_padding_falls_back_and_believes_nothing():
    probs, features = case()
    nothing = torch.zeros(2, 16, 16, dtype=torch.bool)
    selector = selector_of()
    assert not selector.select(probs, features=features, valid=nothing).mask.any()
    assert int(selector.fallbacks) == 1


@pytest.mark.parametrize("features", [None, ()])
@pytest.mark.parametrize(("source", "words"), [("features", "before the classifier"), ("context", "context")])
def test_without_features_the_error_says_what_to_do(features, source, words):
    probs, _ = case()
    with pytest.raises(InputError, match=rf"^AgentScoreSelector: .*{words}; train a network") as raised:
        selector_of(features_from=source).select(probs, features=features)
    assert "\n" not in str(raised.value)
    assert selector_of(features_from=source).features_from == source


def test_a_batch_of_no_images_passes():
    probs, features = case()
    selection = selector_of().select([p[:0] for p in probs], features=[f[:0] for f in features])
    assert selection.mask.shape == (0, 16, 16)


def test_a_pixel_without_a_number_is_not_believed_and_spoils_no_other():
    probs, features = case()
    expected = selector_of().select(probs, features=features).mask
    place = tuple(expected.nonzero()[0].tolist())
    features[0][place[0], :, place[1], place[2]] = torch.nan
    mask = selector_of().select(probs, features=features).mask
    assert not mask[place]
    assert (mask == expected).float().mean() > 0.9


def test_nothing_carries_a_gradient():
    probs, features = case()
    for tensor in (*probs, *features):
        tensor.requires_grad_()
    selection = selector_of().select(probs, features=features)
    assert not selection.labels.requires_grad
    assert not any(value.requires_grad for value in selection.statistics.values())


def test_mixed_precision_changes_nothing():
    probs, features = case()
    features = [f.bfloat16() for f in features]
    expected = selector_of().select(probs, features=[f.float() for f in features])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(selector_of().select(probs, features=features).mask, expected.mask)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features_from": "logits"}, "features_from 'logits'"),
        ({"fallback_threshold": 1.5}, "fallback_threshold must be in .* got 1.5"),
        ({"strategy": "top"}, "strategy 'top'"),
    ],
)
def test_arguments_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        AgentScoreSelector(**options)
