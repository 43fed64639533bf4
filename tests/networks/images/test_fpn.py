"""The small network: its size, its pyramid against plain functions, and that it learns."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from medssl.common.errors import InputError
from medssl.networks import FPN
from tests.networks.images.tiny import tiny


def test_it_has_a_few_hundred_thousand_parameters():
    assert 300_000 < sum(weight.numel() for weight in FPN(11).parameters()) < 600_000


def test_the_pyramid_adds_from_the_coarsest_to_the_finest():
    torch.manual_seed(0)
    network = tiny("FPN").eval()
    maps = network.encode(torch.rand(2, 3, 33, 45))
    assert [tuple(m.shape[1:]) for m in maps] == [(4, 9, 12), (6, 5, 6), (8, 3, 3)]

    def up(x, size):
        return F.interpolate(x, size, mode="bilinear", align_corners=True)

    context = network.pooling(maps[2])
    middle = network.smoothings[0](up(context, (5, 6)) + network.laterals[0](maps[1]))
    finest = network.smoothings[1](up(middle, (9, 12)) + network.laterals[1](maps[0]))
    output = network.decode(maps, (33, 45))
    torch.testing.assert_close(output.context[0], context)
    torch.testing.assert_close(output.features[0], finest)
    torch.testing.assert_close(output.logits[0], up(network.classifier(finest), (33, 45)))


def test_it_learns_what_colour_and_place_say():
    torch.manual_seed(0)
    network = FPN(3, widths=(8, 8, 16, 16), channels=16)
    images = torch.rand(4, 3, 32, 32)
    images[:, :, :, 16:] *= 0.2
    labels = torch.zeros(4, 32, 32, dtype=torch.long)
    labels[:, :, 16:] = 1
    labels[:, 16:, 16:] = 2
    optimizer = torch.optim.AdamW(network.parameters(), 0.01)
    for _ in range(40):
        loss = F.cross_entropy(network(images).logits[0], labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    correct = (network.eval()(images).logits[0].argmax(1) == labels).float().mean()
    assert correct > 0.9


def test_widths_that_are_not_four_are_refused():
    with pytest.raises(InputError, match="not 4 counts of channels; give one a stage"):
        FPN(3, widths=(8, 8, 16))


def test_it_needs_no_transformers():
    assert not [module for module in FPN(3).modules() if type(module).__module__.startswith("transformers")]
    assert isinstance(FPN(3).stem[0], nn.Conv2d)
