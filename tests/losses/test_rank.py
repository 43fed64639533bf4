import itertools
import warnings

import pytest
import torch
from torch.distributions import Categorical
from torch.nn import functional as F

from medssl.losses import plackett_luce, rank_loss


@pytest.mark.parametrize("count", [2, 3, 4])
def test_orders_have_the_probability_of_drawing_without_replacement(count):
    scores = torch.rand(5, count, dtype=torch.float64)
    probability = plackett_luce(scores)
    for row, orders in zip(scores, probability, strict=True):
        for order, p in zip(itertools.permutations(range(count)), orders, strict=True):
            left, log = row.clone(), torch.tensor(0.0, dtype=torch.float64)
            for item in order:
                log = log + Categorical(probs=left).log_prob(torch.tensor(item))
                left[item] = 0
                if not left.any():
                    break
            assert p.item() == pytest.approx(log.exp().item(), rel=1e-6)
    torch.testing.assert_close(probability.sum(-1), torch.ones(5, dtype=torch.float64))


def test_no_score_at_all_is_finite():
    scores = torch.zeros(2, 4, requires_grad=True)
    plackett_luce(scores).sum().backward()
    assert scores.grad.isfinite().all()


def views(scale=1.0, grid=(3, 4), dtype=torch.float32):
    rng = torch.Generator().manual_seed(0)
    weak = scale * torch.randn(2, 5, *grid, generator=rng)
    strong = weak + 0.3 * scale * torch.randn(weak.shape, generator=rng)
    agents = torch.stack([torch.randperm(weak[0, 0].numel(), generator=rng)[:6] for _ in range(2)])
    return weak.to(dtype), strong.to(dtype).requires_grad_(), agents


@pytest.mark.parametrize("grid", [(3, 4), (2, 3, 2)])
def test_it_is_torchs_mean_of_the_elements_of_a_divergence(grid):
    weak, strong, agents = views(grid=grid)
    w, s = weak.flatten(2), strong.flatten(2)
    chosen_w, chosen_s = (torch.stack([x[b][:, agents[b]] for b in range(2)]) for x in (w, s))
    c_w = torch.einsum("bcn,bcm->bnm", w, chosen_w).softmax(-1)
    c_s = torch.einsum("bcn,bcm->bnm", s, chosen_s).softmax(-1)
    top = c_w.topk(4, -1).indices
    log_s = (plackett_luce(c_s.gather(-1, top)) + 1e-10).log()
    elements = F.kl_div(log_s, plackett_luce(c_w.gather(-1, top)), reduction="none")
    assert elements.shape[-1] == 24
    torch.testing.assert_close(rank_loss(weak, strong, agents), elements.mean())


def test_equal_views_differ_by_nothing_and_only_the_strong_one_learns():
    weak, strong, agents = views()
    weak.requires_grad_()
    assert rank_loss(weak, weak.detach(), agents).abs() < 1e-6
    loss = rank_loss(weak, strong, agents)
    loss.backward()
    assert loss > 1e-4
    assert weak.grad is None
    assert strong.grad.any()


@pytest.mark.parametrize("scale", [0.0, 1e-3, 30.0, 1e4])
def test_flat_and_saturated_likeness_stay_finite(scale):
    weak, strong, agents = views(scale)
    loss = rank_loss(weak, strong, agents)
    loss.backward()
    assert loss.isfinite()
    assert strong.grad.isfinite().all()


def test_autocast_and_low_precision_do_not_reach_it():
    weak, strong, agents = views(dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        low = rank_loss(weak, strong, agents)
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, rank_loss(weak.float(), strong.float(), agents))


def test_fewer_agents_than_are_ranked_and_no_warning():
    weak, strong, agents = views()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert rank_loss(weak, strong, agents[:, :3]) > 0
        assert rank_loss(weak, strong, agents[:, :1]).abs() < 1e-6
