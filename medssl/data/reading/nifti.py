"""A NIfTI reader that notices every damage."""

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
from monai.data import NibabelReader
from monai.data.utils import correct_nifti_header_if_necessary

from medssl.data.checks.findings import CaseError, refuse
from medssl.data.checks.volumes import affine_faults


class NiftiReader(NibabelReader):  # type: ignore[misc]
    """MONAI's reader of NIfTI that also verifies the checksum of a compressed file.

    nibabel stops reading a ``.nii.gz`` at the last voxel, before the checksum, so that flipped bits pass
    for intensities. Here the stream is decompressed to its end, once. Axes of length one behind the third
    are dropped, as the field's writers leave them.
    """

    def __init__(self) -> None:
        super().__init__(squeeze_non_spatial_dims=True)

    def read(self, data: Sequence[str | Path] | str | Path, **kwargs: Any) -> Any:
        """Open one file, or several as channels."""
        names = [data] if isinstance(data, (str, Path)) else list(data)
        self.filenames = tuple(names)
        images = [correct_nifti_header_if_necessary(_open(Path(name))) for name in names]
        return images if len(images) > 1 else images[0]


def _open(path: Path) -> Any:
    image = nib.load(path)  # reads the header alone
    content = None
    if path.name.lower().endswith(".gz"):
        content = gzip.decompress(path.read_bytes())
    header = _raw_header(path, type(image).header_class)
    if header["sform_code"] == 0 and (header["pixdim"][1:4][: header["dim"][0]] == 0).any():
        # nibabel takes 1 mm for it.
        raise CaseError("affine", path, "has a spacing of 0 mm", "repair its header")
    # MONAI would replace an sform that is of no use by a qform that nobody set.
    refuse(affine_faults(str(path), image.affine))
    return image if content is None else type(image).from_bytes(content)


def _raw_header(path: Path, header_class: type[Any]) -> Any:
    """The NIfTI header as stored, before nibabel corrects what it takes for slips."""
    zipped = path.name.lower().endswith(".gz")
    with gzip.open(path) if zipped else path.open("rb") as stream:
        return header_class.from_fileobj(stream, check=False)
