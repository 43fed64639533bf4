import math

import pytest
import torch

from medssl.common.draws import step_generator
from medssl.common.errors import InputError
from medssl.methods import FixMatch
from medssl.methods.mixing import cutmix_boxes
from medssl.networks import Adapted
from medssl.reliability import Selection, Selector

from . import plain_weak_to_strong as plain
from .image_network import image_network, median_confidence, view_batch
from .two_decoders import TwoDecoders


def boxes_of(method, batch, step):
    rows = len(batch.unlabeled["weak"]) // (2 if method.partners else 1)
    rng = step_generator(method.seed, step)
    shape = batch.labels.shape[1:]
    return [cutmix_boxes(rows, shape, rng, probability=method.cutmix) for _ in method.views[1:]], rng


def gradients(network):
    return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("style", ["drawn", "flipped"])
def test_loss_and_gradient_equal_the_plain_step(style, padded):
    network, again = image_network(), image_network()
    teacher = "none" if style == "drawn" else "ema"
    method = FixMatch(network, partner=style, teacher=teacher, cutmix=1.0, seed=3).train()
    batch = view_batch(method, padded=padded)
    judge = image_network() if style == "drawn" else image_network().eval()
    threshold = median_confidence(judge, batch.unlabeled["weak"])
    method.selector.threshold = threshold
    boxes, _ = boxes_of(method, batch, 5)
    losses = method.training_step(batch, 5)
    losses["loss"].backward()
    if style == "drawn":
        expected = plain.fixmatch_drawn(again, batch, boxes, threshold)
    else:
        expected = plain.fixmatch_flipped(again, judge, batch, boxes, threshold)
    expected.backward()
    assert 0.02 < losses["selected"] < 0.98
    torch.testing.assert_close(losses["loss"], expected)
    torch.testing.assert_close(gradients(network), gradients(again), rtol=1e-4, atol=1e-6)
    for ours, theirs in zip(network.buffers(), again.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)


class Flat(TwoDecoders):
    """Every class is as probable as every other, everywhere."""

    def __init__(self):
        super().__init__(axes=2)
        for p in self.parameters():
            torch.nn.init.zeros_(p)


@pytest.mark.parametrize("threshold", [0.0, 0.6])
def test_the_mean_is_over_all_valid_pixels_and_not_over_the_believed_ones(threshold):
    class LeftHalf(Selector):
        def select(self, views, *, features=None):
            mask = torch.zeros_like(views[0][:, 0], dtype=torch.bool)
            mask[..., : mask.shape[-1] // 2] = True
            weight = torch.full(mask.shape, 0.5)
            return Selection(torch.zeros_like(mask, dtype=torch.long), mask, weight)

    believed = {0.0: 1.0, 0.6: 0.0}[threshold]
    method = FixMatch(Flat(), threshold=threshold, cutmix=0.0)
    batch = view_batch(method, shape=(16, 16), classes=2)
    losses = method.training_step(batch, 0)
    assert losses["strong"] == pytest.approx(believed * math.log(2))
    assert losses["selected"] == believed
    assert losses["supervised"] == pytest.approx(math.log(2))
    assert losses["loss"].item() == pytest.approx((1 + believed) * math.log(2) / 2)
    # Padding is rows, so that half of the valid pixels lie on the left whatever it is.
    losses = FixMatch(Flat(), selector=LeftHalf(), cutmix=0.0).training_step(batch, 0)
    assert losses["strong"] == pytest.approx(0.5 * 0.5 * math.log(2))
    assert losses["selected"] == pytest.approx(0.5)


def test_a_batch_of_padding_alone_costs_nothing():
    method = FixMatch(Flat(), threshold=0.0)
    batch = view_batch(method, shape=(16, 16), classes=2)
    batch.valid[:] = False
    batch.labels[:] = 255
    losses = method.training_step(batch, 0)
    assert losses["loss"] == 0
    assert losses["selected"] == 0


def test_the_partner_is_judged_in_evaluation_mode_before_the_student_learns():
    network = image_network()
    modes = []
    network.register_forward_hook(lambda module, *_: modes.append((module.training, len(_[1].logits[0]))))
    method = FixMatch(network).train()
    method.training_step(view_batch(method, labeled=2, unlabeled=3), 0)
    assert modes == [(False, 3), (True, 5), (True, 3)]
    assert network.training


def test_without_boxes_partners_do_not_count():
    method = FixMatch(image_network(), threshold=0.0, cutmix=0.0).train()
    batch = view_batch(method, padded=False)
    loss = method.training_step(batch, 0)["loss"]
    for images in batch.unlabeled.values():
        images[2:] = 1e6
    method = FixMatch(image_network(), threshold=0.0, cutmix=0.0).train()
    assert method.training_step(batch, 0)["loss"] == loss


def test_any_network_will_do():
    module = torch.nn.Conv2d(1, 3, 3, padding=1)
    method = FixMatch(Adapted(module), threshold=0.0)
    method.training_step(view_batch(method), 0)["loss"].backward()
    assert module.weight.grad.any()


def test_a_criterion_of_ones_own_replaces_the_cross_entropy():
    method = FixMatch(image_network(), criterion=lambda logits, labels: logits.sum() * 0 + 7.0)
    assert method.training_step(view_batch(method), 0)["supervised"] == 7


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"partner": "flip"}, "did you mean 'flipped'"),
        ({"teacher": "mean"}, "teacher 'mean'"),
        ({"threshold": 1.5}, r"threshold=1\.5"),
        ({"cutmix": -1.0}, r"cutmix=-1\.0"),
    ],
)
def test_wrong_options_are_refused_in_one_line(options, fault):
    with pytest.raises(InputError, match=fault) as refused:
        FixMatch(TwoDecoders(), **options)
    assert "\n" not in str(refused.value)
