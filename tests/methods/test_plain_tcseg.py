"""The library's step against the plain one that the benchmark is measured with."""

import copy
import sys

import pytest
import torch

from medssl.methods import SigmoidRamp, TCSeg
from medssl.networks import DualDecoderVNet
from tests.places import ROOT

from .conftest import make_batch

sys.path.insert(0, str(ROOT / "scripts"))
from plain_tcseg import plain_step, plain_teacher_update

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("step", [2, 3])
def test_step_equals_the_plain_one_in_loss_gradients_and_teacher(step):
    torch.manual_seed(0)
    method = TCSeg(
        DualDecoderVNet(width=2), tau=0.4, tau_max=0.6, tau_min=0.4, ramp=SigmoidRamp(0.7, 0), warmup=0
    )
    batch = make_batch(seed=5)
    optimizer = torch.optim.Adam(method.network.parameters(), lr=0.01)
    for t in range(12):  # until some voxels are believed
        optimizer.zero_grad()
        method.training_step(batch, t)["loss"].backward()
        optimizer.step()
        method.after_step(t)
    student, teacher = copy.deepcopy(method.network), copy.deepcopy(method.teacher.network)
    torch.manual_seed(1)
    parts = method.training_step(batch, step)
    method.network.zero_grad()
    parts["loss"].backward()
    torch.manual_seed(1)
    loss = plain_step(student, teacher, batch, method, step, ramp=0.7)
    student.zero_grad()
    loss.backward()
    assert parts["pseudo"] > 0
    torch.testing.assert_close(parts["loss"], loss)
    for ours, plain in zip(method.network.parameters(), student.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, plain.grad, rtol=1e-3, atol=1e-5)
    method.after_step(step)
    plain_teacher_update(teacher, student, step)
    for ours, plain in zip(method.teacher.network.parameters(), teacher.parameters(), strict=True):
        torch.testing.assert_close(ours, plain)
