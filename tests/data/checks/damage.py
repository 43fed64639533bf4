"""A data folder with every kind of damage, one case each, and what the check should call it."""

import gzip
import json
import struct
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
from PIL import Image

SHAPE = (14, 12, 10)
AFFINE = np.array([[-0.7, 0, 0, 5], [0, 0.8, 0, -3], [0, 0, 2.5, 7], [0, 0, 0, 1.0]])


def noise(seed, shape=SHAPE):
    return np.random.default_rng(seed).normal(100, 30, size=shape).astype(np.float32)


def blob(image):
    label = np.zeros(image.shape[:3], np.uint8)
    label[4:9, 3:8, 2:7] = 1
    return label


def save(path, array, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


class Folder:
    """``images/`` and ``labels/`` with a datalist of relative names."""

    def __init__(self, root: Path):
        self.root, self.lists, self.extra, self.count = root, {"training": []}, {}, 0

    def add(self, case, *, image=None, label=None, split="training", suffix=".nii.gz", affine=AFFINE):
        """Add a sound case, or one whose arrays are given; returns the two paths, to be damaged."""
        self.count += 1
        image = noise(self.count) if image is None else image
        label = blob(image) if label is None else label
        paths = [self.root / kind / f"{case}{suffix}" for kind in ("images", "labels")]
        save(paths[0], image, affine)
        save(paths[1], label, affine)
        item = {"image": f"images/{case}{suffix}", "label": f"labels/{case}{suffix}"}
        if split == "unlabeled":
            del item["label"]
        self.lists.setdefault(split, []).append(item)
        return paths

    def write(self, name="d.json"):
        path = self.root / name
        path.write_text(json.dumps({**self.lists, **self.extra}, ensure_ascii=False), encoding="utf-8")
        return path


def patch_header(path, changes):
    """Overwrite bytes of a gzipped NIfTI header: ``{offset: (format, values)}``."""
    content = bytearray(gzip.decompress(path.read_bytes()))
    for offset, (kind, values) in changes.items():
        struct.pack_into(kind, content, offset, *values)
    path.write_bytes(gzip.compress(bytes(content)))


def moved(affine=AFFINE, by=2.0):
    result = affine.copy()
    result[0, 3] += by
    return result


def damaged_folder(root):
    """A folder and, for each of its cases, the codes that the check should give it."""
    folder = Folder(root)
    expected = {}

    def case(name, *codes, **arrays):
        expected[name] = set(codes)
        return folder.add(name, **arrays)

    for number in range(6):
        case(f"good{number}")
    image, _ = case("truncated", "damaged")
    image.write_bytes(image.read_bytes()[:1500])
    _, label = case("truncated-label", "damaged")
    label.write_bytes(label.read_bytes()[:90])
    image, _ = case("checksum", "damaged")
    content = bytearray(image.read_bytes())
    content[-8] ^= 1
    image.write_bytes(bytes(content))
    image, _ = case("no-gzip", "unreadable")
    image.write_bytes(b"hello world" * 99)
    image, _ = case("magic", "unreadable", suffix=".nii")
    image.write_bytes(b"hello world" * 99)
    image, _ = case("zipped-text", "unreadable")
    image.write_bytes(gzip.compress(b"hello world" * 99))
    image, _ = case("zero-byte", "empty-file")
    image.write_bytes(b"")
    for name, value in (("nan", np.nan), ("infinity", np.inf)):
        array = noise(500 + len(name))
        array[1, 2, 3] = value
        case(name, "not-finite", image=array)
    case("constant", "constant", image=np.full(SHAPE, 7, np.int16))
    case("label-shape", "label-shape", label=blob(noise(0))[:-1])
    _, label = case("label-shifted", "label-affine")
    save(label, blob(noise(0)), moved())
    _, label = case("label-flipped", "label-affine")
    save(label, blob(noise(0)), AFFINE @ np.diag([-1.0, 1, 1, 1]))
    case("film", "channels", image=noise(600, (*SHAPE, 3)))
    image, _ = case("flat", "not-a-volume")
    save(image, noise(601, SHAPE[:2]))
    negative = blob(noise(0)).astype(np.int16)
    negative[5, 5, 5] = -1
    case("label-negative", "label-negative", label=negative)
    case("label-whole-floats", label=blob(noise(0)).astype(np.float32))
    case("label-halves", "label-values", label=blob(noise(0)) * np.float32(0.5))
    case("label-nan", "label-values", label=np.where(blob(noise(0)), np.nan, 0).astype(np.float32))
    case("label-outside", "label-range", label=blob(noise(0)) * np.uint8(5))
    case("label-empty", "label-empty", label=np.zeros(SHAPE, np.uint8))
    case("label-255", "label-255", label=np.where(blob(noise(0)), 1, 255).astype(np.uint8))
    case("label-all-255", "label-all-255", "label-255", label=np.full(SHAPE, 255, np.uint8))
    case("label-two-channels", "label-channels", label=np.stack([blob(noise(0))] * 2, -1))
    huge = AFFINE @ np.diag([1000.0, 1000, 1000, 1])
    case("huge-spacing", "spacing-implausible", "spacing-outlier", affine=huge)
    image, label = case("zero-spacing", "affine")
    for path in (image, label):  # no sform, pixdim 0
        patch_header(path, {254: ("<h", [0]), 80: ("<3f", [0.0, 0.0, 0.0])})
    image, _ = case("singular", "affine")
    patch_header(image, {280: ("<4f", [float("nan")] * 4)})  # first row of the sform
    image, label = case("two-spacings", "transforms")
    for path in (image, label):
        patch_header(path, {80: ("<3f", [0.7, 0.8, 3.0])})
    shear = AFFINE.copy()
    shear[0, 2] = 0.5
    case("sheared", "sheared", affine=shear)
    image, _ = case("two-transforms", "transforms")
    patch_header(image, {252: ("<h", [1]), 268: ("<f", [40.0])})  # the qform's code and offset
    image, _ = case("micrometres", "unit")
    patch_header(image, {123: ("<B", [3])})
    case("small", "small", image=noise(602, (14, 12, 6)))
    image, _ = case("missing", "missing-file")
    image.unlink()
    _, label = case("missing-label", "missing-file")
    label.unlink()
    image, _ = case("loop", "path")
    image.unlink()
    image.symlink_to(image)
    image, _ = case("text", "unknown-format", suffix=".nii")
    image.rename(image.with_suffix(".txt"))
    folder.lists["training"][-1]["image"] = "images/text.txt"
    image, _ = case("folder", "unreadable")
    image.unlink()
    image.mkdir()
    image, _ = case("no-dataset", "unreadable", suffix=".nii")
    with h5py.File(root / "images" / "no-dataset.h5", "w") as file:
        file["pixels"] = noise(603)
    folder.lists["training"][-1]["image"] = "images/no-dataset.h5"
    case("Größe und Tiefe 層 (2)")
    case("photograph", "axes")
    for kind in ("image", "label"):
        name = folder.lists["training"][-1][kind] = f"{kind}s/photograph.png"
        pixels = np.arange(256, dtype=np.uint8).reshape(16, 16) // (1 if kind == "image" else 128)
        Image.fromarray(pixels).save(root / name)

    # One scan twice: the same voxels behind another header, and copies under another name in another list.
    original = noise(700)
    case("original", image=original)
    case("same-voxels", "same-scan", image=original.astype(np.float64), affine=moved(by=9.0))
    case("same-voxels-test", "same-scan-across-lists", image=original, affine=moved(by=5.0), split="test")
    image, _ = case("copied")
    copy, label = case("copy", "copy-across-lists", split="validation")
    copy.write_bytes(gzip.compress(gzip.decompress(image.read_bytes()), 1))
    image, _ = case("linked")
    link, _ = case("link", "file-twice", split="test")
    link.unlink()
    link.symlink_to(image)
    case("shared")
    case("shares-label", "shared-label")
    folder.lists["training"][-1]["label"] = "labels/shared.nii.gz"
    case("image-as-label", "label-is-image", "label-values")
    folder.lists["training"][-1]["label"] = folder.lists["training"][-1]["image"]
    case("patient-a1")
    case("patient-a2", "patient-across-lists", split="test")
    case("patient-b1")
    case("patient-b2", split="unlabeled")
    folder.extra["patients"] = {f"patient-{x}{n}": x for x in "ab" for n in (1, 2)}
    smooth = np.add.outer(np.add.outer(np.sin(np.arange(40) / 5), np.cos(np.arange(36) / 4)), np.zeros(30))
    smooth = (smooth * np.linspace(0.5, 2, 30)).astype(np.float32)
    case("smooth", image=smooth)
    case("smooth-again", "near-duplicate", image=smooth[2:38, 2:34, 1:28] * 3 + 50)

    # An unlabelled case whose label is damaged: it is not opened.
    _, label = case("unlabelled", "label-ignored", split="unlabeled")
    label.write_bytes(b"not a label")
    folder.lists["unlabeled"][-1]["label"] = "labels/unlabelled.nii.gz"
    outside = save(root.parent / "elsewhere" / "outside.nii.gz", noise(800))
    case("outside", "outside-folder", split="unlabeled")
    folder.lists["unlabeled"][-1]["image"] = f"../elsewhere/{outside.name}"
    (root / "images" / "outside.nii.gz").unlink()
    folder.lists["training"].append({"image": "images/good0.nii.gz"})  # an entry without label
    twice = dict(folder.lists["training"][1])
    folder.lists.setdefault("validation", []).append(twice)
    expected["good1"] = {"case-twice"}
    folder.extra["classes"] = ["background", "blob"]
    return folder, expected
