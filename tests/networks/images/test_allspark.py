"""What AllSpark's network owes: itself by itself, and labelled images from unlabelled ones."""

import copy

import pytest
import torch
from torch import nn

from medssl.common.errors import InputError
from medssl.inference.deployable import deployable
from medssl.inference.description import build_network
from medssl.networks import Adapted, AllSparkNetwork, Deployed, SegFormer, VNet
from medssl.training import parameter_groups
from tests.networks.images.test_image_networks import images
from tests.networks.images.tiny import tiny

PATCH = (64, 64)
NAMES = ["SegFormer", "FPN", "DeepLabV3Plus"]


def spark(name="FPN", seed=0, **options):
    torch.manual_seed(seed)
    return AllSparkNetwork(tiny(name), 3, patch_size=PATCH, **options)


def together(network, x, labeled, *, recall=False, logits=None):
    logits = torch.randn(len(x) - labeled, 3, *PATCH) if logits is None else logits
    return network.decode_together(
        network.encode(x), x.shape[2:], labeled=labeled, logits=logits, recall=recall
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_prediction_depends_neither_on_its_batch_nor_on_the_memory(name):
    network, x = spark(name).eval(), images(3, sides=PATCH)
    expected = network(x)
    assert expected.logits[0].shape == (3, 3, *PATCH)
    torch.testing.assert_close(network(x[1:2]).logits[0], expected.logits[0][1:2])
    network.memory.queue.fill_(1e6)
    assert torch.equal(network(x).logits[0], expected.logits[0])
    assert torch.equal(network.deployed(x), expected.logits[0])


@pytest.mark.parametrize("name", NAMES)
def test_evaluation_is_the_labelled_path_on_the_image_twice_as_published(name):
    network, x = spark(name).eval(), images(1, sides=PATCH)
    both = together(network, torch.cat([x, x]), 1)
    torch.testing.assert_close(both.logits[0][:1], network(x).logits[0])
    assert not torch.allclose(both.logits[0][1:], network(x).logits[0])


@pytest.mark.parametrize("sides", [(33, 45), (64, 97), (160, 32)])
@pytest.mark.parametrize("name", ["SegFormer", "FPN"])
def test_images_of_any_size_are_predicted(name, sides):
    logits = spark(name).eval()(images(1, sides=sides)).logits[0]
    assert logits.shape == (1, 3, *sides)
    assert logits.isfinite().all()


def test_the_module_changes_what_the_decoder_reads():
    network, x = spark().eval(), images(2, sides=PATCH)
    maps = network.encode(x)
    assert torch.equal(network(x).logits[0], network.decode(maps, PATCH).logits[0])
    rebuilt = network.network.decode([*maps[:-1], network.attention(maps[-1])], PATCH).logits[0]
    assert torch.equal(network(x).logits[0], rebuilt)
    assert not torch.equal(rebuilt, network.network.decode(maps, PATCH).logits[0])


@pytest.mark.parametrize("recall", [False, True])
def test_labelled_images_learn_from_unlabelled_ones_or_from_the_memory(recall):
    network = spark("SegFormer", dropout=0.0).eval()  # no batch statistics, through which all images meet
    x = images(4, sides=PATCH).requires_grad_()
    output = together(network, x, 2, recall=recall).logits[0]
    (seen,) = torch.autograd.grad(output[:1].square().sum(), x, retain_graph=True)
    assert [bool(grad.any()) for grad in seen] == [True, False, not recall, not recall]
    (own,) = torch.autograd.grad(output[3:].square().sum(), x)
    assert [bool(grad.any()) for grad in own] == [False, False, False, True]


def test_training_fills_the_memory_and_evaluation_does_not():
    network, x = spark(), images(4, sides=PATCH)
    before = copy.deepcopy(network.memory.state_dict())
    together(network.eval(), x, 2)
    network.train()(x)
    assert torch.equal(network.memory.queue, before["queue"])
    together(network.train(), x, 2)
    assert not torch.equal(network.memory.queue, before["queue"])
    assert network.memory.queue.isfinite().all()
    # Every channel of either unlabelled image has gone into some queue, ends counted round it.
    assert network.memory.ends.sum() % 8 == 0


def test_every_parameter_learns_from_labelled_and_unlabelled_images_together():
    network = spark("SegFormer", dropout=0.0)
    logits = together(network, images(4, sides=PATCH), 2).logits[0]
    nn.functional.cross_entropy(logits, torch.randint(0, 3, (4, *PATCH))).backward()
    idle = [key for key, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert [key for key in idle if not key.endswith("bias")] == []


def test_a_later_push_does_not_disturb_a_gradient():
    network, x = spark(), images(4, sides=PATCH)
    loss = together(network, x, 2, recall=True).logits[0].square().mean()
    together(network, x, 2, recall=True)
    loss.backward()
    assert network.attention.across.keys.weight.grad.any()


def test_patches_of_another_size_than_the_memorys_are_refused():
    x = images(4, sides=(32, 32))
    with pytest.raises(InputError, match="coarsest grid of 2x2, and the memory one of 4x4; give"):
        together(spark(), x, 2)
    assert spark()(x).logits[0].shape == (4, 3, 32, 32)


def test_volumes_go_through_the_module_too():
    torch.manual_seed(0)
    network = AllSparkNetwork(VNet(width=2), 2, patch_size=(32, 16, 16), in_channels=1)
    assert network.memory.queue.shape == (2, 32, 2)
    x = torch.randn(4, 1, 32, 16, 16)
    output = network.decode_together(
        network.encode(x), x.shape[2:], labeled=2, logits=torch.randn(2, 2, 32, 16, 16), recall=True
    )
    assert output.logits[0].shape == (4, 2, 32, 16, 16)
    assert network.eval()(x[:1, ..., :16, :16, :16]).logits[0].isfinite().all()
    assert network.patch_multiple == 16


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("name", ["SegFormer", "FPN"])
def test_the_deployed_path_its_copy_and_its_trace_agree_and_are_without_memory(name):
    network = spark(name)
    network(images(sides=PATCH))
    path, x = Deployed(network).eval(), images(sides=PATCH, seed=1)
    expected = network.eval()(x).logits[0]
    memory = {"memory.queue", "memory.ends"}
    assert set(network.state_dict()) - set(path.state_dict()) == memory
    torch.testing.assert_close(path(x), expected)
    torch.testing.assert_close(copy.deepcopy(network)(x).logits[0], expected)
    torch.testing.assert_close(deployable(path)(x), expected, atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        traced = torch.jit.trace(path, x, check_trace=False)(x)
    torch.testing.assert_close(traced, expected, atol=1e-5, rtol=1e-4)


def test_backbone_and_sides_are_those_of_the_wrapped_network():
    network = spark("SegFormer")
    assert network.spatial_axes == 2
    backbone, head = parameter_groups(network, 0.1)
    assert len(backbone["params"]) == len(list(network.network.backbone.parameters()))
    assert (backbone["lr"], head["lr"]) == (0.1, 1.0)


def test_a_checkpoint_rebuilds_it_without_weights_to_begin_with():
    inner = {"_target_": "medssl.networks.SegFormer", "num_classes": 3, "size": "b0", "weights": "/nowhere"}
    description = {"_target_": "medssl.networks.AllSparkNetwork", "network": inner, "num_classes": 3}
    network = build_network({**description, "patch_size": [64, 96]}, where="here")
    assert network.memory.queue.shape == (3, 256, 6)


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"network": Adapted(nn.Conv2d(3, 3, 1))}, "network Adapted: does not run encoder and decoder apart"),
        ({"heads": 0}, "heads=0: out of range"),
        ({"dropout": 1.0}, r"dropout=1\.0: out of range"),
        ({"num_classes": 0}, "num_classes=0"),
        ({"in_channels": 2}, "patch size 64x64: FPN cannot take it"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(arguments, fault):
    with pytest.raises(InputError, match=fault) as refused:
        AllSparkNetwork(**{"network": tiny("FPN"), "num_classes": 3, "patch_size": PATCH, **arguments})
    assert "\n" not in str(refused.value)


@pytest.mark.slow
def test_the_published_network_has_four_million_parameters_more_than_segformer_b5():
    with torch.device("meta"):
        segformer = SegFormer(21, "b5")
        network = AllSparkNetwork(segformer, 21, patch_size=(513, 513))
    module = 2 * (512 * 512 + 512) + 2 * 2 * 512 + 8 * 512 * 1024
    counts = [sum(weight.numel() for weight in net.parameters()) for net in (network, segformer)]
    assert counts[0] == counts[1] + module
    assert round(counts[0] / 1e6, 1) == 89.3
    assert network.memory.queue.shape == (21, 512, (513 // 32 + 1) ** 2)
