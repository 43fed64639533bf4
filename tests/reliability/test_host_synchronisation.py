"""Nothing may ask the device for a value: on a GPU that would stall the whole training step."""

import pytest
import torch

from medssl.reliability import (
    AgentScoreSelector,
    ConfidenceThreshold,
    ConformalSelector,
    DualAxis,
    class_prototypes,
    entropy,
    perturbation_region,
    prototype_affinity,
)
from medssl.reliability.device_morphology import close_dilate_keep_largest

WAITING = {
    "aten::item",
    "aten::_local_scalar_dense",
    "aten::is_nonzero",
    "aten::nonzero",
    "aten::masked_select",
    "aten::bincount",
    "aten::equal",
}


def whole_engine(features: torch.Tensor, logits: torch.Tensor) -> None:
    """Everything a training step calls, forwards and backwards."""
    views = [logits.softmax(1), (0.9 * logits).softmax(1)]
    keep = DualAxis().select(views).mask & ConfidenceThreshold(0.5).select(views).mask
    keep &= DualAxis().select(views, features=[features, features]).mask
    selector = AgentScoreSelector(4, 8).to(features.device)
    for coarse in (features, features[..., ::2, ::2]):
        keep &= selector.select(views, features=[coarse] * 2, valid=keep.clone()).mask
        keep &= DualAxis().select(views, features=[coarse] * 2).mask
    for options in ({}, {"num_classes": logits.shape[1], "rule": "conformalsam"}):
        conformal = ConformalSelector(0.3, min_scores=1, **options).to(features.device)
        conformal.observe([view.detach() for view in views], keep.long())
        keep &= conformal.select(views).mask
    prototypes, present = class_prototypes(features, views[0], keep)
    affinity = prototype_affinity(features, prototypes)
    reliability = DualAxis()(
        views, probability_pairs=[(views[0], views[1])], feature_pairs=[(views[0], affinity)]
    )
    ruled_out = (affinity * reliability.negative * present[..., None, None]).sum()
    (ruled_out + (entropy(views[0]) * reliability.unreliable).sum()).backward()


def operations(call) -> dict[str, int]:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        call()
    return {event.key: event.count for event in profiler.key_averages() if event.key.startswith("aten::")}


def test_the_engine_never_reads_a_value_back():
    features = torch.randn(2, 4, 6, 6, requires_grad=True)
    logits = torch.randn(2, 3, 6, 6, requires_grad=True)
    seen = operations(lambda: whole_engine(features, logits))
    assert "aten::bmm" in seen
    assert not WAITING & set(seen)


def test_morphology_runs_the_same_operations_whatever_the_mask():
    structure = torch.ones(3, 3, dtype=torch.bool)

    def region(fill):
        mask = torch.rand(1, 41, 41, generator=torch.Generator().manual_seed(0)) < fill
        return lambda: close_dilate_keep_largest(mask, [structure], closing=3, min_voxels=10)

    empty, noise, full = (operations(region(fill)) for fill in (0, 0.1, 1))
    assert empty == noise == full
    assert empty["aten::scatter_reduce_"] == (41 * 21).bit_length() - 1
    assert not WAITING & set(empty)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_never_waits_and_gives_the_region_of_the_cpu():
    features = torch.randn(2, 4, 6, 6, device="cuda", requires_grad=True)
    logits = torch.randn(2, 3, 6, 6, device="cuda", requires_grad=True)
    mask = torch.rand(2, 40, 40, 32, generator=torch.Generator().manual_seed(0)) < 0.05
    expected = perturbation_region(mask, generator=torch.Generator().manual_seed(0))
    on_device = mask.cuda()
    for mode in ("default", "error"):  # libraries are loaded, and may wait, at first use
        torch.cuda.set_sync_debug_mode(mode)
        try:
            whole_engine(features, logits)
            region = perturbation_region(on_device, generator=torch.Generator().manual_seed(0))
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert region.device == on_device.device
    assert torch.equal(region.cpu(), expected)
