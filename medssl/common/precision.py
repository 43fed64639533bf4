"""Autocast that keeps small convolutions on a CPU out of bfloat16, where torch computes them wrongly."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

Precision = Literal["off", "bf16", "fp16"]
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@contextmanager
def autocast(device: torch.device, precision: Precision) -> Iterator[None]:
    """The precision that a network runs in, for training and for inference.

    On a CPU, convolutions that bfloat16 kernels compute wrongly (:func:`is_unsafe_in_bf16`) run in float32,
    and so do their gradients. They are those of the smallest maps, so that this costs little.

    Args:
        device: where the network runs.
        precision: ``"off"`` for float32, ``"bf16"`` or ``"fp16"``.
    """
    dtype = _DTYPES.get(precision)
    with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
        if device.type == "cpu" and dtype is torch.bfloat16:
            with _UnsafeConvolutionsInFloat32():
                yield
        else:
            yield


def is_unsafe_in_bf16(
    larger: Sequence[int], smaller: Sequence[int], kernel: Sequence[int], stride: Sequence[int]
) -> bool:
    """Whether a convolution in bfloat16 on a CPU may be wrong, by the shapes alone.

    Either of two faults of oneDNN, the library behind torch's convolutions (``docs/known_issues.md``):

    - a kernel that reaches further than the map: weight gradients from memory outside the map
      (AVX-512, oneDNN 3.12; 3x3x3 kernels on maps whose first side is 2, among others);
    - one output position along the last axis with a stride above 1: wrong outputs (AMX).

    Args:
        larger: sides of a convolution's input, or of a transposed convolution's output.
        smaller: sides of its output, or of a transposed convolution's input.
        kernel: sides of the kernel, gaps of a dilation included.
        stride: its strides.
    """
    reaches_out = any(side < reach for side, reach in zip(larger, kernel, strict=True))
    return reaches_out or (smaller[-1] == 1 and stride[-1] > 1)


class _UnsafeConvolutionsInFloat32(TorchFunctionMode):
    """Runs those calls of torch's convolutions in float32; the output has the type that it would have had.

    A mode, and not a module, so that any network is covered, and functional calls with it.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        judge = _JUDGES.get(func)
        if judge is None or not judge(*args, **kwargs):
            return func(*args, **kwargs)
        with torch.autocast("cpu", enabled=False):
            output: Tensor = func(
                *(_in_float32(value) for value in args),
                **{name: _in_float32(value) for name, value in kwargs.items()},
            )
        return output.to(torch.bfloat16)


def _in_float32(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) else value


def _is_lowered(image: Tensor) -> bool:
    lowered = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") is torch.bfloat16
    return image.dtype is torch.bfloat16 or (lowered and image.dtype is torch.float32)


def _of_convolution(
    input: Tensor,  # noqa: A002 (torch's names: they may be given as keywords)
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> bool:
    if not _is_lowered(input):
        return False
    axes = weight.ndim - 2
    # "same" and "valid": the first comes without strides, and then the output's size does not matter.
    pads = (0,) * axes if isinstance(padding, str) else _per_axis(padding, axes)
    sides, strides, reach = input.shape[-axes:], _per_axis(stride, axes), _reach(weight, dilation)
    output = [
        (side + 2 * pad - extent) // step + 1
        for side, pad, extent, step in zip(sides, pads, reach, strides, strict=True)
    ]
    return is_unsafe_in_bf16(sides, output, reach, strides)


def _of_transposed_convolution(
    input: Tensor,  # noqa: A002
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> bool:
    if not _is_lowered(input):
        return False
    axes = weight.ndim - 2
    sides, strides, reach = input.shape[-axes:], _per_axis(stride, axes), _reach(weight, dilation)
    pads, extra = _per_axis(padding, axes), _per_axis(output_padding, axes)
    output = [
        (side - 1) * step - 2 * pad + extent + more
        for side, step, pad, extent, more in zip(sides, strides, pads, reach, extra, strict=True)
    ]
    return is_unsafe_in_bf16(output, sides, reach, strides)


def _per_axis(value: int | Sequence[int], axes: int) -> tuple[int, ...]:
    values = (value,) if isinstance(value, int) else tuple(value)
    return values * axes if len(values) == 1 else values


def _reach(weight: Tensor, dilation: int | Sequence[int]) -> tuple[int, ...]:
    sides = weight.shape[2:]
    return tuple(
        (side - 1) * gap + 1 for side, gap in zip(sides, _per_axis(dilation, len(sides)), strict=True)
    )


_JUDGES: dict[Any, Callable[..., bool]] = {
    F.conv1d: _of_convolution,
    F.conv2d: _of_convolution,
    F.conv3d: _of_convolution,
    F.conv_transpose1d: _of_transposed_convolution,
    F.conv_transpose2d: _of_transposed_convolution,
    F.conv_transpose3d: _of_transposed_convolution,
}
