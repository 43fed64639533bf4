import pytest
import torch
from torch.nn import functional as F

from medssl.common.errors import InputError
from medssl.common.precision import autocast
from medssl.networks import DualDecoderVNet, VNet, anisotropic_strides, check_patch_size

PUBLISHED = {"strides": [[2, 2, 2]] * 4, "kernels": [[3, 3, 3]] * 5}
SLICES = anisotropic_strides((1.5, 1.5, 10), (32, 32, 8))._asdict()
FEW = {"strides": [[2, 2, 1], [2, 1, 2]], "kernels": [[3, 3, 1], [3, 5, 3], [1, 1, 3]]}


def count(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_has_the_parameters_of_the_literature():
    assert count(DualDecoderVNet()) == 12_347_716
    assert count(VNet()) == 9_448_866


@pytest.mark.parametrize(("channels", "classes"), [(1, 2), (3, 2), (1, 5), (4, 4)])
def test_gives_two_views_of_any_channels_and_classes(channels, classes):
    network = DualDecoderVNet(in_channels=channels, num_classes=classes, width=2)
    output = network(torch.randn(2, channels, 16, 32, 48))
    assert [tuple(v.shape) for v in output.logits] == [(2, classes, 16, 32, 48)] * 2
    assert [tuple(v.shape) for v in output.features] == [(2, 2, 16, 32, 48)] * 2


def test_features_have_sixteen_channels_and_are_not_dropped():
    torch.manual_seed(0)
    network = DualDecoderVNet().train()
    features = network(torch.randn(2, 1, 32, 32, 32)).features
    assert features[0].shape[1] == 16
    # Dropout removes whole channels; batch norm and ReLU leave none of them zero everywhere.
    assert all((f.flatten(2).amax(2) > 0).all() for f in features)


def test_deployed_is_decoder_one_and_does_not_run_decoder_two():
    network = DualDecoderVNet(width=2).eval()
    images = torch.randn(1, 1, 16, 16, 16)
    called = []
    network.decoder2.register_forward_hook(lambda *a: called.append(1))
    deployed = network.deployed(images)
    assert not called
    torch.testing.assert_close(deployed, network(images).logits[0])


def test_single_decoder_loads_from_the_dual_one():
    dual, single = DualDecoderVNet(width=2).eval(), VNet(width=2).eval()
    assert set(single.state_dict()) < set(dual.state_dict())
    left = single.load_state_dict(dual.state_dict(), strict=False)
    assert not left.missing_keys
    assert all(key.startswith("decoder2.") for key in left.unexpected_keys)
    images = torch.randn(1, 1, 16, 16, 16)
    torch.testing.assert_close(single.deployed(images), dual.deployed(images))


def test_decoders_differ_in_how_they_upsample():
    network = DualDecoderVNet(width=2)
    kinds = [{type(m) for m in d.modules()} for d in (network.decoder1, network.decoder2)]
    assert torch.nn.ConvTranspose3d in kinds[0]
    assert torch.nn.Upsample not in kinds[0]
    assert torch.nn.Upsample in kinds[1]
    assert torch.nn.ConvTranspose3d not in kinds[1]


@pytest.mark.parametrize("size", [(112, 112, 80), (96, 96, 96), (16, 16, 16)])
def test_takes_patches_of_multiples_of_sixteen(size):
    check_patch_size(DualDecoderVNet(width=1), size)


@pytest.mark.parametrize(
    ("size", "hint"), [((100, 96, 96), "96x96x96"), ((8, 16, 16), "16x16x16"), ((16, 16), "3 sides")]
)
def test_refuses_other_patches_and_names_the_nearest(size, hint):
    with pytest.raises(InputError, match=hint):
        check_patch_size(VNet(width=1), size)
    with pytest.raises(InputError):
        VNet(width=1)(torch.zeros(1, 1, *size))


@pytest.mark.parametrize("wrong", [{"num_classes": 1}, {"width": 0}, {"in_channels": 0}, {"dropout": 1.0}])
def test_refuses_impossible_arguments(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        DualDecoderVNet(**wrong)


def written_out(state, x, strides, kernels, decoder):
    """The V-Net in evaluation mode, from its weights by torch's functions."""

    def unit(x, name, operation, index=0, **options):
        x = operation(x, state[f"{name}.{index}.weight"], state[f"{name}.{index}.bias"], **options)
        norm = [
            state[f"{name}.{index + 1}.{key}"] for key in ("running_mean", "running_var", "weight", "bias")
        ]
        return F.batch_norm(x, *norm).relu()

    def stage(x, name, depth, kernel):
        for index in range(depth):
            x = unit(x, f"{name}.{index}", F.conv3d, padding=[side // 2 for side in kernel])
        return x

    count, maps = len(strides), [stage(x, "encoder.stages.0", 1, kernels[0])]
    for index, stride in enumerate(strides):
        coarser = unit(maps[-1], f"encoder.downs.{index}", F.conv3d, stride=stride)
        maps.append(stage(coarser, f"encoder.stages.{index + 1}", (2, 3, 3, 3)[index], kernels[index + 1]))
    x = maps[-1]
    for index in range(count):
        level, name = count - 1 - index, f"{decoder}.ups.{index}"
        if decoder == "decoder1":
            finer = unit(x, name, F.conv_transpose3d, stride=strides[level])
        else:
            size = maps[level].shape[2:]
            finer = F.interpolate(x, size=size, mode="trilinear", align_corners=True)
            inner = {key.replace(f"{name}.0.1.", f"{name}.0."): value for key, value in state.items()}
            weight, bias = inner[f"{name}.0.weight"], inner[f"{name}.0.bias"]
            finer = F.conv3d(finer, weight, bias, padding=[side // 2 for side in kernels[level]])
            norm = [state[f"{name}.1.{key}"] for key in ("running_mean", "running_var", "weight", "bias")]
            finer = F.batch_norm(finer, *norm).relu()
        x = stage(finer + maps[level], f"{decoder}.stages.{index}", (1, 2, 3, 3)[level], kernels[level])
    return F.conv3d(x, state[f"{decoder}.classifier.weight"], state[f"{decoder}.classifier.bias"])


@pytest.mark.parametrize("steps", [PUBLISHED, SLICES, FEW], ids=["published", "slices", "few"])
def test_both_decoders_are_what_is_written_out(steps):
    torch.manual_seed(0)
    network, images = DualDecoderVNet(width=2, num_classes=3, **steps), torch.randn(2, 1, 32, 32, 16)
    network(images)
    outputs = network.eval()(images).logits
    for decoder, logits in zip(("decoder1", "decoder2"), outputs, strict=True):
        expected = written_out(network.state_dict(), images, **steps, decoder=decoder)
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", [VNet, DualDecoderVNet])
def test_without_strides_and_kernels_it_is_the_published_one_bit_by_bit(kind):
    images, outputs = torch.randn(1, 1, 16, 32, 16), []
    for options in ({}, PUBLISHED):
        torch.manual_seed(0)
        network = kind(width=2, **options)
        outputs.append((network(images), network.state_dict()))
        assert network.patch_multiple == 16
    (first, weights), (second, others) = outputs
    assert all(torch.equal(a, b) for a, b in zip(first.logits, second.logits, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(weights.values(), others.values(), strict=True))


@pytest.mark.parametrize("steps", [SLICES, FEW], ids=["slices", "few"])
def test_the_patch_follows_the_strides(steps):
    network = VNet(width=1, **steps)
    x, y, z = network.patch_multiple
    assert network.deployed(torch.zeros(2, 1, 2 * x, 2 * y, 2 * z)).shape == (2, 2, 2 * x, 2 * y, 2 * z)
    with pytest.raises(InputError, match=rf"each side must be multiples of \[{x}, {y}, {z}\]"):
        network(torch.zeros(1, 1, 2 * x, 2 * y, 2 * z + 1))


def test_kernels_of_thick_slices_hold_fewer_parameters():
    assert count(VNet(**SLICES)) < count(VNet(strides=SLICES["strides"])) < count(VNet())
    assert len(VNet(width=1, **FEW).encoder.stages) == 3


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ({"strides": []}, "1 to 4 steps"),
        ({"strides": [[2, 2, 2]] * 5}, "1 to 4 steps"),
        ({"strides": [[2, 2]]}, "three strides"),
        ({"strides": [[2, 2, 0]]}, "at least 1"),
        ({"kernels": [[3, 3, 3]] * 4}, "5 kernels"),
        ({"strides": [[2, 2, 2]], "kernels": [[3, 3, 2]] * 2}, "odd"),
        ({"strides": [[2, 2, 2]], "kernels": [[3, 3]] * 2}, "three odd sides"),
    ],
)
def test_refuses_strides_and_kernels_that_it_cannot_have(wrong, hint):
    with pytest.raises(InputError, match=hint):
        DualDecoderVNet(**wrong)


def test_gradients_in_bf16_are_those_of_float32():
    torch.manual_seed(0)
    network, images = DualDecoderVNet(width=4, dropout=0.0, **SLICES), torch.randn(2, 1, 32, 32, 8)
    gradients = []
    for precision in ("off", "bf16"):
        network.zero_grad()
        with autocast(torch.device("cpu"), precision):
            loss = sum(logits.float().square().mean() for logits in network(images).logits)
        loss.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters()]))
    assert F.cosine_similarity(*gradients, dim=0) > 0.95  # bf16's rounding leaves 0.98
    assert abs(gradients[1].norm() / gradients[0].norm() - 1) < 0.05
