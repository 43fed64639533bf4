"""Sums of images, from which a test set's numbers follow for any weighting of its images."""

import math

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassCalibrationError, MulticlassJaccardIndex

from medssl.common.errors import InputError
from medssl.metrics import ImageSums, ReliabilityMetrics, reliable_segmentation_score
from medssl.metrics.uncertainty import reliable_segmentation_scores

CLASSES = 4


def images(count=6, seed=0, classes=CLASSES, ignored=0.1):
    """Images of different sizes: one without a label, one without an error, classes that are rare."""
    random = torch.Generator().manual_seed(seed)
    pairs = []
    for index in range(count):
        size = (9 + index, 12)
        probs = torch.randn(classes, *size, generator=random).mul(2).softmax(0)
        labels = torch.randint(0, classes - (index > 1), size, generator=random)
        labels = torch.where(torch.rand(size, generator=random) < 0.6, probs.argmax(0), labels)
        labels[torch.rand(size, generator=random) < ignored] = 255
        pairs.append((probs, labels))
    pairs[1] = (pairs[1][0], torch.full_like(pairs[1][1], 255))
    pairs[2] = (pairs[2][0], pairs[2][0].argmax(0))
    return pairs


def metrics_of(pairs):
    metrics = ReliabilityMetrics(CLASSES)
    for probs, labels in pairs:
        metrics.update(probs, labels)
    return metrics


def sums_of(pairs):
    return ImageSums.joined([ImageSums.of(f"image {n}", metrics_of([pair])) for n, pair in enumerate(pairs)])


@pytest.mark.parametrize("seed", range(4))
def test_with_every_image_once_they_are_the_reliability_metrics(seed):
    pairs = images(seed=seed)
    expected = metrics_of(pairs).compute()
    for weights in (None, np.ones((1, len(pairs)))):
        pooled = sums_of(pairs).pooled(weights)
        assert set(pooled) == set(expected) - {"classwise_ece", "adaptive_ece", "aurc"}
        for name, values in pooled.items():
            assert values.shape == (1,)
            assert float(values[0]) == pytest.approx(expected[name], abs=1e-9), name


def test_under_drawn_images_they_are_the_metrics_of_the_drawn_images():
    pairs = images(seed=5)
    drawn = np.random.default_rng(0).integers(0, len(pairs), (12, len(pairs)))
    weights = np.stack([np.bincount(row, minlength=len(pairs)) for row in drawn]).astype(float)
    sums = sums_of(pairs)
    pooled, classes = sums.pooled(weights), sums.class_iou(weights)
    for index, row in enumerate(drawn):
        metrics = metrics_of([pairs[n] for n in row])
        expected = metrics.compute()
        for name, values in pooled.items():
            assert float(values[index]) == pytest.approx(expected[name], abs=1e-9, nan_ok=True), name
        assert classes[index].tolist() == pytest.approx(metrics.iou.per_class(), abs=1e-9, nan_ok=True)


def test_iou_and_calibration_error_are_torchmetrics():
    pairs = [(probs[:, :9], labels[:9]) for probs, labels in images(seed=3)]
    probs, labels = (torch.stack(part) for part in zip(*pairs, strict=True))
    pooled = sums_of(pairs).pooled()
    jaccard = MulticlassJaccardIndex(CLASSES, ignore_index=255)
    calibration = MulticlassCalibrationError(CLASSES, n_bins=15, ignore_index=255)
    assert pooled["miou"][0] == pytest.approx(float(jaccard(probs.argmax(1), labels)), abs=1e-6)
    assert pooled["ece"][0] == pytest.approx(float(calibration(probs, labels)), abs=1e-6)


def test_a_class_that_no_drawn_image_has_is_left_out_of_the_mean():
    of_all = torch.tensor([[0, 0], [1, 2]]), torch.tensor([[0, 0], [1, 2]])
    of_one = torch.zeros(2, 2, dtype=torch.long), torch.zeros(2, 2, dtype=torch.long)
    parts = []
    for name, (predicted, labels) in (("all", of_all), ("one", of_one)):
        metrics = ReliabilityMetrics(3)
        metrics.update(torch.nn.functional.one_hot(predicted, 3).permute(2, 0, 1).float(), labels)
        parts.append(ImageSums.of(name, metrics))
    sums = ImageSums.joined(parts)
    np.testing.assert_array_equal(sums.class_iou(np.eye(2)), [[1, 1, 1], [1, np.nan, np.nan]])
    assert sums.pooled(np.eye(2))["miou"].tolist() == [1, 1]


def test_no_image_and_no_error_is_not_a_number_as_everywhere():
    pairs = images()
    nothing = sums_of(pairs[1:2]).pooled()
    assert all(math.isnan(nothing[name][0]) for name in ("miou", "ece", "p_acc_cer", "rss", "brier", "nll"))
    right = sums_of(pairs[2:3]).pooled()
    assert right["miou"][0] == 1
    assert math.isnan(right["p_unc_inacc"][0])
    assert math.isnan(right["rss"][0])


def test_many_scores_are_the_one_score_many_times():
    random = np.random.default_rng(0)
    parts = random.uniform(0, 1, (4, 50))
    parts[0, :3], parts[2, 3:6], parts[1, 6] = 0, np.nan, 1
    parts[3, 2] = np.nan
    scores = reliable_segmentation_scores(*parts)
    expected = [reliable_segmentation_score(*row) for row in parts.T]
    np.testing.assert_array_equal(scores, expected)
    assert (scores == 0).sum() == 3  # two without overlap and one of ECE 1; NaN beats 0
    assert np.isnan(scores).sum() == 4


def test_sums_are_read_back_to_the_last_bit_and_written_alike(tmp_path):
    sums = sums_of(images())
    sums.save(tmp_path / "sums.npz")
    stored = ImageSums.load(tmp_path / "sums.npz")
    assert stored.cases == sums.cases
    for name, values in sums.sums.items():
        np.testing.assert_array_equal(stored.sums[name], values)
    stored.save(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "sums.npz").read_bytes()


def test_images_in_another_order_weigh_the_same():
    sums = sums_of(images())
    order = [4, 2, 0, 5, 1, 3]
    turned = sums.arranged([sums.cases[n] for n in order])
    weights = np.random.default_rng(0).integers(0, 3, (5, 6)).astype(float)
    for name, values in turned.pooled(weights[:, order]).items():
        np.testing.assert_allclose(values, sums.pooled(weights)[name], rtol=1e-12)
    with pytest.raises(ValueError, match="not the same images"):
        sums.arranged(sums.cases[1:])


def test_damaged_sums_are_one_line(tmp_path):
    path = tmp_path / "sums.npz"
    with pytest.raises(InputError, match="cannot be read"):
        ImageSums.load(path)
    path.write_bytes(b"PK damaged")
    with pytest.raises(InputError, match="score the checkpoint again"):
        ImageSums.load(path)
    sums = sums_of(images())
    for changed, fault in (
        ({"bins": sums.sums["bins"][:-1]}, "bins"),
        ({"union": sums.sums["union"][:, 1:]}, "different classes"),
        ({"scores": np.full((6, 3), np.nan)}, "finite"),
    ):
        with pytest.raises(ValueError, match=fault):
            ImageSums(sums.cases, {**sums.sums, **changed})
    with pytest.raises(ValueError, match="twice"):
        ImageSums(["a"] * 6, sums.sums)
    with pytest.raises(ValueError, match="has no union"):
        ImageSums(sums.cases, {name: values for name, values in sums.sums.items() if name != "union"})
