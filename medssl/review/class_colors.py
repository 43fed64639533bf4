"""Colours of the classes of images: a data set's own where it is known, or some that can be told apart."""

import colorsys
from collections.abc import Sequence

from medssl.review.segments import PALETTE, SegmentClass

Color = tuple[int, int, int]

BLACK: Color = (0, 0, 0)

CAMVID: dict[str, Color] = {
    "sky": (128, 128, 128),
    "building": (128, 0, 0),
    "pole": (192, 192, 128),
    "road": (128, 64, 128),
    "pavement": (60, 40, 222),
    "tree": (128, 128, 0),
    "sign": (192, 128, 128),
    "fence": (64, 64, 128),
    "car": (64, 0, 128),
    "pedestrian": (64, 64, 0),
    "bicyclist": (0, 128, 192),
}
"""Of the 11 classes in which CamVid is evaluated."""

CITYSCAPES: dict[str, Color] = {
    "road": (128, 64, 128),
    "sidewalk": (244, 35, 232),
    "building": (70, 70, 70),
    "wall": (102, 102, 156),
    "fence": (190, 153, 153),
    "pole": (153, 153, 153),
    "traffic light": (250, 170, 30),
    "traffic sign": (220, 220, 0),
    "vegetation": (107, 142, 35),
    "terrain": (152, 251, 152),
    "sky": (70, 130, 180),
    "person": (220, 20, 60),
    "rider": (255, 0, 0),
    "car": (0, 0, 142),
    "truck": (0, 0, 70),
    "bus": (0, 60, 100),
    "train": (0, 80, 100),
    "motorcycle": (0, 0, 230),
    "bicycle": (119, 11, 32),
}
"""Of the 19 classes in which Cityscapes is evaluated."""

VOC_NAMES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train"),
    "tvmonitor",
)


def voc_color(label: int) -> Color:
    """PASCAL VOC's colour of a class: the bits of its id, dealt to red, green and blue in turn."""
    channels = [0, 0, 0]
    for place in range(8):
        for channel in range(3):
            channels[channel] |= (label >> (3 * place + channel) & 1) << (7 - place)
    red, green, blue = channels
    return red, green, blue


VOC: dict[str, Color] = {name: voc_color(label) for label, name in enumerate(VOC_NAMES)}

_ALIASES = {"signsymbol": "sign"}


def image_classes(num_classes: int, names: Sequence[str] = ()) -> tuple[SegmentClass, ...]:
    """The classes of images from 0 on; those without a name are called ``class 0`` and so on.

    Where all names are of one data set (CamVid, Cityscapes, PASCAL VOC, however they are spaced), the classes
    have its colours. Else a first class that is called background is black, and the others have Okabe and
    Ito's seven colours, then darker and lighter ones of the same hues: up to 21 that differ.

    Args:
        num_classes: classes ``K``.
        names: of class 0, 1 and so on, at most ``K``.
    """
    named = [*names[:num_classes], *(f"class {k}" for k in range(len(names), num_classes))]
    keys = [name.lower().replace("_", " ").strip() for name in named]
    for table in (CAMVID, CITYSCAPES, VOC):
        compact = {name.replace(" ", ""): color for name, color in table.items()}
        own = [compact.get(_ALIASES.get(key, key).replace(" ", "")) for key in keys]
        colors = [color for color in own if color is not None]
        if len(colors) == num_classes:
            break
    else:
        first = keys[0] == "background"
        colors = [BLACK] * first + [_qualitative(k) for k in range(num_classes - first)]
    return tuple(
        SegmentClass(k, name, color) for k, (name, color) in enumerate(zip(named, colors, strict=True))
    )


def _qualitative(index: int) -> Color:
    color = PALETTE[index % len(PALETTE)]
    turn = index // len(PALETTE) % 3
    if turn == 0:
        return color
    hue, lightness, saturation = colorsys.rgb_to_hls(*(value / 255 for value in color))
    lightness = lightness * 0.5 if turn == 1 else 1 - (1 - lightness) * 0.45
    red, green, blue = (round(255 * value) for value in colorsys.hls_to_rgb(hue, lightness, saturation))
    return red, green, blue
