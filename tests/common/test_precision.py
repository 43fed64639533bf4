import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from medssl.common.precision import autocast, is_unsafe_in_bf16
from medssl.networks import DualDecoderVNet

CPU = torch.device("cpu")
LAYOUTS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last_3d}
# Along every axis, from the smallest patch of the V-Net on; a side of 32 is a deepest map of side 2.
PATCHES = [
    *[(side, 32, 32) for side in (16, 32, 48, 64, 80, 96)],
    *[(32, side, 32) for side in (16, 48, 64, 80, 96)],
    *[(32, 32, side) for side in (16, 48, 64, 80, 96)],
    *[(48, 48, 32), (48, 32, 48), (16, 16, 16), (64, 16, 64)],
]


def differs_by(result, expected):
    """Norm of the difference, of the expected norm."""
    norm = (result.double() - expected.double()).norm() / expected.double().norm().clamp(min=1e-30)
    return float(norm) if norm.isfinite() else math.inf


def convolution_errors(network, images):
    """Per convolution: outputs and gradients under bf16 against float32 ones of the same inputs.

    A comparison of the two networks' gradients as a whole says little: rounding turns ReLUs on and off,
    which an untrained network of 20 layers amplifies to the size of the gradient itself. Each layer,
    compared on what it was given in the bf16 pass, has nothing but its own rounding.
    """
    calls = []

    def record(module, inputs, output):
        entry = {"module": module, "input": inputs[0].detach(), "output": output.detach()}
        output.register_hook(lambda grad: entry.update(grad=grad.detach()))
        calls.append(entry)

    modules = {m: n for n, m in network.named_modules() if isinstance(m, nn.Conv3d | nn.ConvTranspose3d)}
    hooks = [module.register_forward_hook(record) for module in modules]
    with autocast(CPU, "bf16"):
        output = network(images)
    loss = sum(F.cross_entropy(view.float(), (images[:, 0] > 0).long()) for view in output.logits)
    torch.autograd.backward(loss)
    for hook in hooks:
        hook.remove()
    errors = {}
    for call in calls:
        module = call["module"]
        parameters = [module.weight.detach().bfloat16().float().requires_grad_(), module.bias.detach()]
        image = call["input"].bfloat16().float().requires_grad_()
        expected = torch.func.functional_call(
            module, dict(zip(("weight", "bias"), parameters, strict=True)), (image,)
        )
        expected.backward(call["grad"].float())
        errors[modules[module]] = (
            differs_by(call["output"], expected.detach()),
            differs_by(module.weight.grad, parameters[0].grad),
        )
    assert len(errors) == len(modules)
    return errors


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: "x".join(map(str, patch)))
def test_bf16_gradients_of_the_network_are_those_of_float32(patch, layout):
    torch.manual_seed(0)
    network = DualDecoderVNet(width=2, dropout=0.0).to(memory_format=LAYOUTS[layout])
    images = torch.randn(2, 1, *patch).contiguous(memory_format=LAYOUTS[layout])
    errors = convolution_errors(network, images)
    # bf16 has 8 bits: 0.2 to 0.4% of rounding; what the fault leaves is 70% wrong or infinite.
    wrong = {name: error for name, error in errors.items() if not max(error) < 0.02}
    assert not wrong


def test_a_small_convolution_returns_bf16_and_computes_in_float32():
    layer = nn.Conv3d(16, 16, 3, padding=1)
    image = torch.randn(1, 16, 2, 4, 4)
    with autocast(CPU, "bf16"):
        output = layer(image)
        called_by_name = F.conv3d(input=image, weight=layer.weight, bias=layer.bias, padding="same")
    assert output.dtype is torch.bfloat16
    torch.testing.assert_close(output, layer(image).bfloat16(), rtol=0, atol=0)
    torch.testing.assert_close(called_by_name, output, rtol=0, atol=0)


def test_a_large_convolution_runs_in_bf16():
    layer = nn.Conv3d(16, 16, 3, padding=1)
    image = torch.randn(1, 16, 4, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        expected = layer(image)
    with autocast(CPU, "bf16"):
        torch.testing.assert_close(layer(image), expected, rtol=0, atol=0)


@pytest.mark.parametrize("precision", ["off", "fp16"])
def test_other_precisions_are_those_of_torch(precision):
    layer = nn.Conv3d(4, 4, 3, padding=1)
    image = torch.randn(1, 4, 2, 4, 4)
    with torch.autocast("cpu", torch.float16, enabled=precision == "fp16"):
        expected = layer(image)
    with autocast(CPU, precision):
        torch.testing.assert_close(layer(image), expected, rtol=0, atol=0)


@pytest.mark.slow
def test_a_compiled_network_is_covered():
    layer = nn.Conv3d(16, 16, 3, padding=1)
    image = torch.randn(1, 16, 2, 4, 4)
    compiled = torch.compile(layer, backend="eager")
    with autocast(CPU, "bf16"):
        output = compiled(image)
    torch.testing.assert_close(output, layer(image).bfloat16(), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("operation", "image", "kernel", "options", "unsafe"),
    [
        (F.conv3d, (2, 4, 4), (3, 3, 3), {"padding": 1}, True),
        (F.conv3d, (4, 2, 4), (3, 3, 3), {"padding": 1}, True),
        (F.conv3d, (3, 3, 3), (3, 3, 3), {"padding": 1}, False),
        (F.conv3d, (4, 4, 4), (3, 3, 3), {"padding": 2, "dilation": 2}, True),
        (F.conv3d, (2, 2, 2), (1, 1, 1), {}, False),
        (F.conv3d, (4, 4, 4), (2, 2, 2), {"stride": 2}, False),
        (F.conv3d, (4, 4, 2), (2, 2, 2), {"stride": 2}, True),
        (F.conv2d, (8, 2), (3, 3), {"padding": (1, 1)}, True),
        (F.conv2d, (8, 8), (3, 3), {"padding": "valid"}, False),
        (F.conv_transpose3d, (2, 2, 2), (3, 3, 3), {"padding": 1}, True),
        (F.conv_transpose3d, (2, 2, 2), (2, 2, 2), {"stride": 2}, False),
        (F.conv_transpose3d, (2, 2, 1), (2, 2, 2), {"stride": 2}, True),
        (F.conv_transpose3d, (1, 2, 2), (3, 3, 3), {"stride": 2, "padding": 1, "output_padding": 1}, True),
    ],
)
def test_shapes_decide(operation, image, kernel, options, unsafe, monkeypatch):
    judged = []
    monkeypatch.setattr(
        "medssl.common.precision.is_unsafe_in_bf16",
        lambda *shapes: judged.append(shapes) or is_unsafe_in_bf16(*shapes),
    )
    with autocast(CPU, "bf16"):
        output = operation(torch.randn(1, 4, *image), torch.randn(4, 4, *kernel), **options)
    larger, smaller = (
        (image, output.shape[2:]) if "transpose" not in operation.__name__ else (output.shape[2:], image)
    )
    ((sides, others, *_),) = judged
    assert (tuple(sides), tuple(others)) == (tuple(larger), tuple(smaller))
    assert is_unsafe_in_bf16(*judged[0]) is unsafe
