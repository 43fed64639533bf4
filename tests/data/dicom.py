"""A DICOM series as an archive stores it: a file a slice, with SimpleITK, or one of frames, with pydicom."""

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


def write_multi_frame(
    folder: Path, image: sitk.Image, *, order=None, intercept=-1024, slopes=None, shared_rescale=True, skip=()
):
    """The slices of :func:`write_series` as frames of one enhanced CT, in any order."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import EnhancedCTImageStorage, ExplicitVRLittleEndian

    def macro(**elements):
        item = Dataset()
        for name, value in elements.items():
            setattr(item, name, value)
        return item

    array = sitk.GetArrayFromImage(image)
    order = [k for k in (range(len(array)) if order is None else order) if k not in skip]
    direction, spacing = image.GetDirection(), image.GetSpacing()
    cosines = [f"{direction[i]:.8f}" for i in (0, 3, 6, 1, 4, 7)]
    dataset = macro(
        SOPClassUID=EnhancedCTImageStorage,
        SOPInstanceUID="1.2.826.9.1",
        StudyInstanceUID="1.2.826.0.1",
        SeriesInstanceUID="1.2.826.9",
        Modality="CT",
        PatientName="ANON",
        Rows=array.shape[1],
        Columns=array.shape[2],
        NumberOfFrames=len(order),
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        BitsAllocated=16,
        BitsStored=16,
        HighBit=15,
        PixelRepresentation=0,
        PixelData=np.ascontiguousarray(array[order] - intercept).astype(np.uint16).tobytes(),
    )
    measures = macro(PixelSpacing=[spacing[1], spacing[0]], SliceThickness=spacing[2])
    shared = macro(
        PlaneOrientationSequence=[macro(ImageOrientationPatient=cosines)], PixelMeasuresSequence=[measures]
    )
    frames = []
    for number, k in enumerate(order):
        position = [f"{value:.6f}" for value in image.TransformIndexToPhysicalPoint((0, 0, int(k)))]
        frames.append(macro(PlanePositionSequence=[macro(ImagePositionPatient=position)]))
        slope = 1 if slopes is None else slopes[number]
        rescale = [macro(RescaleIntercept=intercept, RescaleSlope=slope, RescaleType="HU")]
        (shared if shared_rescale else frames[-1]).PixelValueTransformationSequence = rescale
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = frames
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    folder.mkdir(parents=True, exist_ok=True)
    dataset.save_as(folder / "frames.dcm", enforce_file_format=True)
    return folder
