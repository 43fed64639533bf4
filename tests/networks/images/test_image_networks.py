"""What every network of images owes: its grids, its gradients, its normalisation and its deployed path."""

import copy
import subprocess
import sys

import pytest
import torch
from torch import nn

from medssl.common.errors import InputError
from medssl.inference.deployable import deployable
from medssl.networks import Deployed, EncoderDecoder
from tests.networks.images.tiny import CLASSES, DESCRIPTIONS, tiny

SIDES = (32, 48)
STRIDES = {
    "DeepLabV3Plus": (4, 16),
    "DPT": (1, 4),
    "SegFormer": (4, 32),
    "FPN": (4, 16),
}  # of features, of context


def images(rows=2, channels=3, sides=SIDES, seed=0):
    return torch.rand(rows, channels, *sides, generator=torch.Generator().manual_seed(seed))


def ceiling(side, stride):
    return -(-side // stride)


@pytest.mark.parametrize("name", CLASSES)
def test_logits_have_the_images_grid_and_features_and_context_theirs(name):
    torch.manual_seed(0)
    output = tiny(name)(images())
    assert [tuple(logits.shape) for logits in output.logits] == [(2, 3, *SIDES)]
    (features,), (context,) = output.features, output.context
    finer, coarser = STRIDES[name]
    if name == "DPT":  # 8 times the grid of patches, averaged two by two
        assert tuple(features.shape) == (2, 4, *(4 * side // 4 for side in SIDES))
    else:
        assert tuple(features.shape[2:]) == tuple(ceiling(side, finer) for side in SIDES)
    assert tuple(context.shape[2:]) == tuple(ceiling(side, coarser) for side in SIDES)


@pytest.mark.parametrize("sides", [(33, 45), (64, 37)])
@pytest.mark.parametrize("name", [name for name in CLASSES if name != "DPT"])
def test_any_size_is_taken_where_the_patch_multiple_is_1(name, sides):
    network = tiny(name).eval()
    assert network.patch_multiple == 1
    assert tuple(network(images(1, sides=sides)).logits[0].shape[2:]) == sides


@pytest.mark.parametrize("name", CLASSES)
def test_every_parameter_learns(name):
    torch.manual_seed(0)
    network = tiny(name)
    logits = network(images()).logits[0]
    nn.functional.cross_entropy(logits, torch.randint(0, 3, (2, *SIDES))).backward()
    idle = [key for key, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()]
    # Of a bias before a softmax over positions or a batch norm nothing comes through.
    assert [key for key in idle if not key.endswith("bias")] == []


@pytest.mark.parametrize("name", CLASSES)
def test_the_classifier_reads_the_features(name):
    """Pooled logits are those of the features, exactly where the two share a grid."""
    torch.manual_seed(0)
    network = tiny(name).eval()
    maps = network.encode(images())
    output = network.decode(maps, SIDES)
    grid = output.features[0].shape[2:]
    classifier = network.head.classifier if name == "DPT" else network.classifier
    direct = classifier(output.features[0])
    if name == "DPT":
        embeddings = network.head(maps)
        direct, reference = direct, nn.functional.avg_pool2d(classifier(embeddings), 2)
    else:
        reference = network.decode(maps, grid).logits[0]
    torch.testing.assert_close(direct, reference)


@pytest.mark.parametrize("name", CLASSES)
def test_what_methods_perturb_reaches_the_logits(name):
    torch.manual_seed(0)
    network = tiny(name).eval()
    assert isinstance(network, EncoderDecoder)
    maps = network.encode(images())
    logits = network.decode(maps, SIDES).logits[0]
    assert torch.equal(logits, network(images()).logits[0])
    for index in range(len(maps)):
        zeroed = [torch.zeros_like(m) if i == index else m for i, m in enumerate(maps)]
        assert not torch.equal(network.decode(zeroed, SIDES).logits[0], logits), f"map {index} is not read"


@pytest.mark.parametrize("name", CLASSES)
def test_images_are_normalised_inside(name):
    torch.manual_seed(0)
    network = tiny(name, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.5)).eval()
    plain = tiny(name, mean=(0, 0, 0), std=(1, 1, 1)).eval()
    plain.load_state_dict(network.state_dict())
    x = images()
    expected = torch.stack(
        [(x[:, c] - m) / s for c, (m, s) in enumerate([(0.5, 0.2), (0.4, 0.25), (0.3, 0.5)])], 1
    )
    torch.testing.assert_close(network(x).logits[0], plain(expected).logits[0])
    assert not any(key.startswith("normalization") for key in network.state_dict())


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("name", CLASSES)
def test_the_deployed_path_its_copy_and_its_trace_agree(name):
    torch.manual_seed(0)
    network = tiny(name)
    network(images())  # a step whose statistics the copies take along
    path, x = Deployed(network).eval(), images(seed=1)
    expected = network.eval()(x).logits[0]
    assert set(path.state_dict()) == set(network.state_dict())
    torch.testing.assert_close(path(x), expected)
    torch.testing.assert_close(copy.deepcopy(network)(x).logits[0], expected)
    torch.testing.assert_close(deployable(path)(x), expected, atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(
            torch.jit.trace(path, x, check_trace=False)(x), expected, atol=1e-5, rtol=1e-4
        )


@pytest.mark.parametrize("name", [name for name in CLASSES if name != "FPN"])
def test_the_backbone_is_named(name):
    network = tiny(name)
    assert network.backbone_modules == ("backbone",)
    assert (
        0
        < sum(p.numel() for p in network.backbone.parameters())
        < sum(p.numel() for p in network.parameters())
    )


@pytest.mark.parametrize("name", CLASSES)
def test_other_channels_have_the_mean_of_the_colours_or_their_own(name):
    network = tiny(name, in_channels=1, mean=[0.5], std=[0.2])
    assert network.eval()(images(channels=1)).logits[0].shape == (2, 3, *SIDES)
    grey = tiny(name, in_channels=1).eval()
    assert grey(images(channels=1)).logits[0].shape == (2, 3, *SIDES)
    assert grey.normalization.mean.flatten().tolist() == pytest.approx([(0.485 + 0.456 + 0.406) / 3])
    assert grey.normalization.std.flatten().tolist() == pytest.approx([(0.229 + 0.224 + 0.225) / 3])
    four = tiny(name, in_channels=4).normalization
    assert four.mean.shape == four.std.shape == (1, 4, 1, 1)
    with pytest.raises(
        InputError, match=r"mean .* has 3 numbers for in_channels=1; give one number a channel"
    ):
        tiny(name, in_channels=1, mean=[0.1, 0.2, 0.3])
    with pytest.raises(InputError, match="not above 0"):
        tiny(name, std=(0, 1, 1))
    with pytest.raises(InputError, match="num_classes=1: out of range"):
        tiny(name, 1)


@pytest.mark.parametrize("name", CLASSES)
def test_the_same_seed_gives_the_same_bits(name):
    def step():
        torch.manual_seed(3)
        network = tiny(name)
        loss = network(images()).logits[0].square().mean()
        loss.backward()
        return [weight.grad for weight in network.parameters()]

    assert all(map(torch.equal, step(), step()))


def test_the_package_is_imported_without_transformers():
    code = "import sys, medssl.networks, medssl.networks.images; sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_descriptions_are_those_of_the_classes():
    assert set(DESCRIPTIONS) == set(CLASSES)
