import pytest
import torch

from medssl.data import strong_volume_view


def changed(seed, strength=1.0):
    torch.manual_seed(0)
    scan = torch.randn(1, 12, 10, 8)
    transform = strong_volume_view(strength=strength)
    transform.set_random_state(seed=seed)
    return scan, torch.as_tensor(transform({"image": scan.clone()})["image"])


def test_intensities_change_by_the_seed_alone_and_the_shape_stays():
    views = [changed(seed)[1] for seed in range(20)]
    scan = changed(0)[0]
    assert all(view.shape == scan.shape and view.isfinite().all() for view in views)
    assert sum(torch.equal(view, scan) for view in views) < 4
    assert len({view.mean().item() for view in views}) > 15
    assert torch.equal(changed(3)[1], changed(3)[1])


def test_a_constant_patch_stays_finite():
    transform = strong_volume_view()
    for seed in range(20):
        transform.set_random_state(seed=seed)
        view = transform({"image": torch.zeros(1, 6, 6, 6)})["image"]
        assert torch.as_tensor(view).isfinite().all()


def test_strength_zero_changes_nothing_and_less_is_less():
    scan, same = changed(1, strength=0)
    assert torch.equal(scan, same)
    distances = [
        sum((changed(seed, strength)[1] - scan).abs().mean() for seed in range(30)) for strength in (0.3, 1.0)
    ]
    assert distances[0] < 0.6 * distances[1]
    with pytest.raises(ValueError, match="strength must not be negative"):
        strong_volume_view(strength=-1)
