"""DPT (Ranftl et al. 2021) on DINOv2 (Oquab et al. 2023), the network of UniMatch V2."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from medssl.common.errors import InputError
from medssl.networks.base import Output, check_patch_size
from medssl.networks.images.backbones import Config, build_backbone, named_config
from medssl.networks.images.base import ImageNetwork, resized, single_output

LEVELS = 4
# 518 pixels are what the hub's position embeddings are for; other sizes are interpolated.
_PUBLISHED = {"patch_size": 14, "image_size": 518}
DINOV2: dict[str, Config] = {
    "tiny": {
        "hidden_size": 96,
        "num_hidden_layers": 6,
        "num_attention_heads": 3,
        "patch_size": 10,
        "image_size": 160,
    },
    "small": {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6, **_PUBLISHED},
    "base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, **_PUBLISHED},
    "large": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, **_PUBLISHED},
}
"""DINOv2 by size. The weights of the last three are ``facebook/dinov2-small``, ``-base`` and ``-large`` on
the hub; ``tiny`` is ours, for machines without a GPU, and nobody has pretrained it."""


class DPT(ImageNetwork):
    """A convolutional head on the tokens of four layers of a vision transformer, without batch norm.

    As UniMatch V2 builds it: layers 2, 5, 8 and 11 (of 12), after the transformer's last layer norm, are
    projected to an eighth, a quarter, half and the whole of the hidden size and brought to 4, 2, 1 and 1/2
    times the grid of patches; four fusions from the coarsest to the finest; a 3x3 convolution, ReLU and the
    1x1 classifier at 8 times the grid (stride 1.75); logits at the image's size, bilinearly with aligned
    corners. transformers' own DPT classifies elsewhere and normalises batches.

    ``features`` are the embeddings before the classifier, averaged two by two (stride 3.5 for patches of 14);
    ``context`` are the tokens of the last layer. :meth:`encode` gives the tokens of the four layers, each as
    ``(B, hidden size, H / patch, W / patch)``. In the coarsest fusion there is nothing to add to: the first
    convolutions of the published one never run and are left out.

    Args:
        num_classes: classes ``K``.
        size: a name of :data:`DINOV2`, or arguments of ``transformers.Dinov2Config``.
        weights: of the backbone: a name on the hub, a folder, or None for random ones.
        in_channels: image channels.
        layers: whose tokens are taken, counted from 0; by default the last of each quarter, and the published
            ones for ``"large"``.
        features: channels of the fusions; by default a sixth of the hidden size, 256 for ``"large"``.
        out_channels: of the four projections; as above.
        mean: of the channels; ImageNet's by default.
        std: of the channels; ImageNet's by default.

    Raises:
        InputError: layers that there are not; what
            :func:`~medssl.networks.images.backbones.build_backbone` raises.
    """

    backbone_modules = ("backbone",)
    initial_weights = ("weights",)
    fitting = "resize"  # as published
    backbone: Any  # transformers has no types here

    def __init__(
        self,
        num_classes: int,
        size: str | Config = "small",
        *,
        weights: str | None = None,
        in_channels: int = 3,
        layers: Sequence[int] | None = None,
        features: int | None = None,
        out_channels: Sequence[int] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__(num_classes, in_channels, mean, std)
        config = named_config("size", size, DINOV2)
        config |= {"num_channels": in_channels, "use_mask_token": False}
        self.backbone = build_backbone("Dinov2", config, weights)
        built = self.backbone.config
        width, depth = built.hidden_size, built.num_hidden_layers
        if size == "large":
            published = _PublishedHead((4, 11, 17, 23), 256, (256, 512, 1024, 1024))
        else:
            published = _PublishedHead.of(depth, width)
        self.layers = tuple(layers or published.layers)
        if len(self.layers) != LEVELS or sorted({*self.layers} & {*range(depth)}) != list(self.layers):
            raise InputError(
                f"layers {list(self.layers)}", f"not {LEVELS} of {depth} in order", "count layers from 0"
            )
        self.patch = int(built.patch_size)
        self.patch_multiple = self.patch
        self.head = Head(
            width,
            num_classes,
            features=features or published.features,
            out_channels=out_channels or published.out_channels,
        )

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        """The tokens of the four layers as maps, of images whose sides are multiples of the patch."""
        check_patch_size(self, x.shape[2:])
        grid = [side // self.patch for side in x.shape[2:]]
        states = self.backbone(self.normalization(x), output_hidden_states=True).hidden_states
        tokens = [self.backbone.layernorm(states[layer + 1])[:, 1:] for layer in self.layers]
        return tuple(token.transpose(1, 2).unflatten(2, grid) for token in tokens)

    def decode(self, maps: Sequence[Tensor], size: Sequence[int]) -> Output:
        """Logits, embeddings at a stride of a quarter of the patch, and the last layer's tokens."""
        embeddings = self.head(maps)
        logits = resized(self.head.classifier(embeddings), size)
        return single_output(logits, F.avg_pool2d(embeddings, 2), maps[-1])


class _PublishedHead(NamedTuple):
    """What UniMatch V2 takes of a transformer, and makes of it."""

    layers: tuple[int, ...]
    features: int
    out_channels: tuple[int, ...]

    @classmethod
    def of(cls, depth: int, width: int) -> "_PublishedHead":
        """Its numbers for DINOv2-S and -B, as shares of depth and width, for any of either."""
        layers = tuple((level + 1) * depth // LEVELS - 1 for level in range(LEVELS))
        return cls(layers, width // 6, tuple(width // 2**level for level in reversed(range(LEVELS))))


class Head(nn.Module):
    """From the maps of four layers to embeddings ``(B, features, 8 h, 8 w)``, and the classifier.

    Args:
        inputs: channels of every map.
        num_classes: classes ``K``.
        features: channels of the fusions.
        out_channels: of the four projections.
    """

    def __init__(self, inputs: int, num_classes: int, *, features: int, out_channels: Sequence[int]) -> None:
        super().__init__()
        self.projections = nn.ModuleList(nn.Conv2d(inputs, channels, 1) for channels in out_channels)
        first, second, _, last = out_channels
        self.resizings = nn.ModuleList(
            [
                nn.ConvTranspose2d(first, first, 4, stride=4),
                nn.ConvTranspose2d(second, second, 2, stride=2),
                nn.Identity(),
                nn.Conv2d(last, last, 3, stride=2, padding=1),
            ]
        )
        self.laterals = nn.ModuleList(
            nn.Conv2d(channels, features, 3, padding=1, bias=False) for channels in out_channels
        )
        self.fusions = nn.ModuleList(Fusion(features, lateral=level < LEVELS - 1) for level in range(LEVELS))
        self.embed = nn.Sequential(nn.Conv2d(features, features, 3, padding=1), nn.ReLU(inplace=True))
        self.classifier = nn.Conv2d(features, num_classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """The embeddings, before the classifier."""
        levels = [
            lateral(resizing(projection(level)))
            for lateral, resizing, projection, level in zip(
                self.laterals, self.resizings, self.projections, maps, strict=True
            )
        ]
        path = None
        for index in reversed(range(LEVELS)):
            finest = [2 * side for side in levels[0].shape[2:]]
            size = levels[index - 1].shape[2:] if index else finest
            path = self.fusions[index](levels[index], path, size)
        embeddings: Tensor = self.embed(path)
        return embeddings


class Fusion(nn.Module):
    """The coarser path and one level's map, summed, refined and brought to the next level's grid.

    Args:
        channels: of all maps.
        lateral: refine the level's map before it is added; false for the coarsest, which is the path itself.
    """

    def __init__(self, channels: int, *, lateral: bool) -> None:
        super().__init__()
        self.lateral = Residual(channels) if lateral else None
        self.refine = Residual(channels)
        self.project = nn.Conv2d(channels, channels, 1)

    def forward(self, level: Tensor, path: Tensor | None, size: Sequence[int]) -> Tensor:
        """The path on the grid ``size``."""
        if self.lateral is not None:
            level = path + self.lateral(level)
        projected: Tensor = self.project(resized(self.refine(level), size))
        return projected


class Residual(nn.Module):
    """ReLU and 3x3 convolution, twice, added to what comes in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps of the same shape."""
        refined: Tensor = x + self.conv2(F.relu(self.conv1(F.relu(x))))
        return refined
