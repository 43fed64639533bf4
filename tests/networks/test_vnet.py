import pytest
import torch

from medssl.common.errors import InputError
from medssl.networks import DualDecoderVNet, VNet, check_patch_size


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
