import pytest
import torch
import torch.nn.functional as F

from medssl.reliability import class_prototypes, prototype_affinity

from . import loops

SHAPES = [(4, 3), (3, 4, 2), (1, 1, 1)]


def random_case(classes: int, shape: tuple[int, ...], seed: int = 0, channels: int = 4):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(2, channels, *shape, generator=generator)
    probs = (3 * torch.randn(2, classes, *shape, generator=generator)).softmax(1)
    keep = torch.rand(2, *shape, generator=generator) < 0.7
    return features, probs, keep


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("masked", [False, True])
def test_prototypes_and_affinities_agree_with_the_equations_written_as_loops(classes, shape, masked):
    features, probs, keep = random_case(classes, shape)
    prototypes, present = class_prototypes(features, probs, keep if masked else None)
    expected, expected_present = loops.class_prototypes(features, probs, keep if masked else None)
    assert torch.equal(present, expected_present)
    torch.testing.assert_close(prototypes.double(), expected, atol=1e-6, rtol=0)
    affinity = prototype_affinity(features, prototypes)
    assert affinity.shape == probs.shape
    torch.testing.assert_close(
        affinity.double(), loops.prototype_affinity(features, expected), atol=1e-6, rtol=0
    )


def test_affinity_and_its_gradients_equal_the_broadcast_cosine_similarity():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 16, 6, 5, 4, generator=generator, requires_grad=True)
    prototypes = torch.randn(2, 3, 16, generator=generator, requires_grad=True)
    weight = torch.randn(2, 3, 6, 5, 4, generator=generator)
    broadcast = F.cosine_similarity(features.unsqueeze(1), prototypes[..., None, None, None], dim=2, eps=1e-8)
    affinity = prototype_affinity(features, prototypes)
    torch.testing.assert_close(affinity, broadcast, atol=1e-6, rtol=0)
    for ours, reference in zip(
        torch.autograd.grad((affinity * weight).sum(), [features, prototypes]),
        torch.autograd.grad((broadcast * weight).sum(), [features, prototypes]),
        strict=True,
    ):
        torch.testing.assert_close(ours, reference, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_gradients_of_the_affinity_are_right_in_both_memory_layouts(layout, scale):
    generator = torch.Generator().manual_seed(1)
    features = scale * torch.randn(2, 3, 2, 3, 2, generator=generator, dtype=torch.float64)
    features = features.contiguous(memory_format=layout).requires_grad_()
    prototypes = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(prototype_affinity, (features, prototypes), eps=1e-7, atol=1e-5)


def test_a_length_below_the_floor_counts_as_the_floor_in_value_and_gradient():
    features = torch.tensor([[3e-9, 4e-9]], dtype=torch.float64).reshape(1, 2, 1).requires_grad_()
    prototypes = torch.tensor([[[2.0, 0.0], [0.0, 5.0]]], dtype=torch.float64)
    affinity = prototype_affinity(features, prototypes)
    torch.testing.assert_close(affinity.flatten(), torch.tensor([0.3, 0.4], dtype=torch.float64))
    (gradient,) = torch.autograd.grad(affinity[0, 0, 0], features)
    torch.testing.assert_close(gradient.flatten(), torch.tensor([1e8, 0.0], dtype=torch.float64))


def test_gradients_flow_to_the_features_through_the_prototypes_and_past_them():
    features, probs, keep = random_case(3, (3, 3))
    features = features.double().requires_grad_()
    probs = probs.requires_grad_()

    def both(x):
        return prototype_affinity(x, class_prototypes(x, probs, keep)[0])

    assert torch.autograd.gradcheck(both, features)
    through_prototypes = prototype_affinity(features.detach(), class_prototypes(features, probs, keep)[0])
    past_them = prototype_affinity(features, class_prototypes(features.detach(), probs, keep)[0])
    for affinity in (through_prototypes, past_them):
        (gradient,) = torch.autograd.grad(affinity.square().sum(), features)
        assert gradient.abs().max() > 0
    both(features).sum().backward()
    assert probs.grad is None


def test_voxels_that_are_not_kept_receive_no_gradient_from_the_prototypes():
    features, probs, keep = random_case(2, (5, 5))
    features.requires_grad_()
    class_prototypes(features, probs, keep)[0].sum().backward()
    reached = features.grad.abs().amax(1) > 0
    assert torch.equal(reached, keep)


def test_permuting_classes_permutes_prototypes_and_affinities():
    features, probs, keep = random_case(5, (4, 3))
    order = torch.tensor([2, 4, 0, 1, 3])
    prototypes, present = class_prototypes(features, probs, keep)
    permuted, permuted_present = class_prototypes(features, probs[:, order], keep)
    assert torch.equal(permuted_present, present[:, order])
    torch.testing.assert_close(permuted, prototypes[:, order], atol=1e-6, rtol=0)
    torch.testing.assert_close(
        prototype_affinity(features, permuted),
        prototype_affinity(features, prototypes)[:, order],
        atol=1e-6,
        rtol=0,
    )


def test_an_image_equals_a_volume_with_one_slice():
    features, probs, keep = random_case(3, (5, 4))
    prototypes, present = class_prototypes(features, probs, keep)
    volume = class_prototypes(features.unsqueeze(-1), probs.unsqueeze(-1), keep.unsqueeze(-1))
    assert torch.equal(volume[0], prototypes)
    assert torch.equal(volume[1], present)
    assert torch.equal(
        prototype_affinity(features.unsqueeze(-1), prototypes).squeeze(-1),
        prototype_affinity(features, prototypes),
    )


def test_each_sample_has_prototypes_of_its_own():
    features, probs, keep = random_case(3, (4, 4))
    together = class_prototypes(features, probs, keep)[0]
    for b in range(2):
        alone = class_prototypes(features[b : b + 1], probs[b : b + 1], keep[b : b + 1])[0]
        torch.testing.assert_close(together[b : b + 1], alone, atol=1e-6, rtol=0)


def test_an_absent_class_has_a_zero_prototype_no_affinity_and_no_gradient_trouble():
    features, probs, _ = random_case(3, (4, 4))
    probs[:, 1] = 0
    features.requires_grad_()
    prototypes, present = class_prototypes(features, probs)
    assert present.tolist() == [[True, False, True]] * 2
    assert not prototypes[:, 1].any()
    affinity = prototype_affinity(features, prototypes)
    assert not affinity[:, 1].any()
    affinity.sum().backward()
    assert torch.isfinite(features.grad).all()
    assert features.grad.abs().max() < 1e3


def test_nothing_kept_gives_no_class_and_no_affinity():
    features, probs, keep = random_case(3, (4, 4))
    features.requires_grad_()
    prototypes, present = class_prototypes(features, probs, torch.zeros_like(keep))
    assert not present.any()
    affinity = prototype_affinity(features, prototypes)
    assert not affinity.any()
    affinity.sum().backward()
    assert not features.grad.any()


def test_a_zero_embedding_has_no_affinity_and_the_gradient_of_torch():
    features, probs, _ = random_case(2, (4, 4))
    features[:, :, 0, 0] = 0
    prototypes = class_prototypes(features, probs)[0]
    gradients = []
    for affinity in (
        prototype_affinity,
        lambda f, c: torch.nn.functional.cosine_similarity(f.unsqueeze(1), c[..., None, None], dim=2),
    ):
        leaf = features.clone().requires_grad_()
        values = affinity(leaf, prototypes)
        assert not values[:, :, 0, 0].any()
        values.sum().backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


def test_fallback_takes_all_voxels_of_a_class_without_a_kept_one():
    features, probs, _ = random_case(3, (4, 4))
    keep = probs.argmax(1) != 1
    zero, present = class_prototypes(features, probs, keep)
    fallback, averaged = class_prototypes(features, probs, keep, fallback=True)
    everything, _ = class_prototypes(features, probs)
    assert not present[:, 1].any()
    assert averaged[:, 1].all()
    assert not zero[:, 1].any()
    torch.testing.assert_close(fallback[:, 1], everything[:, 1])
    torch.testing.assert_close(fallback[:, [0, 2]], zero[:, [0, 2]])


def test_a_batch_of_no_samples_passes():
    prototypes, present = class_prototypes(torch.rand(0, 4, 3, 3), torch.rand(0, 2, 3, 3))
    assert prototypes.shape == (0, 2, 4)
    assert present.shape == (0, 2)
    assert prototype_affinity(torch.rand(0, 4, 3, 3), prototypes).shape == (0, 2, 3, 3)


def test_autocast_does_not_lower_the_precision():
    features, probs, keep = random_case(3, (6, 6))
    half = features.bfloat16()
    expected, _ = class_prototypes(half.float(), probs, keep)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        prototypes, _ = class_prototypes(half, probs, keep)
        affinity = prototype_affinity(half, prototypes)
    assert prototypes.dtype == affinity.dtype == torch.float32
    assert torch.equal(prototypes, expected)
    assert torch.equal(affinity, prototype_affinity(half.float(), expected))


def test_channels_last_memory_gives_the_same():
    features, probs, keep = random_case(3, (4, 3, 5))
    moved = features.to(memory_format=torch.channels_last_3d)
    prototypes, _ = class_prototypes(features, probs, keep)
    torch.testing.assert_close(class_prototypes(moved, probs, keep)[0], prototypes, atol=1e-6, rtol=0)
    torch.testing.assert_close(
        prototype_affinity(moved, prototypes), prototype_affinity(features, prototypes), atol=1e-6, rtol=0
    )


def test_what_is_saved_for_the_backward_pass_does_not_grow_with_classes_times_channels():
    channels, classes, voxels = 32, 4, 16 * 16
    features = torch.randn(1, channels, 16, 16, requires_grad=True)
    probs = torch.randn(1, classes, 16, 16).softmax(1)
    saved = {}

    def note(tensor):
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        affinity = prototype_affinity(features, class_prototypes(features, probs)[0])
    assert affinity.requires_grad
    assert sum(saved.values()) < 4 * voxels * (channels + 4 * classes)


def test_faults_name_the_argument_and_the_value():
    features, probs, keep = random_case(2, (4, 4))
    with pytest.raises(ValueError, match=r"features .* and probs .*\(2, 2, 4, 3\)"):
        class_prototypes(features, probs[..., :3])
    with pytest.raises(ValueError, match=r"keep must be bool.*torch.float32"):
        class_prototypes(features, probs, keep.float())
    with pytest.raises(ValueError, match=r"keep must be bool \(2, 4, 4\)"):
        class_prototypes(features, probs, keep[:1])
    with pytest.raises(ValueError, match=r"features .* and prototypes .*\(2, 2, 3\)"):
        prototype_affinity(features, torch.rand(2, 2, 3))
