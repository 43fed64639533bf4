"""What a training step costs on this machine: the bundle's own trainer takes a few, of made-up scans."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from ignite.engine import Events
from monai.bundle import ConfigParser
from torch import Tensor

from medssl.common.memory import peak_growth_mb
from medssl.planning.rules.patches import Patch, StepCost

STEPS = 4
"""Steps that are timed, the first of which warms up and does not count."""

LONG_ENOUGH = 20.0
"""Seconds after which fewer steps do."""


class RandomBatches:
    """One batch of noise with labels in slabs, again and again.

    Args:
        patch_size: of scans.
        in_channels: of scans.
        num_classes: of labels.
        labeled: rows with a label.
        unlabeled: rows without one.
        views: of these.
        partners: whether as many rows again stand behind them.
        seed: of the noise.
    """

    def __init__(
        self,
        patch_size: Sequence[int],
        *,
        in_channels: int,
        num_classes: int,
        labeled: int,
        unlabeled: int,
        views: Sequence[str],
        partners: bool = False,
        seed: int = 0,
    ) -> None:
        draws = torch.Generator().manual_seed(seed)

        def noise(rows: int) -> Tensor:
            return torch.randn(rows, in_channels, *patch_size, generator=draws)

        slabs = torch.arange(patch_size[0]) * num_classes // patch_size[0]
        label = slabs.reshape(-1, *[1] * (len(patch_size) - 1)).expand(*patch_size)
        rows = unlabeled * (2 if partners else 1)
        self.batch = {
            "image": noise(labeled),
            "label": label.expand(labeled, *patch_size).clone(),
            "unlabeled": {view: noise(rows) for view in views},
        }

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        """The batch, without end."""
        while True:
            yield self.batch


class StepTimer:
    """Times steps and predictions of a training that config files describe.

    Args:
        files: config files of the training: the bundle's, and overlays of method and network.
        settings: over them.
        device: where to train.
        seed: of weights and scans.
    """

    def __init__(
        self, files: Sequence[str | Path], settings: Mapping[str, Any], *, device: torch.device, seed: int = 0
    ) -> None:
        self.files, self.settings, self.device, self.seed = list(files), dict(settings), device, seed

    def parts(self, patch: Patch, **settings: Any) -> ConfigParser:
        """The configuration with made-up batches of that patch; its parts are made when asked for."""
        torch.manual_seed(self.seed)
        parser = ConfigParser()
        parser.read_config([str(file) for file in self.files])
        batches = {
            "_target_": "medssl.planning.timing.RandomBatches",
            "patch_size": "@patch_size",
            "in_channels": "@in_channels",
            "num_classes": "@num_classes",
            "labeled": "@labeled_per_batch",
            "unlabeled": "@unlabeled_per_batch",
            "views": "$@method.views",
            "partners": "$@method.partners",
            "seed": self.seed,
        }
        parser.update(
            {
                **self.settings,
                **settings,
                "patch_size": list(patch),
                "stride": list(patch),
                "device": str(self.device),
                "seed": self.seed,
                "max_steps": STEPS,
                "steps_per_epoch": STEPS,
                "warmup_share": 0.0,  # all that a step does from some point on, it does here at once
                "learning_rate": 1e-5,
                "train::dataloader": batches,
                "train::handlers": [],
            }
        )
        parser.parse()
        return parser

    def step(self, patch: Patch, **settings: Any) -> StepCost:
        """Median time of a training step, and the memory that a training needs.

        Args:
            patch: its size.
            settings: over those of the timer, such as ``amp``.
        """
        seconds: list[float] = []

        def train() -> None:
            trainer = self.parts(patch, **settings).get_parsed_content("train::trainer")
            began = perf_counter()

            def start(engine: Any) -> None:
                nonlocal began
                began = perf_counter()

            def stop(engine: Any) -> None:
                if self.device.type == "cuda":
                    torch.cuda.synchronize(self.device)
                seconds.append(perf_counter() - began)
                if len(seconds) > 1 and sum(seconds) > LONG_ENOUGH:
                    engine.terminate()

            trainer.add_event_handler(Events.ITERATION_STARTED, start)
            trainer.add_event_handler(Events.ITERATION_COMPLETED, stop)
            trainer.run()

        memory = peak_growth_mb(train, self.device)
        return StepCost(statistics.median(seconds[1:] or seconds), memory)

    def window(self, patch: Patch, **settings: Any) -> float:
        """Seconds in which a window of a scan is predicted."""
        parser = self.parts(patch, **settings)
        method = parser.get_parsed_content("method").to(self.device).eval()
        inferer = parser.get_parsed_content("validate::inferer")
        scan = torch.randn(1, self.settings["in_channels"], *patch, device=self.device)
        seconds = []
        for _ in range(3):
            began = perf_counter()
            with torch.no_grad():
                inferer(scan, method).sum().item()
            seconds.append(perf_counter() - began)
        return min(seconds)

    def multiple(self) -> int | tuple[int, ...]:
        """What a side of a patch of the network is a multiple of."""
        network = self.parts((32, 32, 32)).get_parsed_content("network_def")
        multiple: int | tuple[int, ...] = network.patch_multiple
        return multiple
