"""Seeded draws: what is drawn is a function of a key alone, not of what was drawn before it.

So a resumed training, another number of workers or another order of cases draws the same numbers.
"""

import hashlib

import numpy as np
import torch

from medssl.common.ranks import rank

Key = int | str


def digest(text: str) -> bytes:
    """SHA-256 of a text, 32 bytes."""
    return hashlib.sha256(text.encode()).digest()


def _entropy(key: tuple[Key, ...]) -> list[int]:
    """Numbers stand for themselves, a name for the first 64 bits of its digest."""
    return [part if isinstance(part, int) else int.from_bytes(digest(part)[:8], "little") for part in key]


def generator(*key: Key) -> np.random.Generator:
    """A numpy generator from a key, such as a seed, a step and a name; zeros at its end do not count.

    Raises:
        ValueError: a number below 0.
    """
    return np.random.default_rng(_entropy(key))


def step_generator(seed: int, step: int) -> np.random.Generator:
    """The generator of one training step in this process: another one on every rank."""
    return generator(seed, rank(), step)


def torch_generator(source: np.random.Generator) -> torch.Generator:
    """A torch generator on the CPU, seeded with the next number of a numpy one."""
    return torch.Generator().manual_seed(int(source.integers(2**63)))


def seed_of(*key: Key) -> int:
    """A seed of 32 bits, which numpy's older generator and MONAI's transforms take.

    Raises:
        ValueError: a number below 0.
    """
    return int(np.random.SeedSequence(_entropy(key)).generate_state(1)[0])
