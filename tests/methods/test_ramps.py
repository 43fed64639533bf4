import math
import re

import pytest

from medssl.methods import SigmoidRamp
from medssl.training import ramp as ramp_of_share


def test_reference_ramp_takes_its_published_values():
    ramp = SigmoidRamp(1.0, 6000, 150)
    assert ramp(1) == pytest.approx(math.exp(-5))
    assert ramp(149) == ramp(1)
    assert ramp(150) == pytest.approx(math.exp(-5 * (1 - 1 / 40) ** 2))
    assert ramp(6000) == ramp(20000) == 1


def test_zero_length_is_constant():
    assert SigmoidRamp(0.3, 0)(0) == SigmoidRamp(0.3, 0)(10) == 0.3


def test_grows_monotonically():
    values = [SigmoidRamp(2.0, 100, 7)(t) for t in range(120)]
    assert values == sorted(values)
    assert values[-1] == 2


@pytest.mark.parametrize("wrong", [{"length": -1}, {"interval": 0}])
def test_refuses_a_ramp_that_makes_no_sense(wrong):
    with pytest.raises(ValueError, match="length"):
        SigmoidRamp(**wrong)


@pytest.mark.parametrize("steps", [6000, 20000])
def test_a_training_that_the_ramp_fits_into_is_not_warned_of(steps):
    assert SigmoidRamp(1.0, 6000, 150).warning(steps) is None
    assert SigmoidRamp(1.0, 0).warning(1) is None
    assert SigmoidRamp(1.0, 100, 150).warning(150) is None  # the last update, the 150th, has the whole weight


@pytest.mark.parametrize(
    ("ramp", "steps", "share"),
    [
        (SigmoidRamp(1.0, 6000, 150), 100, "0.7%"),
        (SigmoidRamp(0.1, 6000, 150), 2000, "10.2%"),
        (SigmoidRamp(1.0, 100, 150), 140, "0.7%"),  # the first interval is longer than the training
    ],
)
def test_a_ramp_longer_than_the_training_is_warned_of_with_one_that_fits(ramp, steps, share):
    warning = ramp.warning(steps)
    assert f"after {steps} steps" in warning
    assert f"have {share} of their weight" in warning
    (remedy,) = re.findall(r"--ramp_share ([\d.]+)", warning)
    assert ramp_of_share(steps, share=float(remedy), stairs=40).warning(steps) is None
