"""Probabilities after un-cropping."""

import torch

from medssl.inference.scan_grid import complete_probabilities


def random_probs(classes, *shape, seed=0):
    logits = 3 * torch.randn(classes, *shape, generator=torch.Generator().manual_seed(seed))
    return torch.softmax(logits, 0)


def test_complete_probabilities_stay_as_they_are():
    probs = random_probs(3, 5, 6, 7)
    torch.testing.assert_close(complete_probabilities(probs), probs)


def test_voxels_cut_away_become_certain_background():
    probs = random_probs(3, 6, 6)
    probs[:, :2] = 0
    done = complete_probabilities(probs)
    assert (done[0, :2] == 1).all()
    assert (done[1:, :2] == 0).all()
    torch.testing.assert_close(done[:, 2:], probs[:, 2:])


def test_probabilities_sum_to_one_whatever_mass_was_lost():
    mass = torch.linspace(0, 1.001, 64).reshape(1, 8, 8)
    done = complete_probabilities(random_probs(4, 8, 8) * mass)
    torch.testing.assert_close(done.sum(0), torch.ones(8, 8))
    assert done.min() >= 0


def test_a_voxel_that_kept_most_of_its_mass_keeps_its_proportions():
    done = complete_probabilities(torch.tensor([0.2, 0.6]).reshape(2, 1, 1))
    torch.testing.assert_close(done.flatten(), torch.tensor([0.25, 0.75]))
