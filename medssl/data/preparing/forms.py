"""In what form a prepared data set lies on disk: volumes as NIfTI, images as they were with masks as PNG."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medssl.common.errors import InputError
from medssl.common.files import atomic_path
from medssl.data.preparing.phantoms import nifti_bytes


@dataclass(frozen=True)
class Prepared:
    """One converted volume.

    Attributes:
        image: ``(X, Y, Z)``, or ``(X, Y, Z, C)`` of several channels.
        affine: 4 x 4 from voxel index to millimetres, RAS.
        label: class ids ``(X, Y, Z)`` on the same grid, None for a case without a reference.
    """

    image: NDArray[Any]
    affine: NDArray[np.float64]
    label: NDArray[Any] | None


@dataclass(frozen=True)
class PreparedImage:
    """One converted image.

    Attributes:
        image: its file, which stays as it is.
        label: class ids ``(H, W)``, 255 where nobody labelled; None for a case without a reference.
    """

    image: Path
    label: NDArray[np.uint8] | None


@dataclass(frozen=True)
class Form:
    """How cases lie on disk.

    Attributes:
        image_suffix: of ``images/CASE``.
        label_suffix: of ``labels/CASE``.
        write: writes a converted case to the paths of image and label, each whole or not at all.
    """

    image_suffix: str
    label_suffix: str
    write: Callable[[Any, Path, Path], None]

    def paths(self, out: Path, case: str) -> tuple[Path, Path]:
        """Image and label of a case."""
        return (
            out / "images" / f"{case}{self.image_suffix}",
            out / "labels" / f"{case}{self.label_suffix}",
        )


def image_form(suffix: str) -> Form:
    """Images of one suffix, ``.jpg`` or ``.png``, with masks as PNG."""
    return Form(suffix, ".png", write_image)


def write_volume(prepared: Prepared, image: Path, label: Path) -> None:
    """Write a volume and its label as NIfTI."""
    files = [(image, compact(prepared.image))]
    if prepared.label is not None:
        # The image comes last: where it stands, the case is complete.
        files.insert(0, (label, compact(prepared.label)))
    for path, volume in files:
        with atomic_path(path) as temporary:
            temporary.write_bytes(nifti_bytes(volume, prepared.affine))


def write_image(prepared: PreparedImage, image: Path, label: Path) -> None:
    """Write the mask, and put the image beside it: the file itself, or in RGB where it has other colours.

    The file is linked (a hard link, which takes no space) or copied where the file system cannot.

    Raises:
        InputError: the mask is not of the image's size.
    """
    with Image.open(prepared.image) as picture:
        height, width = picture.height, picture.width
        rgb = None if picture.mode == "RGB" else picture.convert("RGB")
    if prepared.label is not None:
        if prepared.label.shape != (height, width):
            found = " x ".join(map(str, prepared.label.shape))
            raise InputError(
                prepared.image, f"is {height} x {width} pixels, its label {found}", "download both again"
            )
        with atomic_path(label) as temporary:
            Image.fromarray(prepared.label).save(temporary)
    with atomic_path(image) as temporary:
        if rgb is not None:  # a grey photograph among colours, which no network of three channels takes
            rgb.save(temporary, quality=100, subsampling=0)  # which PNG does not read
            return
        try:
            os.link(os.path.realpath(prepared.image), temporary)
        except OSError:  # another file system, or one that knows no links
            shutil.copyfile(prepared.image, temporary)


def compact(volume: NDArray[Any]) -> NDArray[Any]:
    """The same values as uint8 or int16 where they fit without loss, else float32."""
    low, high = float(volume.min()), float(volume.max())
    for kind in (np.uint8, np.int16):
        limits = np.iinfo(kind)
        if limits.min <= low and high <= limits.max and np.array_equal(volume, np.round(volume)):
            return volume.astype(kind)
    return volume.astype(np.float32)


VOLUMES = Form(".nii.gz", ".nii.gz", write_volume)
