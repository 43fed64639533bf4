"""Whether a corruption leaves anything to chance."""

import numpy as np


def draws(corruption, image, geometry):
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    corruption.apply(image, corruption.amounts[2], geometry, rng)
    return rng.bit_generator.state != before
