"""Annotating many images once, so that a training never needs the annotator."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medssl import __version__
from medssl.annotators.base import Annotator
from medssl.annotators.folder import ImageFiles, first_file, map_name
from medssl.annotators.maps import Precision, read_map, write_map
from medssl.common.errors import InputError, find_input_error
from medssl.common.files import write_text
from medssl.common.progress import Progress
from medssl.common.provenance import versions
from medssl.data.reading.formats import NIFTI, format_of

RECORD = "annotator.json"
"""File beside the maps that says whose they are."""

logger = logging.getLogger(__name__)


@dataclass
class AnnotationResult:
    """What became of the images.

    Attributes:
        folder: of the maps.
        annotated: images annotated now, by the names of their maps.
        skipped: those that had a readable map before.
        failed: those that could not be annotated, with the reason.
    """

    folder: Path
    annotated: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def annotate_images(
    annotator: Annotator,
    images: Sequence[ImageFiles],
    out: str | Path,
    *,
    precision: Precision = "uint8",
) -> AnnotationResult:
    """Write the annotation map of every image (:mod:`medssl.annotators.maps`).

    A map that is there, can be read and has the annotator's number of classes is left as it is, so that a run
    that was cut goes on when it is started again. An image that cannot be annotated is reported and does not
    stop the others. Maps of NIfTI scans are NIfTI, all others ``.npz``.

    Args:
        annotator: the model.
        images: their files.
        out: folder; made where it is missing.
        precision: of the numbers on disk.

    Returns:
        What became of each.

    Raises:
        InputError: no image, two whose maps would have one name, or a folder with maps of another annotator
            or of other classes.
    """
    if not images:
        raise InputError("images", "there is none to annotate", "name a list or a folder with images")
    paths = _paths(Path(out), images)
    _claim(Path(out), annotator, precision)
    result = AnnotationResult(Path(out))
    with Progress(len(images), title="annotation", unit="image") as progress:
        for image, path in zip(images, paths, strict=True):
            name = map_name(image)
            if _is_finished(path, len(annotator.classes)):
                result.skipped.append(name)
            else:
                try:
                    write_map(path, annotator.annotate(image), precision=precision, scan=first_file(image))
                    result.annotated.append(name)
                except Exception as error:
                    input_error = find_input_error(error)
                    if input_error is None:
                        raise
                    result.failed[name] = str(input_error)
                    logger.error("%s", input_error)
            progress.advance()
    return result


def _paths(out: Path, images: Sequence[ImageFiles]) -> list[Path]:
    """Where each map goes."""
    sources: dict[str, Path] = {}
    paths = []
    for image in images:
        name, source = map_name(image), first_file(image)
        if name in sources:
            fault = f"and {sources[name]} would have maps of one name ({name})"
            raise InputError(source, fault, "annotate them into two folders")
        sources[name] = source
        is_nifti = not source.is_dir() and format_of(source) is NIFTI
        paths.append(out / f"{name}{'.nii.gz' if is_nifti else '.npz'}")
    return paths


def _claim(out: Path, annotator: Annotator, precision: Precision) -> None:
    """Write whose maps these are, before the first one, or refuse to mix them with another's."""
    record = {"classes": list(annotator.classes), "precision": precision, **annotator.record}
    record = json.loads(json.dumps(record))
    path = out / RECORD
    if path.is_file():
        stored = _stored(path)
        other = next((name for name in (*record, *stored) if record.get(name) != stored.get(name)), None)
        if other is not None:
            fault = f"holds maps made with {other} {stored.get(other)!r}, not {record.get(other)!r}"
            raise InputError(out, fault, "choose another folder")
        return
    facts = {**record, "versions": {"medssl": __version__, **versions()}}
    write_text(path, json.dumps(facts, indent=1, ensure_ascii=False) + "\n")


def _stored(path: Path) -> dict[str, Any]:
    """The record in a folder, without the versions of the programs, which may change in between."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(path, f"cannot be read ({error})", "choose another folder") from error
    if not isinstance(content, Mapping):
        raise InputError(path, "does not say whose maps these are", "choose another folder")
    return {name: value for name, value in content.items() if name != "versions"}


def _is_finished(path: Path, num_classes: int) -> bool:
    try:
        return path.is_file() and len(read_map(path)) == num_classes
    except InputError:
        return False
