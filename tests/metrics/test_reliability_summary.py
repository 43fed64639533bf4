"""Calibration, uncertainty quality and the score of both, against torchmetrics and written-out equations."""

import math

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassCalibrationError, MulticlassJaccardIndex

from medssl.metrics import (
    METRICS,
    AdaptiveCalibrationError,
    CalibrationError,
    ClasswiseCalibrationError,
    MeanIoU,
    ProperScores,
    ReliabilityMetrics,
    RiskCoverage,
    UncertaintyQuality,
    adaptive_calibration_error,
    area_under_risk_coverage,
    expected_calibration_error,
    reliable_segmentation_score,
    risk_coverage_curve,
    uncertainty_quality,
)


def random_images(seed, *, classes=4, batch=3, size=(9, 11), sharp=2.0, ignored=0.0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    logits = sharp * torch.randn(batch, classes, *size, generator=generator)
    probs = torch.softmax(logits, 1).to(dtype)
    labels = torch.randint(0, classes, (batch, *size), generator=generator)
    # Mostly right, as predictions are.
    labels = torch.where(torch.rand(labels.shape, generator=generator) < 0.6, probs.argmax(1), labels)
    labels[torch.rand(labels.shape, generator=generator) < ignored] = 255
    return probs, labels


def extreme():
    """Confidences of exactly 1, of exactly a bin's edge, and uniform ones."""
    probs = torch.zeros(1, 5, 6, 5)
    probs[:, 0, :2] = 1
    probs[:, 1, 2] = 0.6
    probs[:, 2, 2] = 0.4
    probs[:, 3, 3] = 1
    probs[:, :, 4:] = 0.2
    labels = torch.randint(0, 5, (1, 6, 5), generator=torch.Generator().manual_seed(0))
    return probs, labels


CASES = {
    "random": random_images(0),
    "sharp": random_images(1, sharp=30),
    "flat": random_images(2, sharp=0.01),
    "ignored": random_images(3, ignored=0.9),
    "bf16": random_images(4, dtype=torch.bfloat16),
    "volume": random_images(5, size=(4, 5, 6), classes=2),
    "extreme": extreme(),
    "one voxel": (torch.tensor([[[1.0]], [[0.0]]]).view(1, 2, 1, 1), torch.ones(1, 1, 1, dtype=torch.long)),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
@pytest.mark.parametrize("bins", [1, 10, 15])
def test_calibration_error_equals_torchmetrics(name, norm, bins):
    probs, labels = CASES[name]
    reference = MulticlassCalibrationError(probs.shape[1], n_bins=bins, norm=norm, ignore_index=255)
    expected = reference(probs.float(), labels)
    error = expected_calibration_error(probs, labels, bins, 255, norm=norm)
    assert error == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_mean_iou_equals_torchmetrics(name):
    probs, labels = CASES[name]
    reference = MulticlassJaccardIndex(probs.shape[1], ignore_index=255)
    metric = MeanIoU(probs.shape[1], ignore_index=255)
    metric.update(probs, labels)
    assert metric.compute() == pytest.approx(float(reference(probs.float().argmax(1), labels)), abs=1e-6)


def test_an_absent_class_has_no_iou():
    probs, labels = random_images(0, classes=3)
    probs = torch.cat([probs, torch.zeros_like(probs[:, :1])], 1)
    metric = MeanIoU(4)
    metric.update(probs, labels)
    assert math.isnan(metric.per_class()[3])
    assert metric.compute() == pytest.approx(np.mean(metric.per_class()[:3]))
    assert math.isnan(MeanIoU(4).compute())


@pytest.mark.parametrize("metric", [CalibrationError, AdaptiveCalibrationError, ClasswiseCalibrationError])
def test_images_may_be_divided_in_any_way(metric):
    probs, labels = random_images(6, batch=6, ignored=0.2)
    at_once, parts, merged = (metric(ignore_index=255) for _ in range(3))
    at_once.update(probs, labels)
    for image, ids in zip(probs, labels, strict=True):
        parts.update(image, ids)
        single = metric(ignore_index=255)
        single.update(image.numpy(), ids.numpy())
        merged.merge(single)
    assert at_once.compute() == pytest.approx(parts.compute(), abs=1e-12)
    assert at_once.compute() == pytest.approx(merged.compute(), abs=1e-12)


def test_memory_does_not_grow_with_the_images():
    metrics = ReliabilityMetrics(4)
    sizes = []
    for seed in range(3):
        metrics.update(*random_images(seed, size=(30 * (seed + 1), 20)))
        sizes.append(sum(value.numel() for part in metrics.parts for value in part.sums.values()))
    assert sizes[0] == sizes[1] == sizes[2]


def test_classwise_error_by_loops():
    probs, labels = random_images(7, classes=3)
    errors = []
    for k in range(3):
        p, hit = probs[:, k].flatten().numpy(), (labels == k).flatten().numpy()
        bins = np.minimum((p * 15).astype(int), 14)
        errors.append(
            sum(abs(p[bins == b].mean() - hit[bins == b].mean()) * (bins == b).mean() for b in set(bins))
        )
    metric = ClasswiseCalibrationError()
    metric.update(probs, labels)
    assert metric.compute() == pytest.approx(np.mean(errors), abs=1e-5)


@pytest.mark.parametrize("sharp", [0.5, 3.0, 12.0])
def test_adaptive_error_of_a_stream_is_near_the_sorted_one(sharp):
    probs, labels = random_images(8, size=(60, 60), sharp=sharp)
    metric = AdaptiveCalibrationError()
    metric.update(probs, labels)
    assert metric.compute() == pytest.approx(adaptive_calibration_error(probs, labels), abs=0.01)


def test_a_model_that_knows_its_probabilities_is_calibrated():
    generator = torch.Generator().manual_seed(0)
    probs = torch.softmax(torch.randn(1, 3, 400, 400, generator=generator), 1)
    labels = torch.multinomial(probs[0].flatten(1).T, 1, generator=generator).view(1, 400, 400)
    assert expected_calibration_error(probs, labels) < 0.005
    assert adaptive_calibration_error(probs, labels) < 0.008
    assert expected_calibration_error(torch.softmax(3 * probs.log(), 1), labels) > 0.1


def test_proper_scores_by_the_equations():
    probs, labels = random_images(9, ignored=0.3)
    metric = ProperScores(ignore_index=255)
    metric.update(probs, labels)
    keep = labels != 255
    p = probs.movedim(1, -1)[keep].double()
    truth = torch.nn.functional.one_hot(labels[keep], 4)
    assert metric.brier == pytest.approx(float((p - truth).square().sum(1).mean()), abs=1e-6)
    expected = torch.nn.functional.nll_loss(probs.log().double(), labels, ignore_index=255)
    assert metric.negative_log_likelihood == pytest.approx(float(expected), abs=1e-6)
    wrong = ProperScores()
    wrong.update(torch.tensor([[1.0], [0.0]]), torch.tensor([1]))
    assert wrong.negative_log_likelihood == pytest.approx(87.3365, abs=1e-3)
    assert wrong.brier == 2


def loops_uncertainty(probs, labels, protocol):
    """Both conditional probabilities, written out pixel by pixel."""
    numbers = []
    for image, ids in zip(probs.double().numpy(), labels.numpy(), strict=True):
        pixels = [(image[(slice(None), *i)], ids[i]) for i in np.ndindex(ids.shape)]
        if protocol == "principled":
            pixels = [(p, y) for p, y in pixels if y != 255]
        entropies = [-sum(v * math.log(v) for v in p if v > 0) for p, _ in pixels]
        median = np.median(entropies) if pixels else 0
        counts = np.zeros((2, 2))  # certain, accurate
        for h, (p, y) in zip(entropies, pixels, strict=True):
            counts[int(h <= median), int(p.argmax() == y)] += 1
        numbers.append(counts)
    if protocol == "principled":
        total = sum(numbers)
        return total[1, 1] / total[1].sum(), total[0, 0] / total[:, 0].sum()
    first = [c[1, 1] / c[1].sum() for c in numbers]
    second = [c[0, 0] / c[:, 0].sum() for c in numbers if c[:, 0].sum()]
    return np.mean(first), np.mean(second)


@pytest.mark.parametrize("protocol", ["principled", "landgraf2025"])
@pytest.mark.parametrize("name", ["random", "ignored", "volume"])
def test_uncertainty_quality_by_loops(name, protocol):
    probs, labels = CASES[name]
    expected = loops_uncertainty(probs, labels, protocol)
    np.testing.assert_allclose(uncertainty_quality(probs, labels, protocol), expected, atol=1e-9)


def test_half_of_the_pixels_are_certain_and_the_identity_of_the_protocol_holds():
    """With the median per image, pixel error e = (1 - p(acc|cer)) / 2 / (1 - p(unc|inacc))."""
    probs, labels = random_images(10, batch=1, size=(40, 40))
    first, second = uncertainty_quality(probs, labels)
    error = float((probs.argmax(1) != labels).float().mean())
    assert 0.5 * (1 - first) / (1 - second) == pytest.approx(error, abs=1e-3)


def test_ignored_pixels_count_as_inaccurate_in_the_published_protocol_alone():
    probs = torch.tensor([[0.99, 0.9, 0.8, 0.6], [0.01, 0.1, 0.2, 0.4]]).view(1, 2, 2, 2)
    labels = torch.tensor([[[255, 0], [0, 0]]])
    assert uncertainty_quality(probs, labels).p_accurate_given_certain == 1
    assert math.isnan(uncertainty_quality(probs, labels).p_uncertain_given_inaccurate)
    assert uncertainty_quality(probs, labels, "landgraf2025") == (0.5, 0)


def test_nothing_at_all_is_not_a_number():
    empty = torch.full((1, 3, 3), 255)
    probs = torch.full((1, 4, 3, 3), 0.25)
    assert all(math.isnan(value) for value in uncertainty_quality(probs, empty))
    assert math.isnan(expected_calibration_error(probs, empty, ignore_index=255))
    metrics = ReliabilityMetrics(4)
    metrics.update(probs, empty)
    values = metrics.compute()
    assert list(values) == [metric.name for metric in METRICS if metric.group == "reliability"]
    assert math.isnan(values["rss"])
    assert math.isnan(UncertaintyQuality().compute()[0])


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ((1, 0, 1, 1), 1.0),
        ((0.5, 0.5, 0.5, 0.5), 0.5),
        ((0.8, 0.1, 0.9, 0.6), 4 / (1 / 0.8 + 1 / 0.9 + 1 / 0.9 + 1 / 0.6)),
        ((0, 0.1, 0.9, 0.6), 0.0),
        ((0.8, 1, 0.9, 0.6), 0.0),
    ],
)
def test_the_score_is_a_harmonic_mean(parts, expected):
    assert reliable_segmentation_score(*parts) == pytest.approx(expected)


def test_weights_of_the_score():
    parts = (0.8, 0.1, 0.9, 0.6)
    assert reliable_segmentation_score(*parts, weights=(1, 0, 0, 0)) == pytest.approx(0.8)
    assert reliable_segmentation_score(0.8, 0.1, 0.9, 0, weights=(1, 1, 1, 0)) > 0.8
    assert reliable_segmentation_score(*parts, weights=(2, 2, 2, 2)) == pytest.approx(
        reliable_segmentation_score(*parts)
    )
    assert reliable_segmentation_score(*parts) <= np.mean([0.8, 0.9, 0.9, 0.6])
    for weights in ((1, 1, 1), (0, 0, 0, 0), (1, -1, 1, 1)):
        with pytest.raises(ValueError, match="weights"):
            reliable_segmentation_score(*parts, weights=weights)
    with pytest.raises(ValueError, match="miou"):
        reliable_segmentation_score(1.2, 0.1, 0.9, 0.6)


def test_risk_and_coverage_by_hand_and_of_a_stream():
    np.testing.assert_allclose(risk_coverage_curve([0.9, 0.5, 0.7], [0, 1, 0.5]), [0, 0.25, 0.5])
    np.testing.assert_allclose(risk_coverage_curve([0.5, 0.5], [0, 1]), [0.5, 0.5])
    probs, labels = random_images(11, size=(50, 50))
    confidence, predicted = probs.max(1)
    exact = area_under_risk_coverage(
        confidence.flatten().tolist(), (predicted != labels).float().flatten().tolist()
    )
    metric = RiskCoverage()
    metric.update(probs, labels)
    assert metric.compute() == pytest.approx(exact, abs=2e-4)
    coverage, risk = metric.curve()
    assert coverage[-1] == 1
    assert risk[-1] == pytest.approx(float((predicted != labels).float().mean()))


def test_a_stream_of_equal_confidences_has_its_error_rate_as_area():
    probs = torch.full((1, 2, 10, 10), 0.5)
    labels = torch.randint(0, 2, (1, 10, 10), generator=torch.Generator().manual_seed(0))
    metric = RiskCoverage()
    metric.update(probs, labels)
    assert metric.compute() == pytest.approx(float((labels != 0).double().mean()), abs=1e-9)


def test_faults_name_the_argument():
    probs, labels = random_images(0)
    with pytest.raises(ValueError, match="belong together"):
        expected_calibration_error(probs, labels[:, :-1])
    with pytest.raises(ValueError, match="class ids in 0 to 3"):
        expected_calibration_error(probs, labels + 1)
    with pytest.raises(ValueError, match="protocol"):
        uncertainty_quality(probs, labels, "mine")
    with pytest.raises(ValueError, match="norm"):
        expected_calibration_error(probs, labels, norm="l3")


# Landgraf and Ulrich, "The Impact of CutMix on Reliability and Robustness in Semantic Segmentation", Table 2:
# mIoU, ECE, p(acc|cer), p(unc|inacc) and the RSS that they print.
PRINTED = [
    (0.743, 0.033, 0.912, 0.731, 0.826),
    (0.743, 0.027, 0.943, 0.838, 0.864),
    (0.774, 0.034, 0.931, 0.797, 0.859),
    (0.754, 0.033, 0.947, 0.848, 0.870),
    (0.762, 0.034, 0.927, 0.777, 0.849),
    (0.774, 0.034, 0.939, 0.817, 0.867),
    (0.658, 0.034, 0.899, 0.713, 0.789),
    (0.688, 0.034, 0.930, 0.807, 0.833),
    (0.759, 0.032, 0.906, 0.707, 0.822),
    (0.771, 0.034, 0.921, 0.758, 0.844),
    (0.788, 0.027, 0.921, 0.766, 0.853),
    (0.773, 0.033, 0.909, 0.721, 0.831),
]


@pytest.mark.parametrize("row", PRINTED)
def test_printed_scores_follow_from_their_rows(row):
    *parts, printed = row
    # Half a unit of the last digit, for the score and for the four that it is made of.
    assert reliable_segmentation_score(*parts) == pytest.approx(printed, abs=0.001)
