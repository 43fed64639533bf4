"""Labels and maps of a scan."""

import math

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy import stats
from torch import nn

from medssl.common.errors import InputError
from medssl.inference import windows as streaming
from medssl.inference.predictor import Predictor
from medssl.inference.sliding_window import SlidingWindowProbabilities
from medssl.networks import DualDecoderVNet
from medssl.reliability import disagreement, entropy

SIZE, PATCH, STRIDE = (20, 22, 17), (16, 16, 16), (7, 8, 16)


def convolution(seed, classes=3):
    torch.manual_seed(seed)
    return nn.Conv3d(1, classes, 3, padding=1).eval().requires_grad_(False)


@pytest.fixture
def image():
    generator = torch.Generator().manual_seed(1)
    return loaded(torch.randn(1, *SIZE, generator=generator))


def loaded(values):
    """As a file holds it, without any preprocessing."""
    meta = {"original_affine": np.eye(4), "scan_shape": np.asarray(values.shape[1:])}
    return MetaTensor(values, affine=torch.eye(4), meta=meta)


def predict(networks, image, classes=3, **options):
    predictor = Predictor(networks, num_classes=classes, patch=PATCH, stride=STRIDE, **options)
    return predictor(image)


def test_maps_follow_from_the_mean_probabilities(image):
    network = convolution(0)
    prediction = predict([network], image, keep_probabilities=True)
    probs = SlidingWindowProbabilities(PATCH, stride=STRIDE)(image[None].as_tensor(), network)
    np.testing.assert_allclose(prediction.probabilities, probs[0].numpy(), atol=1e-6)
    np.testing.assert_array_equal(prediction.labels, probs[0].argmax(0).numpy())
    np.testing.assert_allclose(prediction.confidence, probs[0].amax(0).numpy(), atol=1e-6)
    np.testing.assert_allclose(prediction.uncertainty, (entropy(probs)[0] / math.log(3)).numpy(), atol=1e-5)
    assert prediction.disagreement is None
    assert prediction.labels.dtype == np.uint8


@pytest.mark.parametrize("classes", [2, 4])
def test_maps_are_argmax_largest_probability_and_scaled_entropy(image, classes):
    prediction = predict([convolution(1, classes)], image, classes, keep_probabilities=True)
    probs = prediction.probabilities.astype(np.float64)
    np.testing.assert_array_equal(prediction.labels, probs.argmax(0))
    np.testing.assert_allclose(prediction.confidence, probs.max(0), atol=1e-6)
    np.testing.assert_allclose(prediction.uncertainty, stats.entropy(probs) / math.log(classes), atol=1e-6)


def test_uncertainty_is_zero_where_certain_and_one_where_all_classes_are_alike(image):
    network = nn.Conv3d(1, 3, 1).eval().requires_grad_(False)
    network.weight[:], network.bias[:] = 0, torch.tensor([0.0, 200.0, 0.0])
    assert predict([network], image).uncertainty.max() == 0
    network.bias[:] = 0
    assert predict([network], image).uncertainty.min() == pytest.approx(1, abs=1e-6)


def test_the_expected_dice_is_the_soft_dice_of_the_predicted_mask(image):
    prediction = predict([convolution(0)], image, keep_probabilities=True)
    for label in (0, 1, 2):
        mask = prediction.labels == label
        p = prediction.probabilities[label].astype(np.float64)
        expected = 2 * p[mask].sum() / (p.sum() + mask.sum())
        assert prediction.soft_overlap[label] == pytest.approx(expected, abs=1e-6)


def test_a_class_that_is_nowhere_predicted_expects_nothing(image):
    network = convolution(0)
    network.bias[2] = -100
    assert math.isnan(predict([network], image).soft_overlap[2])


def test_flips_of_a_network_that_does_not_care_change_nothing(image):
    network = nn.Conv3d(1, 3, 1).eval().requires_grad_(False)
    plain = predict([network], image, keep_probabilities=True)
    flipped = predict([network], image, keep_probabilities=True, flips=((0,), (1, 2), (0, 1, 2)))
    np.testing.assert_allclose(plain.probabilities, flipped.probabilities, atol=1e-6)


def test_flips_are_averaged_as_probabilities(image):
    network = convolution(0)
    prediction = predict([network], image, keep_probabilities=True, flips=((1,),))

    def both(windows):
        turned = torch.softmax(network(windows.flip(3)), 1).flip(3)
        return (torch.softmax(network(windows), 1) + turned) / 2

    expected = streaming.stream_windows(image.as_tensor(), both, patch=PATCH, stride=STRIDE)
    np.testing.assert_allclose(prediction.probabilities, expected.numpy(), atol=1e-6)


def test_an_ensemble_of_equals_agrees_with_itself(image):
    prediction = predict([convolution(0), convolution(0)], image, uncertainty="ensemble")
    assert prediction.disagreement.max() == 0
    np.testing.assert_array_equal(prediction.labels, predict([convolution(0)], image).labels)


def test_an_ensemble_disagrees_by_the_mean_over_its_pairs(image):
    networks = [convolution(seed) for seed in range(3)]
    predictor = Predictor(networks, num_classes=3, patch=SIZE_16, stride=SIZE_16, uncertainty="ensemble")
    small = loaded(image.as_tensor()[:, :16, :16, :16])
    prediction = predictor(small)
    a, b, c = (torch.softmax(network(small.as_tensor()[None]), 1) for network in networks)
    pairs = [disagreement(x, y, norm="max") for x, y in ((a, b), (a, c), (b, c))]
    np.testing.assert_allclose(prediction.disagreement, torch.stack(pairs).mean(0)[0].numpy(), atol=1e-6)


SIZE_16 = (16, 16, 16)


def test_dual_axis_is_the_disagreement_of_the_decoders_and_labels_are_decoder_1s(image):
    torch.manual_seed(0)
    network = DualDecoderVNet(width=2).eval()
    small = loaded(image.as_tensor()[:, :16, :16, :16])
    predictor = Predictor([network], num_classes=2, patch=SIZE_16, stride=SIZE_16, uncertainty="dual-axis")
    prediction = predictor(small)
    with torch.no_grad():
        p1, p2 = (torch.softmax(logits, 1) for logits in network(small.as_tensor()[None]).logits)
    np.testing.assert_allclose(
        prediction.disagreement, disagreement(p1, p2, norm="max")[0].numpy(), atol=1e-6
    )
    np.testing.assert_array_equal(prediction.labels, p1[0].argmax(0).numpy())


def test_temperature_softens(image):
    sharp, soft = (predict([convolution(0)], image, temperature=t) for t in (1.0, 4.0))
    assert soft.confidence.mean() < sharp.confidence.mean()
    assert soft.uncertainty.mean() > sharp.uncertainty.mean()
    np.testing.assert_array_equal(soft.labels, sharp.labels)


def test_labels_do_not_depend_on_the_temperature_where_it_rounds_classes_to_one_value(image):
    """Scored at one temperature and exported at another, a label map is the same."""
    network = nn.Conv3d(1, 3, 1).eval().requires_grad_(False)
    network.weight[:], network.bias[:] = 0, torch.tensor([0.0, 3e-7, 1e-7])
    label_maps = [predict([network], image, temperature=t).labels for t in (1.0, 20.0)]
    assert (label_maps[0] == 1).all()
    np.testing.assert_array_equal(*label_maps)


def test_half_precision_storage_changes_maps_by_its_rounding_alone(image, monkeypatch):
    exact = predict([convolution(0)], image)
    monkeypatch.setattr(streaming, "HALF_ABOVE", 0)
    rounded = predict([convolution(0)], image)
    assert rounded.confidence.dtype == np.float16
    np.testing.assert_allclose(rounded.confidence.astype(float), exact.confidence, atol=1e-3)
    assert (rounded.labels != exact.labels).mean() < 0.005


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"uncertainty": "ensemble"}, "too few"),
        ({"uncertainty": "dual-axis"}, "one decoder"),
        ({"classes": 4}, "the network gives 3"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(image, options, message):
    with pytest.raises(InputError, match=message):
        predict([convolution(0)], image, **options)
