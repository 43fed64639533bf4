"""Prepare a task of the Medical Segmentation Decathlon.

``python scripts/prepare_msd.py ROOT OUT --task Task09_Spleen``: ROOT is the folder that holds the extracted
task (``ROOT/Task09_Spleen/dataset.json``); with ``--download`` MONAI fetches it into ROOT first. OUT gets
``images/CASE.nii.gz`` and ``labels/CASE.nii.gz`` of the training cases, and the images of the challenge's
test cases, whose labels are not published, as unlabelled ones.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from monai.apps import DecathlonDataset

from medssl.common.errors import InputError, unknown_name
from medssl.data import case_name
from medssl.data.preparing.forms import Prepared
from medssl.data.preparing.prepare import (
    Outcome,
    Recipe,
    load_case,
    parser_for,
    prepare_set,
    run_script,
)


def find(root: Path, task: str, *, download: bool) -> tuple[dict[str, dict[str, str]], list[str]]:
    """The cases of a task, and the names of its classes."""
    if task not in DecathlonDataset.resource:
        raise unknown_name("task", task, DecathlonDataset.resource)
    if download:
        root.mkdir(parents=True, exist_ok=True)
    elif not (root / task / "dataset.json").is_file():
        raise InputError(root / task, "holds no dataset.json", "name its parent folder, or add --download")
    try:
        sections = {
            section: DecathlonDataset(root, task, section, download=download, val_frac=0.0, cache_num=0)
            for section in ("training", "test")
        }
    except Exception as error:  # urllib, tarfile, json and MONAI raise their own kinds
        text = " ".join(str(error).split())[:200]
        raise InputError(
            root / task, f"cannot be read as a Decathlon task ({text})", "extract or download it again"
        ) from error
    found: dict[str, dict[str, str]] = {}
    for section, dataset in sections.items():
        for item in dataset.data:
            parts = {"image": str(item["image"])}
            if section == "training":
                parts["label"] = str(item["label"])
            found[case_name(parts["image"])] = parts
    labels = sections["training"].get_properties("labels")["labels"]
    return found, [str(labels[number]) for number in sorted(labels, key=int)]


def convert(parts: Mapping[str, str]) -> Prepared:
    """One case, as it is; modalities stay channels (last axis)."""
    volume, label = load_case(parts)
    channels = volume.numpy()
    image = channels[0] if len(channels) == 1 else np.moveaxis(channels, 0, -1)
    affine = np.array(volume.affine, dtype=np.float64)
    return Prepared(image, affine, None if label is None else label.numpy()[0])


def prepare(root: Path, out: Path, task: str, *, download: bool, jobs: int, overwrite: bool) -> Outcome:
    """Prepare the task."""
    sources, classes = find(root, task, download=download)
    recipe = Recipe("msd", classes, {"recipe": 1, "task": task})
    return prepare_set(out, sources, convert, recipe, jobs=jobs, overwrite=overwrite)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = parser_for(__doc__)
    parser.add_argument("root", type=Path, help="folder that holds the extracted task, or shall hold it")
    parser.add_argument("out", type=Path, help="folder of the prepared set")
    parser.add_argument("--task", required=True, help="such as Task09_Spleen")
    parser.add_argument("--download", action="store_true", help="fetch the task (needs internet)")
    options = parser.parse_args(argv)
    return run_script(
        lambda: prepare(
            options.root,
            options.out,
            options.task,
            download=options.download,
            jobs=options.jobs,
            overwrite=options.overwrite,
        )
    )


if __name__ == "__main__":
    sys.exit(main())
