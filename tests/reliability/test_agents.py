import itertools
import math

import numpy as np
import pytest
import torch

from medssl.common.draws import device_draws, seed_of
from medssl.reliability import AgentScore, agents
from medssl.reliability.agents import mutually_distant, unit_embeddings
from tests.reliability import agent_loops


def case(batch=2, classes=3, channels=5, grid=(9, 8), seed=0, rare=True):
    """Embeddings, probabilities of which some classes are rare, and pixels that count."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(batch, channels, *grid, generator=generator)
    bias = torch.arange(classes, 0, -1).view(1, -1, *[1] * len(grid)) * (1.5 if rare else 0)
    probs = (torch.randn(batch, classes, *grid, generator=generator) + bias).softmax(1)
    valid = torch.rand(batch, *grid, generator=generator) < 0.8
    return features, probs, valid


def flat(x):
    """``(B, C, *T)`` as a list of vectors in the order of the flattened ``(B, *T)``."""
    return x.movedim(1, -1).flatten(0, -2).tolist()


def reference(score, features, probs, valid, number=0):
    """Places of all agents, and the scores, by loops."""
    vectors, rows = flat(features), flat(probs)
    confidence, labels = [max(row) for row in rows], [row.index(max(row)) for row in rows]
    usable = valid.flatten().tolist()
    pools = {
        most: agent_loops.candidates(
            confidence, labels, usable, probs.shape[1], budget=score.budget, need=need, most=most
        )
        for most, need in ((True, score.num_positive), (False, score.num_negative))
    }
    chosen = []
    for most, count, stream in (
        (True, score.num_positive, "positive"),
        (False, score.num_negative, "negative"),
    ):
        pool = pools[most]
        if most or score.strategy == "uniform":
            keys = agent_loops.device_draws(seed_of(score.seed, 0, stream), number, len(pool))
            pool = [place for _, place in sorted(zip(keys, pool, strict=True), reverse=True)]
            chosen.append(pool[:count])
        elif score.strategy == "bottom":
            chosen.append(sorted(pool, key=lambda i: confidence[i])[:count])
        else:
            first = min(range(len(pool)), key=lambda i: confidence[pool[i]])
            places = agent_loops.mutually_distant([vectors[i] for i in pool], first, count)
            chosen.append([pool[i] for i in places])
    positive, negative = ([vectors[i] for i in places] for places in chosen)
    scores = [agent_loops.score(v, positive, negative, score.temperature) for v in vectors]
    return chosen, torch.tensor(scores, dtype=torch.float64).view(valid.shape)


@pytest.mark.parametrize("strategy", ["orthogonal", "uniform", "bottom"])
@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"num_positive": 4, "num_negative": 9}, {}),
        ({"num_positive": 6, "num_negative": 7, "budget": 0.4}, {"classes": 2}),
        ({"num_positive": 8, "num_negative": 30, "temperature": 0.05}, {"classes": 6, "grid": (5, 4, 6)}),
        ({"num_positive": 1, "num_negative": 1}, {"batch": 1, "channels": 1, "grid": (7, 7)}),
        ({"num_positive": 60, "num_negative": 80}, {"rare": False}),
        ({"num_positive": 200, "num_negative": 300}, {}),
    ],
    ids=["floor", "budget", "volume", "one", "shared", "too few"],
)
def test_agents_and_scores_are_those_of_loops(strategy, options, shape):
    features, probs, valid = case(**shape)
    score = AgentScore(strategy=strategy, seed=3, **options)
    units = unit_embeddings([features])
    chosen = score.choose(units, probs, valid=valid, number=5)
    expected, values = reference(score, features, probs, valid, number=5)
    positive, negative = chosen.index.split([chosen.num_positive, len(chosen.index) - chosen.num_positive])
    for index, present, places in zip(
        (positive, negative),
        chosen.present.split([chosen.num_positive, len(negative)]),
        expected,
        strict=True,
    ):
        assert index[present].tolist() == places
        assert valid.flatten()[index[present]].all()
    torch.testing.assert_close(score.score(units, chosen).double(), values, atol=1e-5, rtol=1e-5)
    assert torch.equal(score([features], probs, valid=valid, number=5).isfinite(), torch.ones_like(valid))


@pytest.mark.parametrize("duplicates", [False, True])
def test_greedy_selection_is_that_of_loops_and_takes_nothing_twice(duplicates):
    generator = torch.Generator().manual_seed(1)
    vectors = torch.nn.functional.normalize(torch.randn(40, 6, generator=generator).double(), dim=1)
    if duplicates:
        vectors = vectors[:20].repeat(2, 1)
    filled = torch.ones(40, dtype=torch.bool)
    places = mutually_distant(vectors, filled, torch.tensor([7]), 40).tolist()
    assert sorted(places) == list(range(40))
    assert places[0] == 7
    if not duplicates:
        assert places == agent_loops.mutually_distant(vectors.tolist(), 7, 40)


def test_greedy_selection_minimises_the_signed_cosine():
    """RankMatch minimises its absolute value, and would take the orthogonal one first."""
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.8, 0.6]])
    every = torch.ones(4, dtype=torch.bool)
    assert mutually_distant(vectors, every, torch.tensor([0]), 4).tolist() == [0, 2, 1, 3]


def test_orthogonal_agents_are_less_alike_than_others():
    features, probs, valid = case(grid=(24, 24), channels=8)
    units, worst = unit_embeddings([features]), {}
    for strategy in ("orthogonal", "uniform", "bottom"):
        score = AgentScore(4, 16, strategy=strategy, budget=0.3)
        chosen = score.choose(units, probs, valid=valid).embeddings[4:]
        worst[strategy] = float((chosen @ chosen.T - 2 * torch.eye(16)).max())
    assert worst["orthogonal"] < min(worst["uniform"], worst["bottom"]) - 0.1


def test_a_score_is_high_near_positive_and_low_near_negative_agents():
    """Two directions: the sure pixels lie along the first, the unsure ones along the second."""
    sure = torch.arange(400).view(1, 20, 20) % 4 == 0
    features = torch.stack([sure.float(), (~sure).float()], 1)
    top = torch.where(sure, 0.99, 0.6) - 1e-4 * torch.rand(1, 20, 20)
    probs = torch.stack([top, 1 - top], 1)
    values = AgentScore(8, 32)([features], probs)
    high = 8 * math.e / (8 * math.e + 32)
    low = 8 / (8 + 32 * math.e)
    torch.testing.assert_close(values, torch.where(sure, high, low))


def test_scores_are_in_the_range_of_the_paper():
    features, probs, _ = case(grid=(40, 40))
    for sign, low, high in ((1, 0.033, 0.649), (0, 0.084, 0.405)):
        embeddings = features if sign else features.relu()
        values = AgentScore()([embeddings], probs)
        assert low <= values.min() < values.max() <= high + 1e-3


def test_what_is_invalid_or_no_number_touches_no_other_score():
    features, probs, valid = case(grid=(20, 20))
    score = AgentScore(8, 16)
    expected = score([features], probs, valid=valid)
    for poison in (torch.nan, torch.inf, 1e30):
        where = (~valid).unsqueeze(1)
        values = score(
            [torch.where(where, poison, features)],
            torch.where(where, torch.nan, probs),
            valid=valid,
        )
        torch.testing.assert_close(values[valid], expected[valid])
        assert values[~valid].isnan().all()
    broken = features.clone()
    broken[0, 2, 3, 4] = torch.nan
    values = score([broken], probs)
    assert values.isnan().sum() == 1
    assert values[0, 3, 4].isnan()


def test_views_are_laid_end_to_end_so_that_the_cosine_is_the_mean_of_theirs():
    a, b = torch.randn(2, 5, 4, 4), torch.randn(2, 3, 4, 4)
    joined = unit_embeddings([a, 7 * b]).flatten(2)
    singles = [torch.nn.functional.normalize(x, dim=1).flatten(2) for x in (a, b)]
    mean = sum(x.transpose(1, 2) @ x for x in singles) / 2
    torch.testing.assert_close(joined.transpose(1, 2) @ joined, mean)
    twice = unit_embeddings([a, a]).flatten(2)
    torch.testing.assert_close(twice.transpose(1, 2) @ twice, singles[0].transpose(1, 2) @ singles[0])
    a[0, 0, 0, 0] = torch.nan
    assert unit_embeddings([a, b])[0, :, 0, 0].isnan().all()
    assert not unit_embeddings([torch.zeros(1, 3, 2)]).any()
    with pytest.raises(ValueError, match="on one grid"):
        unit_embeddings([a, b[..., :2]])


def test_draws_depend_on_seed_and_number_and_repeat():
    features, probs, _ = case(grid=(30, 30))
    units = unit_embeddings([features])

    def positive(seed, number):
        return AgentScore(8, 16, seed=seed, budget=0.3).choose(units, probs, number=number).index[:8].tolist()

    assert positive(0, 1) == positive(0, torch.tensor(1))
    drawn = [positive(seed, number) for seed, number in itertools.product((0, 1), (0, 1, 2))]
    assert len({tuple(places) for places in drawn}) == 6


def test_every_candidate_is_drawn_about_as_often():
    features, probs, _ = case(batch=1, grid=(10, 10), classes=2, rare=False)
    units, score = unit_embeddings([features]), AgentScore(8, 8, budget=0.4)
    hits = np.zeros(100)
    for number in range(500):
        hits[score.choose(units, probs, number=number).index[:8]] += 1
    drawn = hits[hits > 0]
    assert len(drawn) == 40
    assert abs(drawn - 100).max() < 5 * math.sqrt(100 * 0.8)


def test_device_draws_are_splitmix64():
    for seed, number in ((0, 0), (1, 2), (2**32 - 1, 10**9)):
        ours = device_draws(seed, torch.tensor(number), 50)
        assert ours.tolist() == agent_loops.device_draws(seed, number, 50)
    assert agent_loops.splitmix(agent_loops.GOLDEN) == 0xE220A8397B1DCDAF  # published: the first of seed 0
    uniform = device_draws(4, torch.tensor(1), 20_000).double() / 2**63
    assert abs(float(uniform.mean()) - 0.5) < 0.01
    assert abs(float(uniform.var()) - 1 / 12) < 0.002


def test_memory_is_bounded_by_chunks_and_chunks_change_nothing(monkeypatch):
    features, probs, valid = case(grid=(20, 20))
    expected = AgentScore(8, 16)([features], probs, valid=valid)
    monkeypatch.setattr(agents, "CHUNK", 7)
    torch.testing.assert_close(AgentScore(8, 16)([features], probs, valid=valid), expected)


def test_channels_last_and_half_precision_give_the_same():
    features, probs, valid = case(grid=(16, 16))
    features = features.bfloat16()
    score = AgentScore(8, 16)
    expected = score([features.float()], probs, valid=valid)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = score([features], probs, valid=valid)
    assert half.dtype == torch.float32
    assert torch.equal(half, expected)
    last = score([features.to(memory_format=torch.channels_last)], probs, valid=valid)
    torch.testing.assert_close(last, expected)


def test_an_image_is_scored_like_a_volume_with_one_slice():
    features, probs, valid = case()
    score = AgentScore(4, 8)
    deep = score([features.unsqueeze(-1)], probs.unsqueeze(-1), valid=valid.unsqueeze(-1))
    assert torch.equal(deep.squeeze(-1), score([features], probs, valid=valid))


def test_batches_of_one_class_of_one_pixel_of_none_and_without_a_valid_one():
    features, probs, valid = case(grid=(6, 6))
    certain = torch.zeros_like(probs)
    certain[:, 1] = 1
    assert AgentScore(8, 16)([features], certain).isfinite().all()
    pixel = AgentScore()([features[:1, :, :1, :1]], probs[:1, :, :1, :1])
    assert float(pixel) == pytest.approx(0.5)  # the one positive and the one negative agent are the pixel
    assert AgentScore()([features[:0]], probs[:0]).shape == (0, 6, 6)
    assert AgentScore()([features], probs, valid=torch.zeros_like(valid)).isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_positive": 0}, "num_positive must be at least 1, got 0"),
        ({"num_negative": 0}, "num_negative must be at least 1, got 0"),
        ({"strategy": "ortogonal"}, "strategy 'ortogonal': no such name; did you mean 'orthogonal'"),
        ({"temperature": 0}, "temperature must be at least 0.05, got 0"),
        ({"budget": 0}, "budget must be in .* got 0"),
        ({"budget": 1.5}, "budget must be in .* got 1.5"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
    ],
)
def test_arguments_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        AgentScore(**options)


def test_shapes_that_do_not_belong_together():
    features, probs, valid = case()
    with pytest.raises(ValueError, match="must share B and"):
        AgentScore()([features], probs[..., :4])
    with pytest.raises(ValueError, match="must share B and"):
        AgentScore()([features], probs, valid=valid[:1])


def test_agents_of_several_sets_are_those_of_each():
    torch.manual_seed(0)
    vectors = torch.nn.functional.normalize(torch.randn(3, 20, 6, dtype=torch.float64), dim=-1)
    filled, first = torch.rand(3, 20) > 0.2, torch.tensor([[4], [0], [19]])
    filled.scatter_(1, first, True)
    for absolute in (False, True):
        together = mutually_distant(vectors, filled, first, 9, absolute=absolute)
        apart = [
            mutually_distant(v, f, n, 9, absolute=absolute)
            for v, f, n in zip(vectors, filled, first, strict=True)
        ]
        assert torch.equal(together, torch.stack(apart))


def test_absolute_cosines_prefer_right_angles_to_opposites():
    vectors, every = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]), torch.ones(3, dtype=torch.bool)
    vectors[2] = torch.nn.functional.normalize(torch.tensor([0.2, 1.0]), dim=0)
    assert mutually_distant(vectors, every, torch.tensor([0]), 2).tolist() == [0, 1]
    assert mutually_distant(vectors, every, torch.tensor([0]), 2, absolute=True).tolist() == [0, 2]
    alike = torch.ones(2, 9, 3) / 3**0.5
    places = mutually_distant(alike, every.new_ones(2, 9), torch.tensor([[2], [8]]), 9, absolute=True)
    assert places.sort(1).values.tolist() == [list(range(9))] * 2
