"""Speed and memory against plain baselines, as ratios in one run.

``benchmark.py train``: a TCSeg step against the plain one in ``plain_tcseg.py``.
``benchmark.py infer``: one volume against both decoders, one window at a time, float32, contiguous.
``benchmark.py metrics``: one case's Dice, 95HD, ASD and ASSD against medpy.
``benchmark.py views``: the weak and the strong view of an image against those of other libraries.
``benchmark.py agent``: AgScore's selection against a training step on images, and its greedy choice against
an n x n matrix.

Variants are interleaved and medians compared, so that what else the machine does falls on all of them.
Peak memory is that of a process of its own for each variant, less what it had before the work began.
"""

import argparse
import copy
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from agent_cost import NETWORKS, compare
from image_view_rivals import strong_rivals, weak_rivals
from medpy.metric import binary as medpy
from plain_tcseg import plain_step, plain_teacher_update
from scipy import ndimage
from torch import Tensor, nn

from medssl.common.precision import autocast
from medssl.data.batches.image_crops import CropDraw
from medssl.inference.deployable import deployable
from medssl.inference.sliding_window import SlidingWindowProbabilities
from medssl.methods import Batch, SigmoidRamp, TCSeg
from medssl.metrics import MaskPair
from medssl.networks import Deployed, DualDecoderVNet

CHANNELS_LAST = torch.channels_last_3d
Work = Callable[[], object]
Rows = dict[str, tuple[float, float | None, str]]


def interleaved(
    variants: dict[str, Work], repeats: int, *, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Median seconds of each variant; one unmeasured round first."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for round_number in range(repeats + 1):
        for name, work in variants.items():
            began = clock()
            work()
            if round_number:
                seconds[name].append(clock() - began)
    return {name: statistics.median(values) for name, values in seconds.items()}


def synthetic_batch(patch: list[int], seed: int = 0) -> Batch:
    """Two labelled and two unlabelled patches with a bright ball each."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in patch), indexing="ij"))
    labels = np.stack(
        [np.linalg.norm(grid - rng.uniform(-0.3, 0.3, (3, 1, 1, 1)), axis=0) < 0.5 for _ in range(4)]
    )
    images = torch.from_numpy(labels + 0.5 * rng.standard_normal(labels.shape)).float().unsqueeze(1)
    ids = torch.from_numpy(labels).long()
    return Batch(images[:2], ids[:2], {"weak": images[2:]})


class TrainVariant:
    """One way to train; ``step`` takes the next step."""

    def __init__(self, name: str, patch: list[int], width: int) -> None:
        torch.manual_seed(0)
        self.plain = name == "plain"
        self.bf16 = name.endswith("bf16")
        self.layout = CHANNELS_LAST if "channels-last" in name else torch.contiguous_format
        network = DualDecoderVNet(width=width)
        for parameter in network.parameters():
            if parameter.ndim == 5:
                parameter.data = parameter.data.contiguous(memory_format=self.layout)
        self.method = TCSeg(network, ramp=SigmoidRamp(1.0, 0), warmup=0)
        self.teacher: nn.Module = copy.deepcopy(network).requires_grad_(False)
        batch = synthetic_batch(patch)
        self.batch = Batch(
            batch.labeled_images.contiguous(memory_format=self.layout),
            batch.labels,
            {"weak": batch.unlabeled["weak"].contiguous(memory_format=self.layout)},
        )
        self.optimizer = torch.optim.SGD(
            network.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4, fused=not self.plain,
            foreach=False,
        )  # fmt: skip
        self.done = 0

    def backward(self) -> Tensor:
        """Loss and gradients of the next step."""
        network = self.method.network
        torch.manual_seed(self.done)
        self.optimizer.zero_grad()
        if self.plain:
            loss = plain_step(network, self.teacher, self.batch, self.method, self.done, ramp=1.0)
        else:
            with autocast(torch.device("cpu"), "bf16" if self.bf16 else "off"):
                loss = self.method.training_step(self.batch, self.done)["loss"]
        torch.autograd.backward(loss)
        return loss

    def step(self) -> None:
        """A whole step."""
        self.backward()
        self.optimizer.step()
        if self.plain:
            plain_teacher_update(self.teacher, self.method.network, self.done)
        else:
            self.method.after_step(self.done)
        self.done += 1

    def gradient(self) -> Tensor:
        """All gradients as one vector."""
        self.backward()
        return torch.cat([p.grad.flatten() for p in self.method.network.parameters() if p.grad is not None])


TRAIN = ("plain", "medssl", "medssl channels-last", "medssl channels-last bf16")
INFER = ("plain", "medssl", "medssl bf16")


def infer_variant(name: str, patch: list[int], stride: list[int], width: int, volume: list[int]) -> Work:
    """One way to segment a volume."""
    torch.manual_seed(0)
    network = DualDecoderVNet(width=width).eval()
    image = torch.randn(1, 1, *volume)
    if name == "plain":
        inferer = SlidingWindowProbabilities(patch, stride=stride, batch_size=1, channels_last=False)
        return lambda: inferer(image, network)
    ready = deployable(Deployed(network))
    fast = SlidingWindowProbabilities(patch, stride=stride, amp="bf16" if name.endswith("bf16") else "off")
    return lambda: fast(image, ready)


def high_water() -> float:
    """Largest memory of this process so far in MiB; Linux only.

    Not ``getrusage``, whose maximum a child inherits from the process that started it.
    """
    status = Path("/proc/self/status").read_text()
    return float(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def peak_memory(arguments: argparse.Namespace, variant: str) -> float:
    """MiB that one round of a variant needs, in a process of its own."""
    command = [
        sys.executable,
        __file__,
        arguments.command,
        "--peak-of",
        variant,
        "--width",
        str(arguments.width),
    ]
    for option in ("patch", "stride", "volume"):
        command += [f"--{option}", *map(str, getattr(arguments, option))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout))


def print_table(rows: Rows) -> None:
    """Seconds, ratio to the first row, memory and a remark."""
    base_time, base_memory, _ = next(iter(rows.values()))
    print(f"{'variant':28}{'s':>9}{'times faster':>14}{'peak MiB':>10}{'of plain':>10}  remark")
    for name, (seconds, memory, remark) in rows.items():
        cells = f"{seconds:9.3f}{base_time / seconds:14.2f}"
        if memory is not None and base_memory:
            cells += f"{memory:10.0f}{memory / base_memory:10.2f}"
        print(f"{name:28}{cells}  {remark}")


def train(arguments: argparse.Namespace) -> None:
    """Compare training steps."""
    variants = {name: TrainVariant(name, arguments.patch, arguments.width) for name in TRAIN}
    gradients = {name: variant.gradient() for name, variant in variants.items()}
    errors = {
        n: float((g - gradients["plain"]).norm() / gradients["plain"].norm()) for n, g in gradients.items()
    }
    times = interleaved({n: v.step for n, v in variants.items()}, arguments.repeats)
    rows: Rows = {
        n: (times[n], peak_memory(arguments, n), f"gradient differs by {errors[n]:.1e} of its norm")
        for n in TRAIN
    }
    print_table(rows)


def infer(arguments: argparse.Namespace) -> None:
    """Compare inference."""
    works = {
        n: infer_variant(n, arguments.patch, arguments.stride, arguments.width, arguments.volume)
        for n in INFER
    }
    outputs = {n: work() for n, work in works.items()}
    plain = outputs["plain"]
    assert isinstance(plain, Tensor)
    times = interleaved(works, arguments.repeats)
    rows: Rows = {}
    for name, output in outputs.items():
        assert isinstance(output, Tensor)
        worst = float((output - plain).abs().max())
        changed = float((output.argmax(1) != plain.argmax(1)).float().mean())
        remark = f"probabilities differ by at most {worst:.1e}, {changed:.3%} of labels change"
        rows[name] = (times[name], peak_memory(arguments, name), remark)
    print_table(rows)


def metrics(arguments: argparse.Namespace) -> None:
    """Compare the metrics of a case of left-atrium size."""
    rng = np.random.default_rng(0)
    shape, spacing = (200, 144, 88), (0.625, 0.625, 0.625)
    smooth = [ndimage.gaussian_filter(rng.standard_normal(shape), 12) for _ in range(2)]
    pred, ref = smooth[0] > 0.01, smooth[0] + 0.2 * smooth[1] > 0.01

    def theirs() -> tuple[float, ...]:
        return (
            medpy.dc(pred, ref),
            medpy.hd95(pred, ref, spacing),
            medpy.asd(pred, ref, spacing),
            medpy.assd(pred, ref, spacing),
        )

    def ours() -> tuple[float, ...]:
        masks = MaskPair(pred, ref, spacing)
        distances = masks.surfaces
        return masks.dice, distances.hausdorff95, distances.asd, distances.assd

    worst = max(abs(a - b) for a, b in zip(theirs(), ours(), strict=True))
    times = interleaved({"medpy": theirs, "medssl": ours}, arguments.repeats)
    print_table({n: (t, None, f"values differ by at most {worst:.1e}") for n, t in times.items()})


def views(arguments: argparse.Namespace) -> None:
    """Compare views of an image of PASCAL VOC's size and, with ``--street``, of Cityscapes'."""
    size, crop = ((1024, 2048), (801, 801)) if arguments.street else ((375, 500), (321, 321))
    noise = np.random.default_rng(0).random((3, *size), np.float32)
    smooth = ndimage.gaussian_filter(noise, (0, 3, 3))
    image = torch.from_numpy((smooth - smooth.min()) / np.ptp(smooth))
    repeats = max(arguments.repeats, 15)
    for factor in (0.5, 1.25, 2.0):
        resized = (round(size[0] * factor), round(size[1] * factor))
        start = (max(resized[0] - crop[0], 0) // 2, max(resized[1] - crop[1], 0) // 2)
        print(f"weak view at {factor:g} of {size[0]} x {size[1]}, crop {crop[0]} x {crop[1]}")
        _print_views(weak_rivals(image, CropDraw(resized, start, flip=False), crop), repeats)
    print("strong view: jitter of all four, blur")
    _print_views(strong_rivals(image[:, : crop[0], : crop[1]].contiguous()), repeats)


def _print_views(rivals: dict[str, Callable[[], Tensor]], repeats: int) -> None:
    expected = rivals["medssl"]()
    errors = {name: float((view() - expected).abs().max()) for name, view in rivals.items()}
    times = interleaved(dict(rivals), repeats)
    for name, seconds in times.items():
        ratio = seconds / times["medssl"]
        print(f"  {name:32}{1000 * seconds:9.2f} ms{ratio:8.2f}  differs by at most {errors[name]:.1e}")


def agent(arguments: argparse.Namespace) -> None:
    """Compare a selection of pseudo-labels with the step that it is part of."""
    # The processor's time: a selection is short, and what else the machine does would be most of it.
    clock = partial(interleaved, clock=time.process_time)
    compare(clock, arguments.network, batch=arguments.batch, side=arguments.side, repeats=arguments.repeats)


def main() -> None:
    """Run one comparison."""
    parser = argparse.ArgumentParser(description="speed and memory against plain baselines")
    parser.add_argument("command", choices=("train", "infer", "metrics", "views", "agent"))
    parser.add_argument("--patch", type=int, nargs=3, default=[48, 48, 32])
    parser.add_argument("--stride", type=int, nargs=3, default=[24, 24, 16])
    parser.add_argument("--volume", type=int, nargs=3, default=[120, 72, 44], help="for infer")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch", type=int, default=2, help="for agent: labelled images, and unlabelled")
    parser.add_argument("--side", type=int, default=161, help="for agent: of the square images")
    parser.add_argument("--network", choices=tuple(NETWORKS), default="fpn", help="for agent")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--street", action="store_true", help="views: of an image of Cityscapes' size")
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.peak_of is None:
        print(f"# {Path(__file__).name} {' '.join(sys.argv[1:])}; torch {torch.__version__}, "
              f"{torch.get_num_threads()} thread(s)")  # fmt: skip
        comparisons = {"train": train, "infer": infer, "metrics": metrics, "views": views, "agent": agent}
        comparisons[arguments.command](arguments)
        return
    name = arguments.peak_of
    work: Work
    if arguments.command == "train":
        work = TrainVariant(name, arguments.patch, arguments.width).step
    else:
        work = infer_variant(name, arguments.patch, arguments.stride, arguments.width, arguments.volume)
    before = high_water()
    work()
    print(json.dumps(high_water() - before))


if __name__ == "__main__":
    main()
