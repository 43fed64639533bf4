import numpy as np
import torch

from medssl.methods.channel_dropout import drop_channels, drop_complementary_channels


def test_what_one_view_drops_the_other_keeps_twice_and_half_of_the_pairs_keep_all():
    maps = [torch.ones(2 * 9, channels, 2, 3) for channels in (16, 16, 32)]
    dropped = drop_complementary_channels(maps, np.random.default_rng(0))
    for factors in dropped:
        first, second = factors.chunk(2)
        assert torch.equal(first + second, torch.full_like(first, 2))
        assert torch.equal(factors, factors[..., :1, :1].expand_as(factors))
        intact = (first == 1).flatten(1).all(1)
        assert intact.sum() == 4
        assert set(first[~intact].unique().tolist()) == {0.0, 2.0}
    assert torch.equal(dropped[0], dropped[1])
    assert (dropped[2][:, :16] != dropped[0]).any()


def test_channels_are_dropped_by_image_and_by_map_and_keep_the_mean():
    maps = [torch.ones(40, 50, 2, 2, 2) for _ in range(2)]
    one, two = drop_channels(maps, np.random.default_rng(0), probability=0.25)
    assert set(one.unique().tolist()) == {0.0, np.float32(1 / 0.75)}
    assert abs(one.mean() - 1) < 0.05
    assert torch.equal(one, one[..., :1, :1, :1].expand_as(one))
    assert (one != two).any()
    assert len(one[:, :, 0, 0, 0].unique(dim=0)) == 40


def test_a_lower_precision_stays():
    assert drop_channels([torch.ones(1, 2, 3, dtype=torch.bfloat16)], np.random.default_rng(0))[0].dtype == (
        torch.bfloat16
    )
