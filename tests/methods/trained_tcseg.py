"""TCSeg with weights that believe something."""

import functools

import torch

from medssl.methods import SigmoidRamp, TCSeg
from medssl.networks import DualDecoderVNet

from .conftest import make_batch

PRESETS = ["reference", "paper"]
AT_FULL_WEIGHT = {"ramp": SigmoidRamp(1.0, 0), "warmup": 0}


@functools.cache
def _weights(preset):
    """Student and teacher after a few steps on the default batch, so that some voxels are confident."""
    torch.manual_seed(0)
    method = TCSeg(DualDecoderVNet(width=2), preset=preset, **AT_FULL_WEIGHT)
    optimizer = torch.optim.SGD(method.network.parameters(), lr=0.05, momentum=0.9)
    batch = make_batch()
    for step in range(15):
        optimizer.zero_grad()
        method.training_step(batch, step)["loss"].backward()
        optimizer.step()
        method.after_step(step)
    return method.state_dict()


def trained(preset, **options):
    """A method of these options with the weights of :func:`_weights`."""
    method = TCSeg(DualDecoderVNet(width=2), preset=preset, **options)
    method.load_state_dict(_weights(preset))
    return method
