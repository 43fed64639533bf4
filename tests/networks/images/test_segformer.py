"""Against transformers' own SegFormer, which has the same head."""

import pytest
import torch
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from medssl.common.errors import InputError
from medssl.networks.images.base import resized
from tests.networks.images.tiny import MIT, tiny


def test_logits_equal_those_of_transformers():
    torch.manual_seed(0)
    network = tiny("SegFormer").eval()
    reference = SegformerForSemanticSegmentation(SegformerConfig(**MIT, num_labels=3)).eval()
    reference.segformer.load_state_dict(network.backbone.state_dict())
    head = reference.decode_head
    theirs = [linear for linear in head.modules() if isinstance(linear, torch.nn.Linear)]
    with torch.no_grad():
        for linear, ours in zip(theirs, network.projections, strict=True):
            linear.weight.copy_(ours.weight.flatten(1))
            linear.bias.copy_(ours.bias)
        # transformers stacks the stages from the coarsest, we from the finest
        stacked = network.fuse[0].weight.unflatten(1, (4, 8)).flip(1).flatten(1, 2)
        head.linear_fuse.weight.copy_(stacked)
        network.fuse[1].running_mean.normal_()
        head.batch_norm.load_state_dict(network.fuse[1].state_dict())
        head.classifier.load_state_dict(network.classifier.state_dict())
    images = torch.rand(2, 3, 64, 96)
    expected = resized(reference(network.normalization(images)).logits, (64, 96), align_corners=False)
    torch.testing.assert_close(network(images).logits[0], expected)


def test_images_smaller_than_the_window_are_refused():
    with pytest.raises(InputError, match="images of 31x64: too small for SegFormer; give 32 a side"):
        tiny("SegFormer")(torch.rand(2, 3, 31, 64))
