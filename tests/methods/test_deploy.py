"""Whose weights a method validates with and hands on: the student's or its teacher's."""

import pytest
import torch
from torch import nn

from medssl.common.errors import InputError
from medssl.methods import create
from medssl.methods.base import Method
from medssl.methods.teacher import Teacher
from medssl.networks import Adapted


class Taught(Method):
    def __init__(self, network):
        super().__init__()
        self.network, self.teacher = network, Teacher(network)

    def training_step(self, batch, step):
        return {"loss": self.network.deployed(batch.labeled_images).mean()}


def network():
    return Adapted(nn.Conv2d(1, 2, 3, padding=1))


def taught(**options):
    method = create(f"{__name__}.Taught", network(), **options)
    with torch.no_grad():
        method.network.network.weight.add_(1)
    return method


@pytest.mark.parametrize("which", ["student", "teacher"])
def test_the_chosen_network_predicts(which):
    method = taught(deploy=which)
    chosen = method.network if which == "student" else method.teacher.network
    images = torch.rand(2, 1, 5, 5)
    assert method.deployed_network is chosen
    assert torch.equal(method.predict(images), chosen.deployed(images))
    assert torch.equal(method(images), chosen.deployed(images))
    assert not torch.equal(method.network.deployed(images), method.teacher.network.deployed(images))


def test_by_default_the_student_predicts():
    method = taught()
    assert method.deploys == "student"
    assert method.deployed_network is method.network


def test_what_cannot_be_deployed_is_refused():
    with pytest.raises(InputError, match="Supervised has no teacher; use deploy=student"):
        create("supervised", network(), deploy="teacher")
    with pytest.raises(InputError, match="did you mean 'teacher'"):
        create("supervised", network(), deploy="teachre")
    assert create("supervised", network(), deploy="student").deploys == "student"
