import math

import pytest

from medssl.methods import SigmoidRamp


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
