"""What the files of a review folder are called."""

import json
import re
from pathlib import Path

from medssl import __version__
from medssl.common.errors import InputError
from medssl.common.files import write_text

FLAT = {
    "segmentation": "{case}_seg.nii.gz",
    "confidence": "{case}_confidence.nii.gz",
    "uncertainty": "{case}_uncertainty.nii.gz",
    "disagreement": "{case}_disagreement.nii.gz",
    "probability": "{case}_probability-{label}.nii.gz",
    "slicer": "{case}.seg.nrrd",
    "dicom": "{case}_seg.dcm",
    "picture": "{case}_review.png",
    "side-car": "{case}.json",
}
_BIDS_START = "sub-{subject}/anat/sub-{subject}_desc-medssl"
_BIDS_STAT = "sub-{subject}/anat/sub-{subject}_stat-"
BIDS = {
    "segmentation": _BIDS_START + "_dseg.nii.gz",
    "confidence": _BIDS_STAT + "confidence_desc-medssl_statmap.nii.gz",
    "uncertainty": _BIDS_STAT + "uncertainty_desc-medssl_statmap.nii.gz",
    "disagreement": _BIDS_STAT + "disagreement_desc-medssl_statmap.nii.gz",
    "probability": "sub-{subject}/anat/sub-{subject}_label-{label}_desc-medssl_probseg.nii.gz",
    "slicer": _BIDS_START + "_dseg.seg.nrrd",
    "dicom": _BIDS_START + "_dseg.dcm",
    "picture": _BIDS_START + "_review.png",
    "side-car": _BIDS_START + "_dseg.json",
}
"""As BIDS names derivatives: labels, probabilities, and other maps by the statistic that they hold."""


class ReviewNames:
    """File names of a review folder, flat or as BIDS derivatives.

    Args:
        folder: the folder.
        bids: name files as BIDS derivatives; the subject is the case's name without other than letters and
            digits.
    """

    def __init__(self, folder: str | Path, *, bids: bool = False) -> None:
        """Choose the form."""
        self.folder, self.bids = Path(folder), bids
        self._forms = BIDS if bids else FLAT

    def path(self, kind: str, case: str, *, label: int | None = None) -> Path:
        """The file of a kind (a key of ``FLAT``) and a case."""
        form = self._forms[kind]
        return self.folder / form.format(case=case, subject=subject_of(case), label=label)

    def check(self, cases: list[str]) -> None:
        """Refuse cases whose files would have one name, or lie outside the folder.

        Raises:
            InputError: with the two cases.
        """
        taken: dict[Path, str] = {}
        for case in cases:
            path = self.path("side-car", case)
            if "/" in case or "\\" in case or case in (".", "..") or (self.bids and not subject_of(case)):
                raise InputError(f"case {case!r}", "cannot name a file", "rename the case")
            if path in taken:
                raise InputError(
                    f"cases {taken[path]!r} and {case!r}", f"would both be {path.name}", "rename one of them"
                )
            taken[path] = case

    def describe(self) -> None:
        """Write ``dataset_description.json`` where files are named as BIDS derivatives."""
        if self.bids:
            content = {
                "Name": "medssl segmentations",
                "BIDSVersion": "1.10.0",
                "DatasetType": "derivative",
                "GeneratedBy": [{"Name": "medssl", "Version": __version__}],
            }
            write_text(self.folder / "dataset_description.json", json.dumps(content, indent=2) + "\n")


def subject_of(case: str) -> str:
    """A case's name with letters and digits alone; a ``sub-`` in front is not doubled."""
    return re.sub(r"[^A-Za-z0-9]", "", case.removeprefix("sub-"))
