"""Images of any size through a network that takes multiples of a number alone."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medssl.networks import Fitting, Output
from medssl.reliability.grids import LINEAR


class Fitted(nn.Module):
    """A network that takes images of any size, and gives logits of that size.

    Sides that are no multiples are brought to some, and the logits back. The network says how
    (:attr:`medssl.networks.Network.fitting`): ``"pad"`` adds zeros on both sides up to the next multiples and
    takes them off again; ``"resize"`` interpolates to the nearest multiples and back, with aligned corners,
    as UniMatch V2 evaluates transformers (Yang et al. 2025, published code). An image whose sides are
    multiples, such as a window, passes as it is.

    Args:
        network: gives logits ``(B, K, *S)`` or an :class:`~medssl.networks.Output`, of which the logits are
            passed on.
        multiple: what sides must be multiples of; one number, or one an axis.
        fitting: how they become so.
    """

    def __init__(
        self, network: nn.Module, *, multiple: int | Sequence[int] = 1, fitting: Fitting = "pad"
    ) -> None:
        super().__init__()
        self.network, self.multiple, self.fitting = network, multiple, fitting

    def forward(self, x: Tensor) -> Tensor | Output:
        """What the network gives, on the grid of ``x`` ``(B, C, *S)``."""
        size = list(x.shape[2:])
        multiples = [self.multiple] * len(size) if isinstance(self.multiple, int) else list(self.multiple)
        pairs = list(zip(size, multiples, strict=True))
        if self.fitting == "pad":
            target = [-(-side // step) * step for side, step in pairs]
        else:
            target = [max(step, (2 * side + step) // (2 * step) * step) for side, step in pairs]
        if target == size:
            given: Tensor | Output = self.network(x)
            return given
        before = [(wide - side) // 2 for wide, side in zip(target, size, strict=True)]
        if self.fitting == "pad":
            widths = [(b, wide - side - b) for b, wide, side in zip(before, target, size, strict=True)]
            output = self.network(F.pad(x, [width for pair in reversed(widths) for width in pair]))
        else:
            output = self.network(self._resized(x, target))
        maps = output.logits if isinstance(output, Output) else (output,)
        if self.fitting == "pad":
            inside = tuple(slice(b, b + side) for b, side in zip(before, size, strict=True))
            logits = tuple(values[(slice(None), slice(None), *inside)] for values in maps)
        else:
            logits = tuple(self._resized(values.float(), size) for values in maps)
        return Output(logits, ()) if isinstance(output, Output) else logits[0]

    @staticmethod
    def _resized(values: Tensor, size: Sequence[int]) -> Tensor:
        with torch.autocast(values.device.type, enabled=False):
            return F.interpolate(values, list(size), mode=LINEAR[len(size)], align_corners=True)
