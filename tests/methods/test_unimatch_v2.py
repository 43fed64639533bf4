import pytest
import torch

from medssl.common.errors import InputError
from medssl.methods import UniMatchV2
from medssl.methods.channel_dropout import drop_complementary_channels
from medssl.networks import Adapted

from . import plain_weak_to_strong as plain
from .image_network import image_network, median_confidence, view_batch
from .test_fixmatch import boxes_of, gradients


@pytest.mark.parametrize("padded", [False, True])
def test_loss_and_gradient_equal_the_plain_step(padded):
    network, again = image_network(), image_network()
    method = UniMatchV2(network, cutmix=1.0, seed=1).train()
    batch = view_batch(method, padded=padded, unlabeled=3)
    teacher = image_network().eval()
    threshold = method.selector.threshold = median_confidence(teacher, batch.unlabeled["weak"])
    boxes, rng = boxes_of(method, batch, 2)
    losses = method.training_step(batch, 2)
    losses["loss"].backward()
    factors = drop_complementary_channels([torch.ones(6, c, 1) for c in (4, 8)], rng)
    expected = plain.unimatch_v2(again, teacher, batch, boxes, threshold, [f.flatten(1) for f in factors])
    expected.backward()
    assert 0.02 < losses["selected"] < 0.98
    torch.testing.assert_close(losses["loss"], expected)
    torch.testing.assert_close(gradients(network), gradients(again), rtol=1e-4, atol=1e-6)


def test_the_teacher_copies_the_student_and_its_statistics_at_first_and_follows_slowly_then():
    method = UniMatchV2(image_network()).train()
    student, teacher = method.network, method.teacher.network
    before = [b.clone() for b in teacher.buffers()]
    method.training_step(view_batch(method), 0)
    assert all(torch.equal(a, b) for a, b in zip(before, teacher.buffers(), strict=True))
    with torch.no_grad():
        for p in student.parameters():
            p.add_(1)
    method.after_step(0)
    for a, b in zip(teacher.state_dict().values(), student.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b)
    old = [p.clone() for p in teacher.parameters()]
    with torch.no_grad():
        for p in student.parameters():
            p.add_(1)
    method.after_step(10_000)
    for a, b, s in zip(old, teacher.parameters(), student.parameters(), strict=True):
        torch.testing.assert_close(b, 0.996 * a + 0.004 * s)
    assert not teacher.training


def test_a_network_without_maps_in_between_is_refused():
    with pytest.raises(InputError, match="network Adapted"):
        UniMatchV2(Adapted(torch.nn.Conv2d(1, 2, 1)))
