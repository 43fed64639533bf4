"""Findings: what is wrong with a data set, in the words that check, training and prediction share."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from medssl.common.errors import InputError

Severity = Literal["error", "warning", "note"]

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""Worst first."""

CODES: MappingProxyType[str, tuple[Severity, str]] = MappingProxyType(
    {
        # the datalist
        "entry": ("error", "an entry of the datalist names no image, or a labelled one no label"),
        "case-twice": ("error", "a case name stands in two lists, or twice in one"),
        "file-twice": ("error", "an image file stands in two lists, or twice in one"),
        "copy-across-lists": ("error", "two lists hold the same file under two names or re-compressed"),
        "patient-across-lists": (
            "error",
            "a patient is in two of training (with unlabelled), validation, test",
        ),
        "unlabeled-keys": ("error", "an unlabelled item carries more than its image (as a library input)"),
        "label-is-image": ("error", "image and label are one file"),
        "shared-label": ("warning", "two cases name the same label file"),
        "label-ignored": ("note", "an unlabelled case names a label, which is never opened"),
        "outside-folder": ("warning", "a file lies outside the data folder"),
        "withdrawn": ("warning", "the archive withdrew the case as a repeat of a patient"),
        # files
        "missing-file": ("error", "a file does not exist"),
        "permission": ("error", "a file must not be read"),
        "path": ("error", "a path leads nowhere (symbolic-link loop, name too long)"),
        "empty-file": ("error", "a file has 0 bytes"),
        "unknown-format": ("error", "no reader knows the file name's suffix"),
        "unreadable": ("error", "a file is not what its name says"),
        "damaged": ("error", "a file is truncated, or its checksum is wrong"),
        # volumes
        "not-a-volume": ("error", "an image or label has not three axes (in 2D two) of at least two voxels"),
        "affine": ("error", "the affine or spacing cannot be inverted, or is not finite"),
        "not-finite": ("error", "an image holds NaN or infinity"),
        "constant": ("error", "all voxels of an image have one value"),
        "too-bright": ("error", "an image holds values above the training's max_intensity"),
        "channels": ("error", "an image has another number of channels than expected"),
        "label-channels": ("error", "a label has several channels"),
        "label-values": ("error", "a label holds values that are not whole numbers"),
        "label-negative": ("error", "a label holds a negative id"),
        "label-range": ("error", "a label holds an id outside the classes"),
        "label-shape": ("error", "image and label differ in shape"),
        "label-affine": ("error", "image and label lie at different places"),
        "label-empty": ("warning", "a label holds background only"),
        "label-all-255": ("error", "a label holds 255 throughout: nobody labelled it"),
        "label-255": ("warning", "a label holds 255, which losses and metrics leave out"),
        "small": ("warning", "a volume is smaller than the patch and will be padded"),
        "sheared": ("warning", "the axes of the affine are not at right angles"),
        "transforms": ("warning", "sform, qform and spacing of a NIfTI header disagree"),
        "unit": ("warning", "a NIfTI header gives its spacing in another unit than mm"),
        "spacing-implausible": ("warning", "a spacing below 0.01 mm or above 20 mm"),
        # the set
        "axes": ("error", "volumes and 2D images stand in one set"),
        "spacing-outlier": ("warning", "a spacing far from the rest of the set"),
        "class-untrained": ("error", "no labelled training case shows the class"),
        "label-0-255": ("error", "all labelled training cases hold 0 and 255 alone"),
        "class-absent": ("warning", "no validation or test case shows the class"),
        "same-scan-across-lists": ("error", "two lists hold the same voxels"),
        "same-scan": ("warning", "one list holds the same voxels twice"),
        "near-duplicate": ("warning", "two scans look alike at a coarse resolution"),
    }
)
"""Severity and meaning of every code."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or worth knowing.

    Attributes:
        code: which kind, a key of :data:`CODES`.
        where: the file (or case, or entry of the datalist).
        fault: what is wrong with it.
        remedy: what to do.
        case: name of the case, empty for the set as a whole.
        split: the list it stands in, empty likewise.
        other: the other case of a pair that should not be one, empty for all else.
    """

    code: str
    where: str
    fault: str
    remedy: str
    case: str = ""
    split: str = ""
    other: str = ""

    def __post_init__(self) -> None:
        """Refuse a code that is not in the table."""
        if self.code not in CODES:
            raise ValueError(f"code must be one of CODES, got {self.code!r}")

    @property
    def severity(self) -> Severity:
        """How bad it is: training and prediction refuse an error."""
        return CODES[self.code][0]

    def error(self) -> "CaseError":
        """The exception with this finding's words."""
        return CaseError(self.code, self.where, self.fault, self.remedy)


class CaseError(InputError):
    """An :class:`InputError` that knows which finding of ``medssl check`` it is.

    Args:
        code: a key of :data:`CODES`.
        where: file or case at fault.
        fault: what is wrong with it.
        remedy: what to do about it.
    """

    def __init__(self, code: str, where: str | Path, fault: str, remedy: str) -> None:
        super().__init__(where, fault, remedy)
        self.code = code

    def __reduce__(self) -> tuple[Any, Any]:
        """Pickle with all parts, so that the error survives a worker process."""
        return type(self), (self.code, self.where, self.fault, self.remedy)

    def finding(self) -> Finding:
        """The finding with this exception's words."""
        return Finding(self.code, self.where, self.fault, self.remedy)


def refuse(findings: Iterable[Finding]) -> None:
    """Raise the first error among the findings; warnings and notes pass.

    Raises:
        CaseError: there is one.
    """
    for finding in findings:
        if finding.severity == "error":
            raise finding.error()
