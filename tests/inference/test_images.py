"""Images of two axes: as a whole or by windows, and back to the pixels of their files."""

import math

import numpy as np
import pytest
import torch
from monai.transforms import DivisiblePadd, Flipd, Resized
from PIL import Image
from torch import nn
from torch.nn import functional as F

from medssl.common.errors import InputError
from medssl.inference import SlidingWindowProbabilities, load_deployment, predict
from medssl.inference.fitting import Fitted
from medssl.inference.predictor import Predictor
from medssl.networks import Output
from medssl.reliability import entropy

from .images import IMAGE_META, convolution, item, save_model, save_picture


def predictor(network, *, patch=(32, 32), stride=None, classes=4, **options):
    return Predictor([network], num_classes=classes, patch=patch, stride=stride, **options)


@pytest.mark.parametrize("size", [(37, 50), (2, 90), (64, 33)])
def test_a_whole_image_is_predicted_in_one_pass(tmp_path, size):
    image = item(tmp_path, size)["image"]
    network = convolution()
    prediction = predictor(network, keep_probabilities=True)(image)
    probs = torch.softmax(network(image.as_tensor()[None]), 1)[0]
    np.testing.assert_allclose(prediction.probabilities, probs.numpy(), atol=1e-6)
    np.testing.assert_array_equal(prediction.labels, probs.argmax(0).numpy())
    np.testing.assert_allclose(prediction.confidence, probs.amax(0).numpy(), atol=1e-6)
    np.testing.assert_allclose(
        prediction.uncertainty, (entropy(probs[None])[0] / math.log(4)).numpy(), atol=1e-5
    )
    assert prediction.labels.shape == size
    assert predictor(network).windows(size) == 1


@pytest.mark.parametrize("size", [(75, 100), (20, 61), (32, 32)])
def test_windows_are_those_of_the_literature(tmp_path, size):
    """Grid of the crop, a step of two thirds of it, the last window at the border, softmax summed."""
    image = item(tmp_path, size)["image"]
    network, grid = convolution(kernel=5), 30
    model = predictor(network, patch=(grid, grid), stride=(20, 20), keep_probabilities=True)
    padded = F.pad(image.as_tensor(), [0, 0, (grid - size[0]) // 2, (grid - size[0]) // 2])
    if size[0] >= grid:
        padded = image.as_tensor()
    height, width = padded.shape[1:]
    total, row = torch.zeros(4, height, width), 0
    count = torch.zeros(height, width)
    while True:
        column = 0
        while True:
            place = (slice(None), slice(row, row + grid), slice(column, column + grid))
            total[place] += torch.softmax(network(padded[place][None]), 1)[0]
            count[place[1:]] += 1
            if column == width - grid:
                break
            column = min(column + int(grid * 2 / 3), width - grid)
        if row == height - grid:
            break
        row = min(row + int(grid * 2 / 3), height - grid)
    first = (height - size[0]) // 2
    expected = (total / count)[:, first : first + size[0]]
    np.testing.assert_allclose(model(image).probabilities, expected.numpy(), atol=1e-6)


@pytest.mark.parametrize("factor", [0.5, 0.37, 1.6])
@pytest.mark.parametrize("size", [(36, 48), (37, 51)])
def test_what_was_resized_comes_back_by_bilinear_interpolation(tmp_path, size, factor):
    small = [round(side * factor) for side in size]
    resize = Resized(["image", "label"], spatial_size=small, mode=["bilinear", "nearest"])
    image = resize(item(tmp_path, size))["image"]
    assert list(image.shape[1:]) == small
    network = convolution()
    prediction = predictor(network, keep_probabilities=True)(image)
    probs = torch.softmax(network(image.as_tensor()[None]), 1)
    back = F.interpolate(probs, size, mode="bilinear", align_corners=False)[0]
    np.testing.assert_allclose(prediction.probabilities, back.numpy(), atol=1e-5)
    assert (prediction.labels == back.argmax(0).numpy()).mean() > 0.999
    np.testing.assert_array_equal(prediction.labels, prediction.probabilities.argmax(0))


def test_what_was_padded_or_flipped_comes_back_bit_for_bit(tmp_path):
    image = item(tmp_path, (37, 50))["image"]
    network = convolution(kernel=1)
    plain = predictor(network, keep_probabilities=True)(image).probabilities
    for step in (DivisiblePadd("image", k=16), Flipd("image", spatial_axis=1)):
        turned = step({"image": image.clone()})["image"]
        assert not torch.equal(turned.as_tensor()[..., :50], image.as_tensor())
        restored = predictor(network, keep_probabilities=True)(turned).probabilities
        np.testing.assert_allclose(restored, plain, atol=1e-6)


class Demanding(nn.Module):
    """Refuses sides that are no multiples; gives the mean of the patch that a pixel lies in as a logit."""

    def __init__(self, multiple, decoders=1):
        super().__init__()
        self.multiple, self.decoders, self.sizes = multiple, decoders, []

    def forward(self, x):
        self.sizes.append(tuple(x.shape[2:]))
        steps = (self.multiple, self.multiple) if isinstance(self.multiple, int) else self.multiple
        assert all(side % step == 0 for side, step in zip(x.shape[2:], steps, strict=True))
        mean = F.avg_pool2d(x.mean(1, keepdim=True), steps)
        logits = F.interpolate(mean, x.shape[2:], mode="nearest")
        logits = torch.cat([logits, 1 - logits], 1)
        return logits if self.decoders == 1 else Output((logits, -logits), ())


@pytest.mark.parametrize(
    ("size", "padded", "nearest"),
    [((37, 50), (42, 56), (42, 56)), ((35, 48), (42, 56), (42, 42)), ((3, 28), (14, 28), (14, 28))],
)
def test_sides_that_are_no_multiples_are_padded_or_resized_and_brought_back(size, padded, nearest):
    x = torch.rand(2, 3, *size)
    for fitting, expected in (("pad", padded), ("resize", nearest)):
        network = Demanding(14)
        output = Fitted(network, multiple=14, fitting=fitting)(x)
        assert network.sizes == [expected]
        assert output.shape == (2, 2, *size)
    resized = F.interpolate(x, nearest, mode="bilinear", align_corners=True)
    back = F.interpolate(Demanding(14)(resized), size, mode="bilinear", align_corners=True)
    torch.testing.assert_close(output, back, atol=0, rtol=0)
    above = [(wide - side) // 2 for wide, side in zip(padded, size, strict=True)]
    framed = torch.zeros(2, 3, *padded)
    framed[:, :, above[0] : above[0] + size[0], above[1] : above[1] + size[1]] = x
    inside = Demanding(14)(framed)[:, :, above[0] : above[0] + size[0], above[1] : above[1] + size[1]]
    torch.testing.assert_close(Fitted(Demanding(14), multiple=14)(x), inside, atol=0, rtol=0)


def test_multiples_pass_as_they_are_and_axes_may_differ():
    x = torch.rand(1, 3, 28, 48)
    network = Demanding((14, 16))
    torch.testing.assert_close(
        Fitted(network, multiple=(14, 16), fitting="resize")(x), network(x), atol=0, rtol=0
    )
    Fitted(network, multiple=(14, 16), fitting="resize")(torch.rand(1, 3, 30, 30))
    assert network.sizes[-1] == (28, 32)
    both = Fitted(Demanding(8, decoders=2), multiple=8)(torch.rand(1, 3, 9, 9))
    assert [tuple(logits.shape) for logits in both.logits] == [(1, 2, 9, 9)] * 2


@pytest.mark.parametrize("fitting", ["pad", "resize"])
@pytest.mark.parametrize("windows", [None, ((28, 42), (20, 28))])
def test_validation_gives_the_probabilities_of_the_prediction(tmp_path, fitting, windows):
    image = item(tmp_path, (37, 50))["image"]
    network = Demanding(14)
    patch, stride = windows or ((28, 28), None)
    ready = Fitted(network, multiple=14, fitting=fitting)
    prediction = predictor(ready, patch=patch, stride=stride, classes=2, keep_probabilities=True)(image)
    for roi in {patch, patch if windows else None}:
        inferer = SlidingWindowProbabilities(roi, stride=stride, multiple=14, fitting=fitting)
        probs = inferer(image[None], network)[0].numpy()
        np.testing.assert_allclose(probs, prediction.probabilities, atol=1e-6)
        np.testing.assert_array_equal(probs.argmax(0), prediction.labels)


def test_flips_are_averaged_over_both_axes(tmp_path):
    image = item(tmp_path, (20, 31))["image"]
    network = convolution()
    prediction = predictor(network, flips=((0,), (1,), (0, 1)), keep_probabilities=True)(image)
    x = image.as_tensor()[None]
    views = [torch.softmax(network(x.flip(axes)), 1).flip(axes) for axes in ((), (2,), (3,), (2, 3))]
    np.testing.assert_allclose(prediction.probabilities, torch.stack(views).mean(0)[0].numpy(), atol=1e-6)


def test_a_checkpoint_says_that_images_are_predicted_whole(tmp_path):
    save_picture(tmp_path / "a street.png", size=(45, 70))
    path = save_model(tmp_path / "last.pt", {**IMAGE_META, "patch_size": [16, 16]})
    deployment = load_deployment([path])
    assert deployment.description.stride is None
    model = deployment.predictor(device="cpu", keep_probabilities=True)
    assert model.stride is None
    prediction = predict(path, tmp_path / "a street.png", device="cpu", keep_probabilities=True)
    assert prediction.labels.shape == (45, 70)
    pixels = torch.from_numpy(np.array(Image.open(tmp_path / "a street.png"))).permute(2, 0, 1) / 255
    network = deployment.networks[0]
    half = F.interpolate(pixels[None], (24, 32), mode="bilinear", align_corners=False)
    with torch.no_grad():
        probs = torch.softmax(network.deployed(half), 1)
    back = F.interpolate(probs, (45, 70), mode="bilinear", align_corners=False)[0]
    np.testing.assert_allclose(prediction.probabilities, back.numpy(), atol=1e-5)
    windows = predict(path, tmp_path / "a street.png", device="cpu", stride=(8, 16))
    assert windows.labels.shape == (45, 70)
    assert not np.array_equal(windows.confidence, prediction.confidence)


def test_networks_of_monais_are_padded_to_their_multiple(tmp_path):
    save_picture(tmp_path / "street.jpg", size=(45, 71))
    meta = {**IMAGE_META, "preprocessing": IMAGE_META["preprocessing"][:2]}
    path = save_model(tmp_path / "last.pt", meta)
    prediction = predict(path, tmp_path / "street.jpg", device="cpu", keep_probabilities=True)
    assert prediction.labels.shape == (45, 71)
    unet = load_deployment([path]).networks[0]
    pixels = torch.from_numpy(np.array(Image.open(tmp_path / "street.jpg"))).permute(2, 0, 1) / 255
    framed = F.pad(pixels, [0, 1, 1, 2])[None]
    with torch.no_grad():
        probs = torch.softmax(unet.deployed(framed), 1)[0, :, 1:46, :71]
    np.testing.assert_allclose(prediction.probabilities, probs.numpy(), atol=1e-5)


def test_faults_are_one_line(tmp_path):
    path = save_model(tmp_path / "last.pt")
    with pytest.raises(InputError, match="choose among 0 1"):
        load_deployment([path]).predictor(flip_axes=[2], device="cpu")
    missing = {key: value for key, value in IMAGE_META.items() if key != "stride"}
    with pytest.raises(InputError, match="stride=None"):
        load_deployment([save_model(tmp_path / "other.pt", missing)])
    of_volumes, image = predictor(convolution(), patch=(8, 8, 8)), item(tmp_path, (20, 20))["image"]
    with pytest.raises(InputError, match="has 2 axes, the model is for 3"):
        of_volumes(image)
