"""Prepare CamVid, 11 classes: ``python scripts/prepare_camvid.py SOURCE OUT --labeled 1/16``.

SOURCE is one of two forms of the set of Brostow et al. (2009). The one of SegNet's tutorial (480 x 360):
``{train,val}`` and ``{trainannot,valannot}``, whose id 11 is void. The official one (960 x 720):
``701_StillsRaw_full`` and ``LabeledApproved_full``, masks in 32 colours that are grouped into 11 classes as
there. OUT gets the images as they are (linked) and masks of class ids, 255 for void. A folder with
``images/{train,val}`` and ``labels/{train,val}`` of class ids needs no preparation.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medssl.common.constants import IGNORE
from medssl.common.errors import InputError
from medssl.data import read_split
from medssl.data.preparing.forms import PreparedImage
from medssl.data.preparing.images import (
    mapped,
    named,
    need_folder,
    parser_for_images,
    prepare_images,
    run_image_script,
    sound_image,
)
from medssl.data.preparing.prepare import Outcome

TABLE = {**{number: number for number in range(11)}, 11: IGNORE}

COLOURS: Mapping[int, Sequence[int]] = {
    0: (0x808080,),  # Sky
    1: (0x800000, 0xC00080, 0x008040, 0x400040, 0x40C000),  # Building, Archway, Bridge, Tunnel, Wall
    2: (0xC0C080, 0x000040),  # Column_Pole, TrafficCone
    3: (0x804080, 0x8000C0, 0xC00040),  # Road, LaneMkgsDriv, LaneMkgsNonDriv
    4: (0x0000C0, 0x40C080, 0x8080C0),  # Sidewalk, ParkingBlock, RoadShoulder
    5: (0x808000, 0xC0C000),  # Tree, VegetationMisc
    6: (0xC08080, 0x808040, 0x004040),  # SignSymbol, Misc_Text, TrafficLight
    7: (0x404080,),  # Fence
    8: (
        0x400080,
        0x4080C0,
        0xC080C0,
        0xC04080,
        0x804040,
    ),  # Car, SUVPickupTruck, Truck_Bus, Train, OtherMoving
    9: (0x404000, 0xC08040, 0x4000C0, 0x408040),  # Pedestrian, Child, CartLuggagePram, Animal
    10: (0x0080C0, 0xC000C0),  # Bicyclist, MotorcycleScooter
    IGNORE: (0x000000,),  # Void
}
"""Colours ``0xRRGGBB`` of the official masks by class id."""


def find(source: Path) -> dict[str, dict[str, str]]:
    """The images of the published lists with their masks."""
    raw = source / "701_StillsRaw_full"
    if raw.is_dir():
        masks = named(sorted((source / "LabeledApproved_full").glob("*_L.png")), ending="_L.png")
        images = named(sorted(raw.glob("*.png")))
    else:
        masks, images = {}, {}
        for part in ("train", "val"):
            remedy = "name the folder with train and trainannot, or with 701_StillsRaw_full"
            folder = need_folder(source / part, remedy)
            images |= named(sorted(folder.glob("*.png")))
            masks |= named(sorted((source / f"{part}annot").glob("*.png")))
    split = read_split("camvid")
    return {
        case: {"image": str(images[case])} | ({"label": str(masks[case])} if case in masks else {})
        for case in (*split.training, *split.validation)
        if case in images
    }


def convert(parts: Mapping[str, str]) -> PreparedImage:
    """One case, by ids or by colours."""
    if not parts.get("label", "").endswith("_L.png"):
        return mapped(parts, TABLE, expected="class ids 0 to 10 and 11 for void")
    with Image.open(parts["label"]) as picture:
        ids = ids_of(np.asarray(picture.convert("RGB")), parts["label"])
    return PreparedImage(sound_image(parts), ids)


def ids_of(colours: NDArray[np.uint8], where: str) -> NDArray[np.uint8]:
    """Class ids ``(H, W)`` of a mask in colours ``(H, W, 3)``; a colour of no class is refused."""
    numbers = colours.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    table = {colour: number for number, group in COLOURS.items() for colour in group}
    distinct, inverse = np.unique(numbers, return_inverse=True)
    strange = [int(colour) for colour in distinct if int(colour) not in table]
    if strange:
        fault = f"holds a colour of no class (#{strange[0]:06x})"
        raise InputError(where, fault, "give the official masks, which are not compressed or resized")
    ids = np.array([table[int(colour)] for colour in distinct], np.uint8)
    return ids[inverse].reshape(numbers.shape)


def prepare(source: Path, out: Path, *, jobs: int, overwrite: bool) -> Outcome:
    """Prepare the folder."""
    return prepare_images("camvid", out, find(source), convert, suffix=".png", jobs=jobs, overwrite=overwrite)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = parser_for_images(__doc__, source="the folder of either form")
    options = parser.parse_args(argv)
    return run_image_script(
        lambda: prepare(options.source, options.out, jobs=options.jobs, overwrite=options.overwrite),
        dataset="camvid",
        out=options.out,
        labeled=options.labeled,
    )


if __name__ == "__main__":
    sys.exit(main())
