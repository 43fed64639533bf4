import random

import numpy as np
import torch

from medssl.common.rng import get_rng_state, set_rng_state

CPU = torch.device("cpu")


def draws():
    """Of every generator, normal numbers too: these come in pairs, of which one waits for the next call."""
    return (
        random.random(),
        random.gauss(0, 1),
        float(np.random.rand()),
        float(np.random.randn()),
        torch.rand(3).tolist(),
        torch.randn(3).tolist(),
    )


def test_every_generator_goes_on_where_it_was_with_one_of_a_pair_waiting():
    before = get_rng_state(CPU)
    try:
        random.gauss(0, 1)
        np.random.randn()
        torch.randn(1)
        state = get_rng_state(CPU)
        expected = draws()
        draws()
        np.random.randn()
        set_rng_state(state, CPU)
        assert draws() == expected
    finally:
        set_rng_state(before, CPU)
