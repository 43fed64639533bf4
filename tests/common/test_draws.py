import hashlib

import numpy as np
import pytest
import torch

from medssl.common import draws


def test_numbers_enter_as_they_are():
    """The recipe of every run so far: another one would change what a seed means."""
    ours, numpys = draws.generator(3, 0, 7), np.random.default_rng((3, 0, 7))
    assert np.array_equal(ours.random(5), numpys.random(5))
    assert draws.seed_of(3, 1, 1, 40) == np.random.SeedSequence((3, 1, 1, 40)).generate_state(1)[0]


def test_a_name_enters_by_its_hash():
    number = int.from_bytes(hashlib.sha256(b"0/noise/case1").digest()[:8], "little")
    assert draws.generator("0/noise/case1").random() == np.random.default_rng(number).random()


def test_every_part_of_a_key_and_their_order_count():
    keys = [(1, 2), (2, 1), (1, 2, 3), (1, "2"), (1, "a"), (1, "b"), ("a", 1), ("ab",), ("a", "b")]
    assert len({draws.generator(*key).random() for key in keys}) == len(keys)
    assert len({draws.seed_of(*key) for key in keys}) == len(keys)


def test_ranks_draw_differently_and_the_first_as_one_process_does(monkeypatch):
    alone = draws.step_generator(5, 9).random(3)
    by_rank = []
    for rank in range(3):
        monkeypatch.setattr(draws, "rank", lambda rank=rank: rank)
        by_rank.append(draws.step_generator(5, 9).random(3))
    assert np.array_equal(by_rank[0], alone)
    assert len({tuple(numbers) for numbers in by_rank}) == 3
    assert np.array_equal(alone, draws.generator(5, 0, 9).random(3))


def test_a_torch_generator_follows_numpys_and_leaves_the_global_one_alone():
    state = torch.get_rng_state()
    generator, again = (draws.torch_generator(draws.generator(4)) for _ in range(2))
    assert torch.equal(torch.rand(3, generator=generator), torch.rand(3, generator=again))
    assert torch.equal(torch.get_rng_state(), state)
    source = draws.generator(4)
    first, second = (torch.rand(3, generator=draws.torch_generator(source)) for _ in range(2))
    assert not torch.equal(first, second)


def test_seeds_suit_monais_transforms():
    seeds = [draws.seed_of(0, step, view) for step in range(50) for view in ("strong1", "strong2")]
    assert len(set(seeds)) == 100
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_a_negative_number_is_refused():
    for draw in (draws.generator, draws.seed_of):
        with pytest.raises(ValueError, match=r"non-negative|negative"):
            draw(-1, "a")
