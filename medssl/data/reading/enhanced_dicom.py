"""Multi-frame ("enhanced") DICOM: where each frame of a file lies."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medssl.common.errors import InputError

REMEDY = "convert it to NIfTI (dcm2niix), or export one file a slice"


class Frames(NamedTuple):
    """The frames of a file, in the order in which they are stored.

    Attributes:
        axes: ``(3, 2)``, LPS unit vectors along a row and along a column.
        spacing: mm between columns and between rows.
        positions: ``(n, 3)``, LPS in mm, of the first voxel of each frame.
    """

    axes: NDArray[np.float64]
    spacing: tuple[float, float]
    positions: NDArray[np.float64]


def read_frames(folder: Path, file: str) -> Frames:
    """Positions and orientation from the functional groups, which SimpleITK does not show.

    It takes the frames in stored order instead, and a spacing of 1 mm where their distances are uneven.

    Raises:
        InputError: pydicom is not installed; a frame lacks its place; frames differ in orientation, spacing
            or rescaling.
    """
    try:
        import pydicom  # an extra
    except ImportError as error:
        raise InputError(
            folder,
            "is a multi-frame DICOM file, for which pydicom is needed",
            "pip install 'medssl[dicom]', or convert it to NIfTI (dcm2niix)",
        ) from error
    dataset = pydicom.dcmread(file, stop_before_pixels=True)
    frames = [_place(dataset, index) for index in range(int(dataset.NumberOfFrames))]
    if any(frame is None for frame in frames):
        raise InputError(folder, "is a multi-frame DICOM file whose frames do not say where they lie", REMEDY)
    places = np.asarray([values for values in frames if values is not None], np.float64)
    shared = places[:, 3:]
    turned = not np.allclose(shared[:, :6], shared[0, :6], rtol=0, atol=1e-5)
    if turned or (shared[:, 6:] != shared[0, 6:]).any():
        raise InputError(folder, "holds DICOM frames of different orientation, spacing or rescaling", REMEDY)
    axes = shared[0, :6].reshape(2, 3).T
    return Frames(axes, (float(shared[0, 7]), float(shared[0, 6])), places[:, :3])


def _place(dataset: Any, index: int) -> list[float] | None:
    """Position (3), orientation (6), spacing of rows and columns (2), intercept and slope of a frame."""

    def group(name: str) -> Any:
        frames = dataset.get("PerFrameFunctionalGroupsSequence")
        common = dataset.get("SharedFunctionalGroupsSequence")
        for macros in (frames[index] if frames else {}, common[0] if common else {}):
            if sequence := macros.get(name):
                return sequence[0]
        return {}

    position = group("PlanePositionSequence").get("ImagePositionPatient")
    orientation = group("PlaneOrientationSequence").get("ImageOrientationPatient")
    spacing = group("PixelMeasuresSequence").get("PixelSpacing")
    rescale = group("PixelValueTransformationSequence")
    if position is None or orientation is None or spacing is None:
        return None
    values = [rescale.get("RescaleIntercept", 0), rescale.get("RescaleSlope", 1)]
    return [float(value) for value in (*position, *orientation, *spacing, *values)]
