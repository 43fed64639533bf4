"""Probabilities after un-cropping, and the maps derived from them."""

import math

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy.stats import entropy as scipy_entropy

from medssl.engines import DeriveMapsd, complete_probabilities


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


@pytest.mark.parametrize("shape", [(7, 6), (5, 6, 4)])
@pytest.mark.parametrize("classes", [2, 4])
def test_maps_are_argmax_largest_probability_and_scaled_entropy(shape, classes):
    probs = random_probs(classes, *shape)
    item = DeriveMapsd()({"pred": MetaTensor(probs.clone()), "case": "a"})
    array = probs.numpy().astype(np.float64)
    assert item["label_map"].dtype == torch.uint8
    assert item["label_map"].shape == item["confidence"].shape == item["uncertainty"].shape == (1, *shape)
    np.testing.assert_array_equal(item["label_map"][0], array.argmax(0))
    np.testing.assert_allclose(item["confidence"][0], array.max(0), atol=1e-6)
    np.testing.assert_allclose(item["uncertainty"][0], scipy_entropy(array) / math.log(classes), atol=1e-6)
    assert item["case"] == "a"


def test_uncertainty_is_zero_where_certain_and_one_where_all_classes_are_alike():
    probs = torch.zeros(3, 2, 2)
    probs[1, 0], probs[:, 1] = 1, 1 / 3
    uncertainty = DeriveMapsd()({"pred": probs})["uncertainty"][0]
    assert (uncertainty[0] == 0).all()
    torch.testing.assert_close(uncertainty[1], torch.ones(2))
    assert uncertainty.max() <= 1
