"""What a network owes, and how MONAI's come to owe it."""

import copy

import pytest
import torch
from monai.networks.nets import BasicUNetPlusPlus, DynUNet, SegResNet, SegResNetDS, UNet
from torch import nn

from medssl.common.errors import InputError
from medssl.inference.deployable import deployable, fold_batch_norm
from medssl.networks import Adapted, Deployed, DualDecoderVNet, Network, Output, VNet, check_patch_size

DYNAMIC = {"strides": (1, 2, 2), "kernel_size": (3, 3, 3), "upsample_kernel_size": (2, 2)}
MONAIS = {
    "UNet": lambda dims: UNet(dims, 1, 2, channels=(2, 4), strides=(2,)),
    "SegResNet": lambda dims: SegResNet(dims, init_filters=4, in_channels=1, out_channels=2, norm="batch"),
    "SegResNetDS": lambda dims: SegResNetDS(dims, init_filters=4, in_channels=1, out_channels=2, dsdepth=2),
    "DynUNet": lambda dims: DynUNet(dims, 1, 2, **DYNAMIC, deep_supervision=True, deep_supr_num=1),
    "BasicUNetPlusPlus": lambda dims: BasicUNetPlusPlus(dims, 1, 2, features=(2, 2, 4, 4, 4, 2)),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", MONAIS)
def test_a_network_of_monais_gives_one_map_of_logits(name, dims, training):
    torch.manual_seed(0)
    network = Adapted(MONAIS[name](dims), patch_multiple=16).train(training)
    images = torch.randn(2, 1, *[32] * dims)
    output = network(images)
    assert isinstance(output, Output)
    assert [tuple(logits.shape) for logits in output.logits] == [(2, 2, *[32] * dims)]
    assert output.features == ()
    torch.testing.assert_close(network.eval().deployed(images), network(images).logits[0])


def test_a_module_that_gives_no_logits_is_named():
    class Empty(nn.Module):
        def forward(self, x):
            return {"out": x}

    with pytest.raises(TypeError, match="Empty gives dict"):
        Adapted(Empty())(torch.zeros(1, 1, 4, 4))


class Odd(Network):
    """Weights and buffers of its own, dropout by its mode, and a head that is not deployed."""

    deployed_modules = ("body",)

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Conv2d(1, 2, 1), nn.Conv2d(1, 2, 1)
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.register_buffer("shift", torch.tensor(3.0))

    def forward(self, x):
        return Output((self.deployed(x), self.head(x)), ())

    def deployed(self, x):
        return nn.functional.dropout(self.body(x), 0.5, self.training) * self.scale + self.shift


@pytest.mark.parametrize("make", [Odd, lambda: DualDecoderVNet(width=2), lambda: Adapted(MONAIS["UNet"](3))])
def test_the_deployed_path_shares_weights_and_keys_and_holds_no_others(make):
    network = make().eval()
    path, state = Deployed(network), network.state_dict()
    assert not path.training
    assert set(path.state_dict()) <= set(state)
    assert all(value is not None and value.data_ptr() == state[key].data_ptr()
               for key, value in path.state_dict().items())  # fmt: skip
    names = {key.split(".")[0] for key in path.state_dict()}
    assert not names & {"head", "decoder2"}
    images = torch.randn(1, 1, *[16] * (2 if isinstance(network, Odd) else 3))
    assert torch.equal(path(images), network.deployed(images))


def test_the_path_follows_its_copies_its_mode_and_its_type():
    torch.manual_seed(0)
    network = Odd().eval()
    images = torch.randn(1, 1, 4, 4)
    expected = network.deployed(images)
    path = copy.deepcopy(Deployed(network))
    nn.init.zeros_(network.body.weight)
    assert torch.equal(path(images), expected)
    assert path.double()(images.double()).dtype == torch.float64  # the buffer moved with the weights
    assert not torch.equal(path.train()(images.double()), path.eval()(images.double()))


def test_batch_norms_of_the_path_are_folded():
    network = DualDecoderVNet(width=2)
    network(torch.randn(2, 1, 16, 16, 16))
    path = Deployed(network.eval())
    folded = fold_batch_norm(path)
    assert not any(isinstance(module, nn.BatchNorm3d) for module in folded.modules())
    images = torch.randn(1, 1, 16, 16, 16)
    torch.testing.assert_close(folded(images), network.deployed(images), rtol=1e-4, atol=1e-4)


def test_a_chain_with_a_forward_of_its_own_is_not_folded():
    class Residual(nn.Sequential):
        def forward(self, x):
            return self[1](x + self[0](x))

    torch.manual_seed(0)
    layers = Residual(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))
    layers(torch.randn(4, 1, 3, 3))
    images = torch.randn(1, 1, 3, 3)
    assert torch.equal(fold_batch_norm(layers)(images), layers.eval()(images))


@pytest.mark.parametrize("name", ["UNet", "SegResNet"])
def test_the_path_of_an_adapted_network_is_traced(name):
    path = deployable(Deployed(Adapted(MONAIS[name](3).eval())))
    images = torch.randn(1, 1, 16, 16, 16)
    traced = torch.jit.trace(path, images)
    torch.testing.assert_close(traced(images), path(images))


@pytest.mark.slow
def test_compiling_reaches_both_paths():
    network = VNet(width=1).eval()
    keys, images = list(network.state_dict()), torch.randn(1, 1, 16, 16, 16)
    before = network.deployed(images)
    compiled = []

    def backend(graph, _):
        compiled.append(graph)
        return graph.forward

    network.compile(backend=backend)
    assert torch.equal(network.deployed(images), before)
    assert compiled
    assert list(network.state_dict()) == keys
    assert torch.equal(Deployed(network)(images), before)


def test_patches_are_checked_by_what_the_network_says():
    network = Adapted(nn.Conv3d(1, 2, 1), patch_multiple=(4, 4, 1))
    check_patch_size(network, (8, 4, 3))
    with pytest.raises(InputError, match="8x4x3"):
        check_patch_size(network, (8, 5, 3))
    with pytest.raises(InputError, match=r"wrap it: _target_: medssl\.networks\.Adapted"):
        check_patch_size(nn.Conv3d(1, 2, 1), (8, 8, 8))
