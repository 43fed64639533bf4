from itertools import islice

import pytest

from medssl.data import TwoStreamBatchSampler


def indices(batches):
    return [[index for index, _ in batch] for batch in batches]


def test_labeled_rows_come_first():
    sampler = TwoStreamBatchSampler(4, 10, labeled_per_batch=2, unlabeled_per_batch=3)
    for batch in islice(sampler, 20):
        assert [index < 4 for index, _ in batch] == [True, True, False, False, False]
        assert all(index < 14 for index, _ in batch)


def test_each_stream_visits_every_case_once_a_pass():
    sampler = TwoStreamBatchSampler(4, 6, labeled_per_batch=2, unlabeled_per_batch=2)
    batches = indices(sampler.batch(step) for step in range(12))
    labeled = [index for batch in batches for index in batch[:2]]
    unlabeled = [index for batch in batches for index in batch[2:]]
    passes = [tuple(labeled[i : i + 4]) for i in range(0, 24, 4)]
    assert all(sorted(cases) == [0, 1, 2, 3] for cases in passes)
    assert len(set(passes)) > 1
    assert all(sorted(unlabeled[i : i + 6]) == [4, 5, 6, 7, 8, 9] for i in range(0, 24, 6))


def test_batch_is_a_pure_function_of_seed_rank_and_step():
    sampler, again = (TwoStreamBatchSampler(5, 7, seed=3) for _ in range(2))
    forwards = [sampler.batch(step) for step in range(30)]
    assert forwards == [again.batch(step) for step in reversed(range(30))][::-1]
    assert forwards != [TwoStreamBatchSampler(5, 7, seed=4).batch(step) for step in range(30)]
    rank = [TwoStreamBatchSampler(5, 7, seed=3, rank=1, world_size=2).batch(step) for step in range(30)]
    assert forwards != rank


def test_iteration_starts_where_start_says_and_does_not_end():
    sampler = TwoStreamBatchSampler(5, 7)
    batches = list(islice(sampler, 40))
    sampler.start = 13
    assert list(islice(sampler, 27)) == batches[13:]


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_one_walk(world_size):
    alone = TwoStreamBatchSampler(12, 18, labeled_per_batch=world_size, unlabeled_per_batch=3 * world_size)
    ranks = [
        TwoStreamBatchSampler(
            12, 18, labeled_per_batch=1, unlabeled_per_batch=3, rank=rank, world_size=world_size
        )
        for rank in range(world_size)
    ]
    for step in range(10):
        together = [draw for rank in ranks for draw in rank.batch(step)]
        assert sorted(together) == sorted(alone.batch(step))


def test_ranks_never_draw_one_case_twice_in_a_pass():
    ranks = [TwoStreamBatchSampler(8, 8, rank=rank, world_size=2) for rank in range(2)]
    for first in (0, 2, 4):
        drawn = [index for step in (first, first + 1) for rank in ranks for index, _ in rank.batch(step)]
        assert sorted(drawn) == list(range(16))


def test_item_seeds_differ_between_passes_streams_rows_and_run_seeds():
    sampler = TwoStreamBatchSampler(2, 2)
    draws = [draw for step in range(200) for draw in sampler.batch(step)]
    seeds = [seed for _, seed in draws]
    assert len(set(seeds)) == len(seeds) == 800
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert len({draw for draw in draws if draw[0] == 0}) == 200
    other = TwoStreamBatchSampler(2, 2, seed=1)
    assert not set(seeds) & {seed for step in range(200) for _, seed in other.batch(step)}


def test_supervised_batches_need_no_unlabeled_case():
    batches = list(islice(TwoStreamBatchSampler(3, 0, labeled_per_batch=2, unlabeled_per_batch=0), 3))
    assert sorted(index for batch in batches for index, _ in batch) == [0, 0, 1, 1, 2, 2]


def test_one_labeled_case_fills_the_rows_with_different_seeds():
    (a, seed_a), (b, seed_b) = TwoStreamBatchSampler(1, 4).batch(0)[:2]
    assert a == b == 0
    assert seed_a != seed_b


@pytest.mark.parametrize(
    ("cases", "options"),
    [
        ((0, 4), {}),
        ((2, 0), {}),
        ((2, 4), {"labeled_per_batch": 0}),
        ((2, 4), {"unlabeled_per_batch": -1}),
        ((2, 4), {"rank": 2, "world_size": 2}),
        ((2, 4), {"seed": -1}),
        ((2, 4), {"start": -1}),
    ],
)
def test_impossible_streams_are_refused(cases, options):
    with pytest.raises(ValueError, match=r"must|need|rank|unlabeled_per_batch"):
        TwoStreamBatchSampler(*cases, **options)
