"""AllSpark's module against plain loops over channels, and its memory against lists."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from medssl.networks.images.channel_attention import (
    ChannelAttention,
    SemanticMemory,
    attend,
    channel_classes,
)

C, N, HEADS = 4, 6, 2


def attention(seed=0):
    torch.manual_seed(seed)
    return ChannelAttention(C, heads=HEADS, dropout=0.0)


def tokens(rows, seed=0, positions=N):
    return torch.randn(rows, positions, C, generator=torch.Generator().manual_seed(seed))


def looped(queries, keys, values):
    """One image and head, channel by channel: ``(N, Q)``, ``(N, M)``, ``(N, M)``."""
    scores = torch.tensor([[(q * k).sum().item() for k in keys.T] for q in queries.T], dtype=torch.float64)
    scores = (scores - scores.mean()) / (scores.var(correction=0) + 1e-5).sqrt()
    columns = []
    for row in scores:
        weights = torch.tensor([math.exp(s) for s in row])
        columns.append(sum(w * v for w, v in zip(weights / weights.sum(), values.T, strict=True)))
    return torch.stack(columns, 1)


@pytest.mark.parametrize("others", [1, 3])
def test_a_labelled_channel_looks_at_all_channels_of_all_others_with_every_head(others):
    module = attention()
    queries, sources = tokens(2), tokens(others, seed=1)
    projections = module.across
    keys, values = (
        torch.cat([linear(source) for source in sources], 1)
        for linear in (projections.keys, projections.values)
    )
    expected = [projections.out(looped(projections.queries(image), keys, values)) for image in queries]
    torch.testing.assert_close(module.labeled(queries, sources), torch.stack(expected))


def test_an_unlabelled_channel_looks_at_its_own_image_head_by_head():
    module, images = attention(), tokens(3)
    projections, expected = module.within, []
    for image in images:
        projected = [
            linear(image).split(C, 1)
            for linear in (projections.queries, projections.keys, projections.values)
        ]
        heads = [looped(*parts) for parts in zip(*projected, strict=True)]
        expected.append(projections.out(torch.cat(heads, 1)))
    torch.testing.assert_close(module.unlabeled(images), torch.stack(expected))


def test_scores_are_normalised_as_instance_norm_does_and_their_scale_does_not_count():
    q, k, v = (torch.randn(2, HEADS, N, C, generator=torch.Generator().manual_seed(s)) for s in range(3))
    scores = nn.InstanceNorm2d(HEADS)(q.mT @ k)
    torch.testing.assert_close(attend(q, k, v, nn.Identity()), v @ scores.softmax(-1).mT)
    torch.testing.assert_close(
        attend(100 * q, k, v, nn.Identity()), attend(q, k, v, nn.Identity()), rtol=1e-3, atol=1e-4
    )
    flat = attend(torch.zeros_like(q), k, v, nn.Identity())
    torch.testing.assert_close(flat, v.mean(-1, keepdim=True).expand_as(v))


@pytest.mark.parametrize("grid", [(2, 3), (1, 1), (2, 3, 2)])
def test_the_whole_module_is_that_of_a_labelled_image_that_looks_at_itself(grid):
    module = attention()
    x = torch.randn(2, C, *grid, generator=torch.Generator().manual_seed(3))
    convolution = {2: F.conv2d, 3: F.conv3d}[len(grid)]

    def pointwise(linear, maps):
        kernel = linear.weight.reshape(C, C, *[1] * len(grid))
        return F.gelu(convolution(maps, kernel, linear.bias))

    entered = pointwise(module.map_in, x).flatten(2).mT
    normed = F.layer_norm(entered, (C,), module.norm_in.weight, module.norm_in.bias, 1e-6)
    gained = torch.cat([module.labeled(image[None], image[None]) for image in normed])
    left = F.layer_norm(entered + gained, (C,), module.norm_out.weight, module.norm_out.bias, 1e-6)
    expected = pointwise(module.map_out, left.mT.reshape(x.shape))
    torch.testing.assert_close(module(x), expected)


def test_dropout_acts_on_weights_and_on_what_attention_gives():
    module = attention()
    module.weight_dropout.p = 0.5
    images = tokens(2)
    assert not torch.equal(module.labeled(images, images), module.labeled(images, images))
    module.weight_dropout.p, module.dropout.p = 0.0, 0.5
    share = (module.unlabeled(tokens(50)) == 0).float().mean()
    assert 0.4 < share < 0.6
    assert torch.equal(module.eval().labeled(images, images), module.labeled(images, images))


def test_a_channel_belongs_to_the_class_whose_logits_it_resembles():
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 8, 12, generator=rng)
    images = torch.randn(2, 6, C, generator=rng)
    found = channel_classes(images, logits, (2, 3))
    for image, maps, row in zip(images, logits, found, strict=True):
        small = F.interpolate(maps[None], (2, 3), mode="bilinear", align_corners=False)[0]
        for channel in range(C):
            vector = image[:, channel]
            cosines = [F.cosine_similarity(vector, k.flatten(), dim=0).item() for k in small]
            assert row[channel] == cosines.index(max(cosines))
    assert found.dtype == torch.int64
    assert torch.equal(channel_classes(7 * images, 7 * logits, (2, 3)), found)
    assert not channel_classes(images, torch.zeros(2, 3, 8, 12), (2, 3)).any()
    volume = logits.unsqueeze(-1).expand(-1, -1, -1, -1, 4)
    assert torch.equal(channel_classes(images, volume, (2, 3, 1)), found)


def test_the_memory_lets_the_oldest_go_first():
    torch.manual_seed(0)
    memory = SemanticMemory(3, C, N)
    queues = [[memory.queue[k, place] for place in range(C)] for k in range(3)]
    ends = [0, 0, 0]
    rng = torch.Generator().manual_seed(1)
    for step in range(12):
        images = tokens(2, seed=step)
        classes = torch.randint(0, 3, (2, C), generator=rng)
        if step % 4 == 0:
            classes[0] = 1  # a whole queue at once
        memory.push(images, classes)
        for image, ids in zip(images, classes, strict=True):
            for channel, k in zip(image.T, ids.tolist(), strict=True):
                queues[k][ends[k]] = channel
                ends[k] = (ends[k] + 1) % C
        assert torch.equal(memory.queue, torch.stack([torch.stack(queue) for queue in queues]))
        assert memory.ends.tolist() == ends
    assert torch.equal(memory(), memory.queue.transpose(1, 2))


def test_the_memory_is_state_and_never_learns():
    torch.manual_seed(0)
    memory = SemanticMemory(3, C, N)
    images = tokens(2).requires_grad_()
    memory.push(images, torch.zeros(2, C, dtype=torch.int64))
    assert not memory.queue.requires_grad
    assert list(memory.parameters()) == []
    again = copy.deepcopy(memory)
    again.queue.zero_()
    again.load_state_dict(memory.state_dict())
    assert torch.equal(again(), memory())
    torch.manual_seed(0)
    assert torch.equal(SemanticMemory(3, C, N).queue[1:], memory.queue[1:])
