"""What goes into a review folder."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PackageOptions:
    """What goes into a review folder.

    Attributes:
        bids: name files as BIDS derivatives.
        keep_largest: classes of which only the largest connected component is kept.
        fill_holes: classes whose holes are filled.
        dicom_seg: write DICOM SEG for scans that are DICOM series.
        resume: go on with a folder: cases that are finished stay.
        overwrite: predict all cases anew.
    """

    bids: bool = False
    keep_largest: tuple[int, ...] = ()
    fill_holes: tuple[int, ...] = ()
    dicom_seg: bool = False
    resume: bool = False
    overwrite: bool = False
