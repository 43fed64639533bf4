import pytest
import torch

from medssl.common.errors import InputError
from medssl.methods import UniMatch
from medssl.methods.channel_dropout import drop_channels
from medssl.networks import Adapted

from . import plain_weak_to_strong as plain
from .image_network import image_network, view_batch
from .test_fixmatch import boxes_of, gradients


def factors_of(rng, rows, channels=(4, 8)):
    return [f.flatten(1) for f in drop_channels([torch.ones(rows, c, 1) for c in channels], rng)]


@pytest.mark.parametrize("padded", [False, True])
def test_loss_and_gradient_equal_the_plain_step(padded):
    network, again = image_network(), image_network()
    method = UniMatch(network, threshold=0.45, cutmix=1.0, seed=1).train()
    batch = view_batch(method, padded=padded)
    boxes, rng = boxes_of(method, batch, 2)
    losses = method.training_step(batch, 2)
    losses["loss"].backward()
    expected, _ = plain.unimatch(again, batch, boxes, 0.45, factors_of(rng, 4))
    expected.backward()
    assert 0.02 < losses["selected"] < 0.98
    assert set(losses) == {"loss", "supervised", "strong", "feature", "selected"}
    torch.testing.assert_close(losses["loss"], expected)
    torch.testing.assert_close(gradients(network), gradients(again), rtol=1e-4, atol=1e-6)
    for ours, theirs in zip(network.buffers(), again.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_perturbed_features_are_taught_the_unmixed_pseudo_labels():
    method = UniMatch(image_network(), threshold=0.0).train()
    batch = view_batch(method)
    feature = method.training_step(batch, 0)["feature"]
    for images in (batch.unlabeled["strong1"], batch.unlabeled["strong2"], batch.unlabeled["weak"][2:]):
        images.normal_()
    method = UniMatch(image_network(), threshold=0.0).train()
    assert method.training_step(batch, 0)["feature"] == feature


def test_a_network_without_maps_in_between_is_refused():
    with pytest.raises(
        InputError, match="network Adapted: does not run encoder and decoder apart"
    ) as refused:
        UniMatch(Adapted(torch.nn.Conv2d(1, 2, 1)))
    assert "\n" not in str(refused.value)
