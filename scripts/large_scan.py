"""Time and peak memory of predicting one large scan, from the file to the review folder.

    python scripts/large_scan.py --size 512 512 600

The scan is a generated CT (noise in a body) and the network is untrained: what is measured is the work, not
what comes of it. Prints the stages' sum in seconds and the process's peak in MiB, above what torch and MONAI
take when they are loaded.
"""

import argparse
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from benchmark import high_water
from monai.transforms import Compose, ScaleIntensityRanged

from medssl.data import LoadCased
from medssl.inference.deployable import deployable
from medssl.inference.predictor import Predictor
from medssl.networks import Deployed, VNet
from medssl.review import write_review_package
from medssl.review.segments import segment_classes

SPACING = (0.8, 0.8, 1.0)


def write_scan(path: Path, size: list[int]) -> None:
    """A cylinder of noise around 40 HU in air, int16, written section by section."""
    rng = np.random.default_rng(0)
    scan = np.full(size, -1024, np.int16)
    x, y = np.ogrid[-1 : 1 : size[0] * 1j, -1 : 1 : size[1] * 1j]
    body = x**2 + (1.4 * y) ** 2 < 0.7
    for z in range(size[2]):
        scan[..., z][body] = rng.normal(40, 60, int(body.sum()))
    image = nib.Nifti1Image(scan, np.diag([*SPACING, 1.0]))
    image.header.set_xyzt_units("mm")
    nib.save(image, path)


def main() -> None:
    """Predict it."""
    parser = argparse.ArgumentParser(description="time and memory of one large scan")
    parser.add_argument("--size", type=int, nargs=3, default=[512, 512, 600])
    parser.add_argument("--width", type=int, default=2)
    parser.add_argument("--patch", type=int, nargs=3, default=[96, 96, 96])
    parser.add_argument("--stride", type=int, nargs=3, default=[80, 80, 80])
    parser.add_argument("--amp", default="bf16", choices=("off", "bf16"))
    arguments = parser.parse_args()
    before = high_water()
    with tempfile.TemporaryDirectory() as folder:
        scan = Path(folder) / "scan.nii.gz"
        write_scan(scan, arguments.size)
        torch.manual_seed(0)
        predictor = Predictor(
            [deployable(Deployed(VNet(width=arguments.width)))],
            num_classes=2,
            patch=arguments.patch,
            stride=arguments.stride,
            amp=arguments.amp,
        )
        window = ScaleIntensityRanged("image", a_min=-125, a_max=275, b_min=0, b_max=1, clip=True)
        began = time.perf_counter()
        result = write_review_package(
            Path(folder) / "review",
            items=[{"case": "large", "image": str(scan)}],
            transform=Compose([LoadCased("image"), window]),
            predictor=predictor,
            classes=segment_classes(2),
            model=[{"file": "none", "run": "none", "sha256": ""}],
        )
        seconds = time.perf_counter() - began
        written = sum(path.stat().st_size for path in result.folder.iterdir())
    above, voxels = high_water() - before, int(np.prod(arguments.size))
    windows, failed = predictor.windows(arguments.size), result.failed or "no fault"
    print(f"{arguments.size}: {seconds:.0f} s, {windows} windows, {failed}")
    print(f"peak {above + before:.0f} MiB")
    print(f"{above:.0f} MiB above the start, {above * 2**20 / voxels:.1f} bytes a voxel")
    print(f"{written / 2**20:.0f} MiB written")


if __name__ == "__main__":
    main()
