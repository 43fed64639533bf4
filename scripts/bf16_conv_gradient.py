"""Convolutions in bfloat16 on a CPU against float32, for a report to oneDNN and PyTorch; needs torch alone.

    python scripts/bf16_conv_gradient.py

One line a case: sides of the map, kernel, memory layout, and by how much output, input gradient and weight
gradient differ from float32 ones of the same numbers, as a share of their norm. Healthy rounding is 0.002.
The line ends in WRONG above 0.02; a weight gradient has, beside it, the error of each of its slices along the
first axis. What is wrong comes from memory outside the map, so that it differs from run to run and may be
infinite. Every case runs in a process of its own, for the fault can end one (CRASHED).
``ONEDNN_VERBOSE=1`` in front names the kernel, ``ONEDNN_MAX_CPU_ISA=AVX2`` avoids it.
"""

import os
import subprocess
import sys

import torch
from torch import Tensor
from torch.nn import functional as F

Case = tuple[str, tuple[int, ...], tuple[int, ...], int, int, int, str]
CUBE = (3, 3, 3)
# operation, sides of the map, kernel, stride, padding (of the first axis: half the kernel), channels, layout
CASES: list[Case] = [
    *[("conv", (d, 4, 4), CUBE, 1, 1, 16, layout) for d in (1, 2, 3, 4) for layout in ("abcde", "acdeb")],
    *[("conv", sides, CUBE, 1, 1, 16, "abcde") for sides in ((4, 2, 4), (4, 4, 2), (2, 2, 2), (2, 6, 6))],
    *[("conv", (2, 4, 4), CUBE, 1, 1, c, layout) for c in (4, 8, 64, 256) for layout in ("abcde", "acdeb")],
    *[("conv", (d, 6, 6), (5, 3, 3), 1, 1, 16, "abcde") for d in (2, 3, 4, 5)],
    *[("conv", (d, 6, 6), (7, 3, 3), 1, 1, 16, "abcde") for d in (3, 4, 5, 6, 7)],
    *[("conv", (6, h, 6), (3, 5, 3), 1, 1, 16, "abcde") for h in (1, 2, 5)],
    *[("conv", sides, (2, 2, 2), 2, 0, 16, "abcde") for sides in ((2, 2, 2), (2, 4, 4), (4, 4, 4))],
    *[("conv", sides, (1, 1, 1), 1, 0, 16, "abcde") for sides in ((1, 2, 2), (2, 2, 2))],
    *[("transposed", (d, 4, 4), CUBE, 1, 1, 16, "abcde") for d in (1, 2, 3)],
    *[("transposed", (d, 2, 2), (2, 2, 2), 2, 0, 16, "abcde") for d in (1, 2)],
]


def run(case: Case, low: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Output and gradients; the numbers given are all exact in bfloat16."""
    operation, sides, kernel, stride, padding, channels, layout = case
    memory = torch.channels_last_3d if layout == "acdeb" else torch.contiguous_format
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, channels, *sides, generator=generator).bfloat16().float()
    weight = (torch.randn(channels, channels, *kernel, generator=generator) / 10).bfloat16().float()
    image = image.contiguous(memory_format=memory).requires_grad_()
    weight = weight.contiguous(memory_format=memory).requires_grad_()
    pads = [side // 2 if padding else 0 for side in kernel]
    apply = F.conv3d if operation == "conv" else F.conv_transpose3d
    with torch.autocast("cpu", torch.bfloat16, enabled=low):
        output = apply(image, weight, stride=stride, padding=pads)
    slope = torch.randn(output.shape, generator=generator).bfloat16()
    torch.autograd.backward(output, slope.to(output.dtype).contiguous(memory_format=memory))
    assert image.grad is not None
    assert weight.grad is not None
    return output.detach(), image.grad, weight.grad


def error(result: Tensor, expected: Tensor) -> float:
    """Norm of the difference, of the expected norm (of 1 where that is 0)."""
    norm = float(expected.double().norm())
    return float((result.double() - expected.double()).norm()) / (norm or 1.0)


def line(case: Case) -> str:
    """One row of the table."""
    lowered, exact = run(case, True), run(case, False)
    errors = [error(*pair) for pair in zip(lowered, exact, strict=True)]
    text = "  ".join(f"{value:8.1e}" for value in errors)
    if all(value < 0.02 for value in errors):
        return text
    slices = [error(lowered[2][:, :, i], exact[2][:, :, i]) for i in range(case[2][0])]
    return f"{text}  WRONG  slices {' '.join(f'{value:.1e}' for value in slices)}"


def main() -> None:
    """Print the table, or one row where a number is given."""
    if len(sys.argv) > 1:
        print(line(CASES[int(sys.argv[1])]))
        return
    print("torch", torch.__version__, "on", torch.backends.cpu.get_cpu_capability())
    print(*(text for text in torch.__config__.show().splitlines() if "MKL-DNN" in text))
    print("operation   map    kernel stride channels layout  output  d input  d weight")
    for number, (operation, sides, kernel, stride, _, channels, layout) in enumerate(CASES):
        done = subprocess.run(
            [sys.executable, __file__, str(number)],
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")},
            check=False,
        )
        sizes = ["x".join(map(str, size)) for size in (sides, kernel)]
        found = done.stdout.rstrip() if done.returncode == 0 else f"CRASHED (status {done.returncode})"
        print(
            f"{operation:10} {sizes[0]:7} {sizes[1]:7} {stride:3} {channels:6}    {layout}  {found}",
            flush=True,
        )


if __name__ == "__main__":
    main()
