"""A DICOM series as an archive stores it, written with SimpleITK."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk


def itk_image(array, *, spacing=(1.0, 1.0, 1.0), direction=None, origin=(0.0, 0.0, 0.0)) -> sitk.Image:
    """An image from an array ``(X, Y, Z)``; direction and origin in ITK's LPS."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    if direction is not None:
        image.SetDirection(np.asarray(direction, dtype=float).ravel().tolist())
    return image


def write_series(
    folder: Path, image: sitk.Image, *, series="1.2.826.1", skip=(), shuffle=True, intercept=-1024
):
    """One file a slice, their names in no order, stored values 1024 above the Hounsfield units."""
    folder.mkdir(parents=True, exist_ok=True)
    size = image.GetSize()
    names = np.random.default_rng(0).permutation(size[2]) if shuffle else np.arange(size[2])
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    direction = image.GetDirection()
    orientation = [direction[i] for i in (0, 3, 6, 1, 4, 7)]
    for index in range(size[2]):
        if index in skip:
            continue
        tile = image[:, :, index : index + 1]
        position = image.TransformIndexToPhysicalPoint((0, 0, index))
        tags = {
            "0008|0016": "1.2.840.10008.5.1.4.1.1.2",
            "0008|0018": f"{series}.{index + 1}",
            "0008|0060": "CT",
            "0010|0010": "ANON",
            "0020|000d": "1.2.826.0.1",
            "0020|000e": series,
            "0020|0013": str(index + 1),
            "0020|0032": "\\".join(f"{value:.6f}" for value in position),
            "0020|0037": "\\".join(f"{value:.8f}" for value in orientation),
            "0028|1052": str(intercept),
            "0028|1053": "1",
        }
        for tag, value in tags.items():
            tile.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"slice_{names[index]:03d}.dcm"))
        writer.Execute(tile)
    return folder
