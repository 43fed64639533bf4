"""What the agent score costs beside a training step, and against the matrix that it does without.

Called by ``benchmark.py agent``. The step is FixMatch's: labelled and strong images with gradients, weak ones
without, two cross-entropies, one update.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from medssl.networks import Network
from medssl.networks.images import FPN, DeepLabV3Plus
from medssl.reliability import AgentScoreSelector, ConfidenceThreshold, Selector
from medssl.reliability.agents import mutually_distant

CLASSES = 21
CHANNELS = 256
NETWORKS: dict[str, Callable[[], Network]] = {
    "fpn": partial(FPN, CLASSES),
    "resnet50": partial(DeepLabV3Plus, CLASSES, "resnet50"),
    "resnet101": partial(DeepLabV3Plus, CLASSES, "resnet101"),
}
Clock = Callable[[dict[str, Callable[[], object]], int], dict[str, float]]


class Step:
    """A training step with a selector.

    Args:
        network: what is trained.
        selector: who selects.
        batch: labelled images, and as many unlabelled ones.
        side: of the square images.
    """

    def __init__(self, network: Network, selector: Selector, *, batch: int, side: int) -> None:
        self.network, self.selector, self.batch = network, selector, batch
        device = next(network.parameters()).device
        self.images = torch.rand(3 * batch, 3, side, side, device=device)
        self.labels = torch.randint(0, CLASSES, (2 * batch, side, side), device=device)
        self.optimizer = torch.optim.SGD(network.parameters(), lr=0.001, momentum=0.9)

    def __call__(self) -> None:
        """The whole step."""
        self.learn(self.select())

    def look(self) -> tuple[Tensor, Tensor]:
        """Probabilities and embeddings of the weak images."""
        with torch.no_grad():
            output = self.network(self.images[2 * self.batch :])
            return output.logits[0].softmax(1), output.features[0]

    def select(self) -> Tensor:
        """Labels of all images, ignored where a pseudo-label is not believed."""
        views, features = self.look()
        selection = self.selector.select([views], features=[features])
        return torch.cat([self.labels[: self.batch], selection.labels.where(selection.mask, 255)])

    def learn(self, labels: Tensor) -> None:
        """Two cross-entropies, gradients and an update."""
        logits = self.network(self.images[: 2 * self.batch]).logits[0]
        supervised = F.cross_entropy(logits[: self.batch], labels[: self.batch])
        pixels = F.cross_entropy(
            logits[self.batch :], labels[self.batch :], ignore_index=255, reduction="none"
        )
        self.optimizer.zero_grad()
        torch.autograd.backward(supervised + pixels.mean())
        self.optimizer.step()


def operations(work: Callable[[], object]) -> float:
    """Floating-point operations of convolutions and matrix products in 10^9, a product and a sum as two."""
    with FlopCounterMode(display=False) as counter:
        work()
    return float(counter.get_total_flops()) / 1e9


def operations_of_a_step(name: str, *, batch: int, side: int) -> float:
    """Of a network's step without a selection; counted on shapes alone."""
    with torch.device("meta"):
        step = Step(NETWORKS[name](), ConfidenceThreshold(), batch=batch, side=side)
    return operations(step.look) + operations(lambda: step.learn(step.labels))


def by_matrix(embeddings: Tensor, first: int, count: int) -> list[int]:
    """Algorithm 2 as it is usually written: all cosines, and the largest to the chosen ones in every step."""
    cosines = embeddings @ embeddings.T
    chosen, left = [first], torch.ones(len(embeddings), dtype=torch.bool)
    while len(chosen) < count:
        left[chosen[-1]] = False
        largest = torch.where(left, cosines[chosen].amax(0), torch.inf)
        chosen.append(int(largest.argmin()))
    return chosen


def compare(clock: Clock, network: str, *, batch: int, side: int, repeats: int) -> None:
    """Print the cost of a selection as a share of the step, and the choice of agents both ways.

    Args:
        clock: seconds of works by name, measured in turns.
        network: a name of :data:`NETWORKS`.
        batch: see :class:`Step`, and so is the side.
        side: see there.
        repeats: rounds.
    """
    torch.manual_seed(0)
    selectors: dict[str, Selector] = {
        "confidence": ConfidenceThreshold(),
        "agent score": AgentScoreSelector(),
    }
    steps = {
        name: Step(NETWORKS[network](), selector, batch=batch, side=side)
        for name, selector in selectors.items()
    }
    views, features = steps["confidence"].look()
    works: dict[str, Callable[[], object]] = {f"step, {name}": step for name, step in steps.items()}
    for name, selector in selectors.items():
        works[f"selection, {name}"] = partial(selector.select, [views], features=[features])
    seconds = clock(works, repeats)
    print(f"{network}, {batch} labelled and {batch} unlabelled images of {side} x {side}")
    for name, value in seconds.items():
        print(f"  {name:28}{value:9.4f} s{value / seconds['step, confidence']:9.2%} of the step")
    for name in NETWORKS:
        channels = features.shape[1] if name == network else CHANNELS
        embeddings = torch.rand(batch, channels, *features.shape[2:])
        score = partial(selectors["agent score"].select, [views], features=[embeddings])
        ours, whole = operations(score), operations_of_a_step(name, batch=batch, side=side)
        print(f"  {name:12}{ours:9.2f} of {whole:9.1f} 10^9 operations a step{ours / whole:9.2%}")
    for count in (1024, 4096, 8848):  # 1% of 6 and of 25 image crops; of one volume patch of 96^3
        generator = torch.Generator().manual_seed(0)
        # In float64 no rounding decides between two agents.
        exact = F.normalize(torch.randn(count, CHANNELS, generator=generator, dtype=torch.float64), dim=1)
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
