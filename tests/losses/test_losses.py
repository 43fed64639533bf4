import math

import pytest
import torch
from monai.losses import DiceLoss
from torch.nn import functional as F

from medssl.losses import (
    calibration_loss,
    cross_entropy,
    dice_loss,
    negative_loss,
    one_hot,
    positive_loss,
    published_calibration_loss,
    supervised_loss,
)


def random_case(classes=3, shape=(5, 4, 6), batch=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, classes, *shape, generator=generator)
    labels = torch.randint(0, classes, (batch, *shape), generator=generator)
    return logits, labels


@pytest.mark.parametrize("shape", [(7, 5), (5, 4, 6)])
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_dice_equals_monai(classes, shape):
    logits, labels = random_case(classes, shape)
    reference = DiceLoss(
        include_background=False, to_onehot_y=True, softmax=True, batch=True, smooth_nr=1e-8, smooth_dr=1e-8
    )(logits, labels.unsqueeze(1))
    torch.testing.assert_close(dice_loss(logits.softmax(1), labels), reference)


def test_dice_of_a_perfect_and_of_a_disjoint_prediction():
    labels = torch.tensor([[[0, 1], [1, 0]]])
    assert dice_loss(one_hot(labels, 2), labels).item() == pytest.approx(0, abs=1e-6)
    assert dice_loss(one_hot(1 - labels, 2), labels).item() == pytest.approx(1, abs=1e-6)


def test_dice_of_an_absent_class_is_finite():
    labels = torch.zeros(1, 3, 3, dtype=torch.long)
    assert dice_loss(one_hot(labels, 2), labels).item() == pytest.approx(0)


def test_ignored_voxels_do_not_count():
    logits, labels = random_case(3)
    ignored = labels.clone()
    ignored[:, 2:] = 255
    poisoned = logits.clone()
    poisoned[:, :, 2:] = 1e3 * torch.randn_like(poisoned[:, :, 2:])
    for loss in (lambda x: dice_loss(x.softmax(1), ignored), lambda x: cross_entropy(x, ignored)):
        torch.testing.assert_close(loss(logits), loss(poisoned))
    torch.testing.assert_close(
        dice_loss(logits.softmax(1), ignored), dice_loss(logits[:, :, :2].softmax(1), labels[:, :2])
    )


def test_cross_entropy_is_computed_in_float32():
    logits, labels = random_case()
    loss = cross_entropy(logits.bfloat16(), labels)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, F.cross_entropy(logits.bfloat16().float(), labels))


def test_positive_loss_is_a_mean_over_masked_voxels_not_over_weights():
    logits, labels = random_case()
    mask = torch.rand(labels.shape) < 0.4
    weight = torch.rand(labels.shape)
    voxelwise = F.cross_entropy(logits, labels, reduction="none")
    expected = (voxelwise * weight)[mask].sum() / mask.sum()
    torch.testing.assert_close(positive_loss(logits, labels, mask, weight), expected)
    torch.testing.assert_close(positive_loss(logits, labels, mask), voxelwise[mask].mean())


def test_mean_over_all_voxels_fades_with_the_selection():
    logits, labels = random_case()
    mask = torch.zeros_like(labels, dtype=torch.bool)
    mask[0, 0, 0, :3] = True
    voxelwise = F.cross_entropy(logits, labels, reduction="none")
    share = mask.float().mean()
    torch.testing.assert_close(
        positive_loss(logits, labels, mask, over="all"), share * voxelwise[mask].mean()
    )
    pairs = torch.rand_like(logits) < 0.1
    probs = logits.softmax(1)
    torch.testing.assert_close(
        negative_loss(probs, pairs, over="all"), pairs.float().mean() * negative_loss(probs, pairs)
    )


def test_negative_loss_of_two_classes_is_the_cross_entropy_with_the_other():
    logits, _ = random_case(2)
    probs = logits.softmax(1)
    ruled_out = probs.argmin(1)
    mask = one_hot(ruled_out, 2).bool()
    torch.testing.assert_close(negative_loss(probs, mask), F.cross_entropy(logits, 1 - ruled_out))


def test_negative_loss_stays_finite_where_the_ruled_out_class_is_certain():
    probs = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).requires_grad_()
    loss = negative_loss(probs, torch.ones(1, 2, 1, 1, dtype=torch.bool))
    assert loss.item() == pytest.approx(-math.log(1e-6) / 2)


@pytest.mark.parametrize("loss", ["positive", "negative"])
def test_an_empty_mask_gives_zero_with_a_graph(loss):
    logits, labels = random_case()
    logits.requires_grad_()
    if loss == "positive":
        value = positive_loss(logits, labels, torch.zeros_like(labels, dtype=torch.bool))
    else:
        value = negative_loss(logits.softmax(1), torch.zeros_like(logits, dtype=torch.bool))
    value.backward()
    assert value.item() == 0
    assert not logits.grad.any()


def two_views():
    p = tuple(random_case(seed=s)[0].softmax(1) for s in (1, 2))
    q = tuple(random_case(seed=s)[0].tanh() for s in (3, 4))
    return p, q


def pairs_of(p, q):
    """As the calibration losses take them."""
    return p, q, (q[0], p[0]), (q[1], p[1])


def test_published_calibration_follows_the_published_loop():
    """The published loop over decoders, written out: a running sum that is added twice."""
    p, q = two_views()
    mse = torch.nn.MSELoss()
    running, total = mse(p[0], p[1]) + 0.25 * mse(q[0], q[1]), torch.zeros(())
    for b in range(2):
        running = running + 0.25 * mse(q[b], p[b])
        total = total + running
    torch.testing.assert_close(published_calibration_loss(*pairs_of(p, q)), total)
    torch.testing.assert_close(published_calibration_loss(*pairs_of(p, q), accumulate=False), running)


def test_paper_calibration_follows_equation_15_voxel_by_voxel():
    p, q = two_views()
    voxels = p[0][:, 0].numel()
    total = 0.0
    for a, b in ((p[0], p[1]), (q[0], q[1]), (p[0], q[0]), (p[1], q[1])):
        total += sum((x - y) ** 2 for x, y in zip(a.flatten().tolist(), b.flatten().tolist(), strict=True))
    assert calibration_loss(*pairs_of(p, q)).item() == pytest.approx(total / voxels, rel=1e-5)


def test_calibration_detaches_nothing():
    p, q = two_views()
    for loss in (calibration_loss, published_calibration_loss):
        leaves = [v.clone().requires_grad_() for v in (*p, *q)]
        loss(*pairs_of(leaves[:2], leaves[2:])).backward()
        assert all(leaf.grad.abs().sum() > 0 for leaf in leaves)


def test_supervised_loss_is_the_mean_of_cross_entropy_and_dice_over_decoders():
    (first, labels), (second, _) = random_case(), random_case(seed=1)
    labels[0, :2] = 255
    terms = [cross_entropy(v, labels) + dice_loss(v.softmax(1), labels) for v in (first, second)]
    torch.testing.assert_close(supervised_loss(first, labels), terms[0] / 2)
    torch.testing.assert_close(supervised_loss([first], labels), terms[0] / 2)
    torch.testing.assert_close(supervised_loss((first, second), labels), sum(terms) / 4)
    assert supervised_loss(first.bfloat16(), labels).dtype == torch.float32


def everything(logits, labels):
    """Every loss of one case."""
    probs, other = logits.softmax(1), logits.flip(1).softmax(1)
    mask, pairs = labels > 0, probs < 0.2
    views = pairs_of((probs, other), (logits.tanh(), other))
    return {
        "cross-entropy": cross_entropy(logits, labels),
        "dice": dice_loss(probs, labels),
        "supervised": supervised_loss([logits, other], labels),
        "positive": positive_loss(logits, labels, mask, probs[:, 0]),
        "negative": negative_loss(probs, pairs, other),
        "calibration": calibration_loss(*views),
        "published calibration": published_calibration_loss(*views),
    }


@pytest.mark.parametrize("classes", [2, 4])
def test_an_image_equals_a_volume_with_one_slice(classes):
    logits, labels = random_case(classes, (7, 6))
    flat, deep = everything(logits, labels), everything(logits.unsqueeze(-1), labels.unsqueeze(-1))
    for name, loss in flat.items():
        assert loss > 0
        torch.testing.assert_close(loss, deep[name], msg=name)


def test_cross_entropy_equals_torchs_to_the_bit_and_is_zero_where_all_is_ignored():
    logits, labels = random_case()
    labels[:, 1] = 255
    assert torch.equal(cross_entropy(logits, labels), F.cross_entropy(logits, labels, ignore_index=255))
    logits.requires_grad_()
    nothing = cross_entropy(logits, torch.full_like(labels, 255))
    nothing.backward()
    assert nothing == 0
    assert not logits.grad.any()


def test_a_mean_over_some_voxels_divides_by_their_number():
    logits, labels = random_case()
    mask, counted = torch.rand(labels.shape) > 0.5, torch.rand(labels.shape) > 0.3
    mask &= counted
    each = F.cross_entropy(logits, labels, reduction="none")
    loss = positive_loss(logits, labels, mask, over=counted)
    torch.testing.assert_close(loss, each[mask].sum() / counted.sum())
    assert positive_loss(logits, labels, mask & False, over=counted & False) == 0
