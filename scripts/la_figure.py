"""Slices of validation cases: reference, prediction, confidence, uncertainty and perturbation region.

    python scripts/la_figure.py DATA CHECKPOINT OUT.png --cases CASE CASE

For the left atrium at half resolution (``la_half``). The perturbation region is that of the training: from
all four views, two decoders of student and teacher, on a patch around the middle of the case.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from monai.transforms import Compose, NormalizeIntensityd, Spacingd

from medssl.data import LoadCased
from medssl.inference.checkpoints import load_checkpoint
from medssl.inference.deployment import load_deployment
from medssl.inference.sliding_window import SlidingWindowProbabilities
from medssl.methods import TCSeg
from medssl.reliability import confidence, entropy, perturbation_region

PATCH = (64, 64, 32)


def main() -> None:
    """Draw one row per case."""
    parser = argparse.ArgumentParser(description="slices of validation cases with their maps")
    parser.add_argument("data", type=Path, help="folder with images/ and labels/")
    parser.add_argument("checkpoint", type=Path, help="best.pt or last.pt of a TCSeg run")
    parser.add_argument("out", type=Path)
    parser.add_argument("--cases", nargs="+", required=True)
    arguments = parser.parse_args()
    torch.manual_seed(0)

    method = TCSeg(load_deployment([arguments.checkpoint]).networks[0])
    method.load_state_dict(load_checkpoint(arguments.checkpoint)["method"])
    method.eval()
    load = Compose(
        [
            LoadCased(["image", "label"]),
            NormalizeIntensityd("image"),
            Spacingd(["image", "label"], pixdim=(1.25, 1.25, 1.25), mode=("bilinear", "nearest")),
        ]
    )
    infer = SlidingWindowProbabilities(PATCH, stride=(10, 10, 4))
    titles = ("scan and reference", "prediction", "confidence", "uncertainty", "perturbation region")
    figure, axes = plt.subplots(
        len(arguments.cases), 5, figsize=(12, 2.7 * len(arguments.cases)), squeeze=False, layout="constrained"
    )
    for number, (row, case) in enumerate(zip(axes, arguments.cases, strict=True)):
        item = load(
            {kind: str(arguments.data / f"{kind}s" / f"{case}.nii.gz") for kind in ("image", "label")}
        )
        image, label = item["image"].as_tensor(), item["label"].as_tensor()[0].numpy()
        probs = infer(image.unsqueeze(0), method)
        maps = {
            "label_map": probs.argmax(1),
            "confidence": confidence([probs]),
            "uncertainty": entropy(probs) / np.log(probs.shape[1]),
        }
        level = int(np.argmax(label.sum((0, 1))))
        region = _region(method, image.unsqueeze(0))
        scan = image[0, :, :, level].numpy().T
        for panel, title in zip(row, titles, strict=True):
            panel.imshow(scan, cmap="gray", origin="lower")
            panel.contour(label[:, :, level].T, [0.5], colors="#0072b2", linewidths=1)
            panel.set_axis_off()
            if number == 0:
                panel.set_title(title, fontsize=9)
        row[0].text(1, 1, case, color="white", fontsize=6)
        row[1].contour(maps["label_map"][0, :, :, level].numpy().T, [0.5], colors="#d55e00", linewidths=1)
        for panel, key, low in ((row[2], "confidence", 0.5), (row[3], "uncertainty", 0.0)):
            shown = panel.imshow(
                maps[key][0, :, :, level].numpy().T, cmap="viridis", vmin=low, vmax=1, origin="lower"
            )
            figure.colorbar(shown, ax=panel, shrink=0.7)
        marked = np.ma.masked_where(~region[:, :, level].T, np.ones_like(scan))
        row[4].imshow(marked, cmap="autumn", alpha=0.6, origin="lower")
    figure.suptitle("blue: reference; orange: prediction", fontsize=9)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(arguments.out, dpi=80)


@torch.no_grad()
def _region(method: TCSeg, image: torch.Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """The perturbation region of a patch in the middle of the volume, in the whole volume."""
    shape = image.shape[2:]
    start = [max(0, (n - p) // 2) for n, p in zip(shape, PATCH, strict=True)]
    where = tuple(slice(s, s + p) for s, p in zip(start, PATCH, strict=True))
    patch = image[(slice(None), slice(None), *where)]
    missing = [p - n for p, n in zip(PATCH, patch.shape[2:], strict=True)]
    pads = [v for m in reversed(missing) for v in (0, m)]
    patch = torch.nn.functional.pad(patch, pads)
    unreliable = method.judge(method.network(patch), method.teacher(patch), labeled=0).unreliable
    region = perturbation_region(unreliable, generator=torch.Generator().manual_seed(0))[0]
    whole = np.zeros(tuple(shape), bool)
    inner = tuple(slice(0, min(p, n)) for p, n in zip(PATCH, shape, strict=True))
    whole[where] = region[inner].numpy()
    return whole


if __name__ == "__main__":
    main()
