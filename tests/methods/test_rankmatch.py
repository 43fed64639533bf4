import pytest
import torch

from medssl.common.errors import InputError
from medssl.methods import RankMatch
from medssl.methods.rankmatch import paste_on_grid
from medssl.networks import EncoderDecoder, Output

from . import plain_weak_to_strong as plain
from .image_network import image_network, view_batch
from .test_fixmatch import boxes_of, gradients
from .test_unimatch import factors_of


@pytest.mark.parametrize("agents", [5, 64])
def test_loss_and_gradient_equal_the_plain_step(agents):
    network, again = image_network(), image_network()
    method = RankMatch(network, threshold=0.45, cutmix=1.0, seed=1, agents=agents).train()
    batch = view_batch(method, shape=(17, 21))  # a context of 5 x 6: not every place is a pixel's
    boxes, rng = boxes_of(method, batch, 2)
    losses = method.training_step(batch, 2)
    losses["loss"].backward()
    expected, (own, other, strong) = plain.unimatch(again, batch, boxes, 0.45, factors_of(rng, 4))
    ranks = []
    for box, view in zip(boxes, strong, strict=True):
        weak = paste_on_grid(box, other, own)
        first = rng.integers(weak[0, 0].numel(), size=len(weak))
        chosen = [
            plain.landmarks(image.flatten(1).T, agents, int(place))
            for image, place in zip(weak, first, strict=True)
        ]
        ranks.append(plain.rank_correlation(weak, view, chosen))
    rank = sum(ranks) / 2
    expected = expected + 0.1 * rank
    expected.backward()
    assert losses["rank"] > 1e-5
    torch.testing.assert_close(losses["rank"], rank.detach(), rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(losses["loss"], expected)
    torch.testing.assert_close(gradients(network), gradients(again), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("size", [(17, 33), (33, 33)])
def test_embeddings_are_pasted_as_on_the_images_grid(size):
    """Where coarse places fall on pixels."""
    torch.manual_seed(0)
    own, other = torch.randn(2, 3, 5, 9), torch.randn(2, 3, 5, 9)
    box = torch.zeros(2, *size, dtype=torch.bool)
    box[0, 3:12, 6:27] = True
    expected = plain.mixed_context(own, other, box, size)
    torch.testing.assert_close(paste_on_grid(box, other, own), expected, rtol=1e-4, atol=1e-5)


def test_weak_embeddings_carry_no_gradient_and_the_selector_has_no_say_in_ranks():
    ranks = []
    for threshold in (0.0, 1.0):
        method = RankMatch(image_network(), threshold=threshold).train()
        losses = method.training_step(view_batch(method), 0)
        ranks.append(losses["rank"])
    assert ranks[0] == ranks[1] > 0


def test_fine_grids_are_averaged_until_they_have_few_places():
    method = RankMatch(image_network(), max_positions=10)
    context = method._context(method.network(torch.randn(2, 1, 33, 33)))
    assert context.shape == (2, 8, 3, 3)  # from 9 x 9, by way of 5 x 5
    coarse = torch.nn.functional.avg_pool2d(method.network(torch.randn(2, 1, 32, 32)).context[0], 2)
    assert coarse.shape == (2, 8, 4, 4)


class Bare(EncoderDecoder):
    """Shows no embeddings."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv2d(1, 3, 1)

    def encode(self, x):
        return (x,)

    def decode(self, maps, size):
        return Output((self.layer(maps[0]),), ())


def test_refusals_are_one_line():
    with pytest.raises(InputError, match=r"top=9.*agents=64.*give 2 to 5"):
        RankMatch(image_network(), top=9)
    with pytest.raises(InputError, match="max_positions=1"):
        RankMatch(image_network(), max_positions=1)
    method = RankMatch(Bare())
    with pytest.raises(InputError, match="network Bare: shows no embeddings"):
        method.training_step(view_batch(method), 0)
