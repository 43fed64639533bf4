"""Seeded draws: what is drawn is a function of a key alone, not of what was drawn before it.

So a resumed training, another number of workers or another order of cases draws the same numbers.
"""

import hashlib

import numpy as np
import torch

from medssl.common.ranks import rank

Key = int | str

# Of splitmix64 (Steele, Lea and Flood 2014), as signed numbers of 64 bits.
_INCREMENT, _FACTORS = -0x61C8864680B583EB, (-0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15)


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


def device_draws(seed: int, number: torch.Tensor, size: int) -> torch.Tensor:
    """Random numbers that depend on a number which only the device knows, such as a counter in a buffer.

    A generator would have to be seeded on the host, which would wait for the device. These are splitmix64 of
    seed, number and place: the same on every device.

    Args:
        seed: at least 0.
        number: an integer scalar.
        size: how many.

    Returns:
        int64 ``(size,)``, uniform in [0, 2^63), on the device of ``number``.
    """
    places = torch.arange(size, device=number.device)
    stream = _scramble(number.long() * _INCREMENT + seed)
    return _scramble(stream + (places + 1) * _INCREMENT) & (2**63 - 1)


def _scramble(x: torch.Tensor) -> torch.Tensor:
    """The output function of splitmix64; products wrap round."""
    for shift, factor in ((30, _FACTORS[0]), (27, _FACTORS[1])):
        x = (x ^ _shift_right(x, shift)) * factor
    return x ^ _shift_right(x, 31)


def _shift_right(x: torch.Tensor, bits: int) -> torch.Tensor:
    """As of unsigned numbers, in which torch does not compute."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)
