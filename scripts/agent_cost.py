"""What the agent score costs beside a training step, and against the matrix that it does without.

Called by ``benchmark.py agent``. The step is FixMatch's: labelled and strong images with gradients, weak ones
without, two cross-entropies, one update; the network a plain convolutional one, small for an image
network, so that the shares that are printed are rather too high.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.reliability import AgentScoreSelector, ConfidenceThreshold, Selector
from medssl.reliability.agents import mutually_distant


class Plain(nn.Module):
    """Convolutions at strides 2, 4, 8 and 16, and embeddings at stride 4 before the classifier.

    Args:
        channels: of the embeddings.
        classes: ``K``.
        blocks: convolutions at every stride.
    """

    def __init__(self, channels: int, classes: int, blocks: int) -> None:
        super().__init__()
        sides, width = [3, 32, 64, 128, 256], 1
        stages = []
        for before, width in pairwise(sides):
            layers = [_convolution(before, width, 2)] + [
                _convolution(width, width, 1) for _ in range(blocks - 1)
            ]
            stages.append(nn.Sequential(*layers))
        self.stages = nn.ModuleList(stages)
        self.fuse = _convolution(64 + width, channels, 1)
        self.classifier = nn.Conv2d(channels, classes, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits ``(B, K, H, W)`` and embeddings ``(B, C, H / 4, W / 4)``."""
        maps, size = [], x.shape[2:]
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        deep = F.interpolate(maps[-1], maps[1].shape[2:], mode="bilinear")
        features = self.fuse(torch.cat([maps[1], deep], 1))
        return F.interpolate(self.classifier(features), size, mode="bilinear"), features


def _convolution(before: int, after: int, stride: int) -> nn.Module:
    convolution = nn.Conv2d(before, after, 3, stride, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU())


class Step:
    """A training step with a selector.

    Args:
        selector: who selects.
        batch: labelled images, and as many unlabelled ones.
        side: of the square images.
        channels: of the embeddings.
        blocks: convolutions at every stride.
        classes: ``K``.
    """

    def __init__(
        self, selector: Selector, *, batch: int, side: int, channels: int, blocks: int, classes: int = 21
    ) -> None:
        torch.manual_seed(0)
        self.selector, self.batch = selector, batch
        self.network = Plain(channels, classes, blocks)
        self.images = torch.rand(3 * batch, 3, side, side)
        self.labels = torch.randint(0, classes, (batch, side, side))
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=0.001, momentum=0.9)
        with torch.no_grad():
            logits, features = self.network(self.images[:batch])
        self.views, self.features = [logits.softmax(1)], [features]

    def __call__(self) -> None:
        """The whole step."""
        with torch.no_grad():
            logits, features = self.network(self.images[2 * self.batch :])
            selection = self.selector.select([logits.softmax(1)], features=[features])
        logits, _ = self.network(self.images[: 2 * self.batch])
        loss = F.cross_entropy(logits[: self.batch], self.labels)
        pixels = F.cross_entropy(logits[self.batch :], selection.labels, reduction="none")
        loss = loss + (pixels * selection.mask).mean()
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        self.optimizer.step()

    def select(self) -> None:
        """The selection alone."""
        self.selector.select(self.views, features=self.features)


def by_matrix(embeddings: Tensor, first: int, count: int) -> list[int]:
    """Algorithm 2 as it is usually written: all cosines, and the largest to the chosen ones in every step."""
    cosines = embeddings @ embeddings.T
    chosen, left = [first], torch.ones(len(embeddings), dtype=torch.bool)
    while len(chosen) < count:
        left[chosen[-1]] = False
        largest = torch.where(left, cosines[chosen].amax(0), torch.inf)
        chosen.append(int(largest.argmin()))
    return chosen


Clock = Callable[[dict[str, Callable[[], object]], int], dict[str, float]]


def compare(clock: Clock, *, batch: int, side: int, channels: int, blocks: int, repeats: int) -> None:
    """Print the cost of a selection as a share of the step, and the choice of agents both ways.

    Args:
        clock: seconds of works by name, measured in turns.
        batch: see :class:`Step`, and so are the others.
        side: see there.
        channels: see there.
        blocks: see there.
        repeats: rounds.
    """
    options = {"batch": batch, "side": side, "channels": channels, "blocks": blocks}
    plain, agent = Step(ConfidenceThreshold(0.0), **options), Step(AgentScoreSelector(), **options)
    seconds = clock(
        {
            "step, confidence": plain,
            "step, agent score": agent,
            "selection, confidence": plain.select,
            "selection, agent score": agent.select,
        },
        repeats,
    )
    parameters = sum(p.numel() for p in plain.network.parameters())
    print(
        f"batch {batch} + {batch}, {side} x {side}, {channels} channels, network of {parameters / 1e6:.2f} M"
    )
    for name, value in seconds.items():
        print(f"  {name:28}{value:9.4f} s{value / seconds['step, confidence']:9.2%} of the step")
    for count in (1024, 4096, 8848):  # 1% of 6 and of 25 image crops; of one volume patch of 96^3
        generator = torch.Generator().manual_seed(0)
        # In float64 no rounding decides between two agents.
        exact = F.normalize(torch.randn(count, channels, generator=generator, dtype=torch.float64), dim=1)
        embeddings, first = exact.float(), torch.zeros(1, dtype=torch.int64)
        every = torch.ones(count, dtype=torch.bool)
        times = clock(
            {
                "matrix": partial(by_matrix, embeddings, 0, 256),
                "maximum": partial(mutually_distant, embeddings, every, first, 256),
            },
            repeats,
        )
        same = mutually_distant(exact, every, first, 256).tolist() == by_matrix(exact, 0, 256)
        print(
            f"  256 of {count} candidates: {times['matrix']:.4f} s and {4 * count**2 / 2**20:.0f} MiB "
            f"by matrix, "
            f"{times['maximum']:.4f} s and {4 * count / 2**20:.2f} MiB by running maximum, "
            f"{times['matrix'] / times['maximum']:.1f} times faster, {'the same' if same else 'OTHER'} agents"
        )
