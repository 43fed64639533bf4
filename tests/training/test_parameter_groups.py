"""Backbone and head learn at their own rates, to the end of a schedule."""

import pytest
import torch

from medssl.common.errors import InputError
from medssl.networks import VNet
from medssl.training import parameter_groups
from tests.networks.images.tiny import tiny


def test_every_weight_is_in_one_group_with_its_rate():
    network = tiny("DeepLabV3Plus")
    backbone, head = parameter_groups(network, 0.001, 10.0, weight_decay=0.01)
    assert (backbone["lr"], head["lr"]) == (0.001, pytest.approx(0.01))
    assert backbone["weight_decay"] == head["weight_decay"] == 0.01
    names = {id(weight): name for name, weight in network.named_parameters()}
    assert all(names[id(weight)].startswith("backbone.") for weight in backbone["params"])
    assert not any(names[id(weight)].startswith("backbone.") for weight in head["params"])
    assert len(backbone["params"]) + len(head["params"]) == len(names)


def test_a_polynomial_schedule_keeps_the_ratio():
    optimizer = torch.optim.SGD(parameter_groups(tiny("DPT"), 5e-6, 40.0), momentum=0.9, weight_decay=0.5)
    scheduler = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=10, power=0.9)
    for step in range(9):
        backbone, head = optimizer.param_groups
        assert backbone["lr"] == pytest.approx(5e-6 * (1 - step / 10) ** 0.9)
        assert head["lr"] == pytest.approx(40 * backbone["lr"])
        assert backbone["weight_decay"] == head["weight_decay"] == 0.5
        optimizer.step()
        scheduler.step()


def test_a_network_without_a_backbone_is_one_group_at_the_learning_rate():
    network = VNet(width=2)
    (group,) = parameter_groups(network, 0.01, 10.0)
    assert group["lr"] == 0.01
    assert len(group["params"]) == len(list(network.parameters()))


def test_a_frozen_backbone_leaves_the_head():
    network = tiny("SegFormer")
    network.backbone.requires_grad_(False)
    (group,) = parameter_groups(network, 0.001, 10.0)
    assert group["lr"] == pytest.approx(0.01)
    with pytest.raises(InputError, match="has no parameter that learns"):
        parameter_groups(network.requires_grad_(False), 0.001)


@pytest.mark.parametrize("values", [(0, 10), (0.001, 0), (-1, 10)])
def test_rates_that_teach_nothing_are_refused(values):
    with pytest.raises(InputError, match="not above 0"):
        parameter_groups(tiny("SegFormer"), *values)
