import pytest
import torch
from torch import nn

from medssl.methods import Teacher


def student() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5))


def perturb(network: nn.Module) -> None:
    with torch.no_grad():
        for p in network.parameters():
            p.add_(torch.randn_like(p))


def test_starts_as_a_copy_that_asks_for_no_gradient():
    network = student()
    teacher = Teacher(network)
    for copied, original in zip(teacher.network.parameters(), network.parameters(), strict=True):
        assert torch.equal(copied, original)
        assert copied is not original
        assert not copied.requires_grad
        assert original.requires_grad


def test_update_follows_the_moving_average_with_its_warm_up():
    network = student()
    teacher = Teacher(network, alpha=0.9)
    expected = [p.detach().clone() for p in network.parameters()]
    for step in range(25):
        perturb(network)
        alpha = min(1 - 1 / (step + 1), 0.9)
        expected = [
            alpha * e + (1 - alpha) * p.detach() for e, p in zip(expected, network.parameters(), strict=True)
        ]
        teacher.update(network, step)
    for averaged, e in zip(teacher.network.parameters(), expected, strict=True):
        torch.testing.assert_close(averaged, e)


def test_first_update_copies_the_student():
    network = student()
    teacher = Teacher(network)
    perturb(network)
    teacher.update(network, 0)
    for copied, original in zip(teacher.network.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(copied, original)


@pytest.mark.parametrize("buffers", ["own", "copy"])
def test_buffers_are_copied_only_when_asked(buffers):
    network = student().train()
    teacher = Teacher(network, buffers=buffers)
    network(torch.randn(4, 1, 8, 8) + 3)
    before = teacher.network[1].running_mean.clone()
    teacher.update(network, 5)
    expected = network[1].running_mean if buffers == "copy" else before
    torch.testing.assert_close(teacher.network[1].running_mean, expected)
    assert teacher.network[1].num_batches_tracked.item() == (1 if buffers == "copy" else 0)


@pytest.mark.parametrize(("mode", "training"), [("train", True), ("eval", False)])
def test_mode_decides_whether_dropout_and_batch_statistics_are_in_force(mode, training):
    teacher = Teacher(student(), mode=mode).train()
    assert teacher.network[2].training is training
    assert not teacher.eval().network[2].training


def test_forward_builds_no_graph():
    assert not Teacher(student())(torch.randn(2, 1, 8, 8, requires_grad=True)).requires_grad


def test_refuses_a_decay_outside_its_range():
    with pytest.raises(ValueError, match=r"alpha.*1\.5"):
        Teacher(student(), alpha=1.5)
