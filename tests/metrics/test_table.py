"""What the table says of a metric is what the metric does."""

import numpy as np
import pytest
import torch

from medssl.common.errors import InputError
from medssl.metrics import MaskPair, ReliabilityMetrics, ScoredClass, find_metric
from medssl.metrics.table import CASE_METRICS, CLASS_METRICS, METRICS

REFERENCE = np.zeros((20, 12, 12), np.int64)
REFERENCE[4:14, 3:9, 3:9] = 1


def scored(shift, confidence_where_wrong):
    """A prediction that lies so many voxels off and is as many too thin, and how sure the model is of it."""
    predicted = np.roll(REFERENCE, shift, axis=0)
    predicted[..., : 3 + shift] = 0
    confidence = np.where(predicted == REFERENCE, 0.97, confidence_where_wrong)
    foreground = np.where(predicted == 1, confidence, 1 - confidence)
    probs = torch.from_numpy(np.stack([1 - foreground, foreground])).float()
    reliability = ReliabilityMetrics(2)
    reliability.update(probs, REFERENCE)
    return ScoredClass(MaskPair(predicted, REFERENCE), 1.0, reliability.compute())


GOOD, BAD = scored(1, 0.6), scored(4, 0.99)


@pytest.mark.parametrize("metric", [*CLASS_METRICS, *CASE_METRICS], ids=lambda metric: metric.name)
def test_a_better_prediction_is_better_in_the_direction_that_the_table_names(metric):
    good, bad = metric.measure(GOOD), metric.measure(BAD)
    assert (good < bad) if metric.lower_is_better else (good > bad)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_every_metric_is_found_and_says_what_it_is(metric):
    assert find_metric(metric.name) is metric
    assert metric.title
    assert metric.definition
    assert bool(metric.empty) == (metric in CLASS_METRICS)
    assert metric.measure or not metric.headline


def test_names_and_titles_are_given_once():
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    assert len({metric.title for metric in METRICS}) == len(METRICS)


def test_an_unknown_metric_is_one_line_with_the_nearest_name():
    with pytest.raises(InputError, match="did you mean 'dice'"):
        find_metric("dise")


def test_shares_are_printed_as_percentages_and_distances_in_their_unit():
    dice, distance, ece = map(find_metric, ("dice", "hausdorff95", "ece"))
    assert (dice.heading("mm"), dice.text(0.98765)) == ("Dice (%)", "98.77")
    assert (distance.heading("voxel"), distance.text(3.14159)) == ("95HD (voxel)", "3.14")
    assert (ece.heading("mm"), ece.text(0.012345)) == ("ECE", "0.0123")
    assert dice.text(float("nan")) == "\N{EN DASH}"
