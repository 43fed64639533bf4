import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, NormalizeIntensityd, Spacingd
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from medssl.data import CropAboveMinimumd, LoadCased, preprocessing
from medssl.data.reading.annotations import AnnotationLabels, annotated_preprocessing
from medssl.reliability import ConformalCalibrator

SHAPE = (12, 10, 8)
CODES = ("RAS", "LPS", "SLA", "PIR")


def softmax(logits):
    return (np.exp(logits) / np.exp(logits).sum(0)).astype(np.float32)


class LeftBeforeRight:
    """A calibrator that looks at places: it believes the first half of the first axis alone."""

    def calibrated_labels(self, probs, background=0):
        labels = probs.argmax(1)
        labels[:, labels.shape[1] // 2 :] = 255
        return labels


@pytest.fixture
def scan(tmp_path):
    """One scan, its label and its map, stored in several orders; the map on a coarser grid."""
    rng = np.random.default_rng(0)
    image = nib.Nifti1Image(rng.normal(size=SHAPE).astype(np.float32) + 5, np.diag([1.0, 1.5, 2.0, 1.0]))
    label = nib.Nifti1Image(rng.integers(0, 3, SHAPE).astype(np.uint8), image.affine)
    probs = softmax(rng.normal(size=(3, 6, 5, 4)) * 3)
    maps = {}
    for codes in CODES:
        turn = ornt_transform(io_orientation(image.affine), axcodes2ornt(codes))
        for name, volume in (("image", image), ("label", label)):
            nib.save(volume.as_reoriented(turn), tmp_path / f"{codes}-{name}.nii.gz")
        coarse = nib.Nifti1Image(np.moveaxis(probs, 0, -1), image.affine).as_reoriented(turn)
        maps[str(tmp_path / f"{codes}-image.nii.gz")] = np.moveaxis(np.asarray(coarse.dataobj), -1, 0)
    return tmp_path, maps


def prepared(folder, maps, codes, *, labeled=False, calibrator=None, orientation="RAS", more=()):
    item = {"image": str(folder / f"{codes}-image.nii.gz"), "annotation": "map"}
    if labeled:
        item["label"] = str(folder / f"{codes}-label.nii.gz")
    labels = AnnotationLabels(maps.__getitem__, calibrator=calibrator, orientation=orientation)
    steps = preprocessing([LoadCased(["image", "label"]), *more], orientation)
    return annotated_preprocessing(steps, labels)(item)


def test_labels_are_the_most_probable_class_on_the_grid_of_the_image(scan):
    folder, maps = scan
    item = prepared(folder, maps, "RAS", orientation=None)
    probs = torch.from_numpy(maps[str(folder / "RAS-image.nii.gz")])[None]
    resized = torch.nn.functional.interpolate(probs, SHAPE, mode="trilinear", align_corners=False)
    assert item["annotation"].dtype == torch.uint8
    assert torch.equal(item["annotation"].as_tensor()[0].long(), resized[0].argmax(0))
    assert "label" not in item


@pytest.mark.parametrize("codes", CODES[1:])
def test_storage_order_changes_neither_labels_nor_the_places_that_a_calibrator_sees(scan, codes):
    folder, maps = scan
    first, other = (
        prepared(folder, maps, which, labeled=True, calibrator=LeftBeforeRight()) for which in ("RAS", codes)
    )
    for key in ("image", "label", "annotation"):
        assert torch.equal(first[key].as_tensor(), other[key].as_tensor()), key
    ignored = first["annotation"][0] == 255
    assert ignored[6:].all()
    assert not ignored[:6].any()


@pytest.mark.parametrize("codes", CODES[1:])
def test_a_calibrator_is_fitted_on_the_same_pairs_whatever_the_storage_order(scan, codes):
    folder, maps = scan
    pairs = []
    for which in ("RAS", codes):
        labels = AnnotationLabels(maps.__getitem__, orientation="RAS")
        label = LoadCased("label").load_label([folder / f"{which}-label.nii.gz"])
        pairs.append(labels.pair(str(folder / f"{which}-image.nii.gz"), label))
    assert all(torch.equal(a, b) for a, b in zip(*pairs, strict=True))
    assert pairs[0][0].shape == (3, 6, 5, 4)
    assert pairs[0][1].shape == SHAPE


@pytest.mark.parametrize("labeled", [False, True])
def test_an_annotators_labels_are_cropped_and_resampled_as_labels_are(scan, labeled):
    """The map says what the label says, on its grid: both must end the same."""
    folder, _ = scan
    stored = np.asarray(nib.load(folder / "LPS-label.nii.gz").dataobj)
    maps = {str(folder / "LPS-image.nii.gz"): np.eye(3, dtype=np.float32)[stored].transpose(3, 0, 1, 2)}
    more = (
        CropAboveMinimumd(["image", "label"], source_key="image", allow_missing_keys=True),
        Spacingd(["image", "label"], [2.0, 1.0, 1.0], mode=["bilinear", "nearest"], allow_missing_keys=True),
        NormalizeIntensityd("image"),
    )
    item = prepared(folder, maps, "LPS", labeled=labeled, more=more)
    alone = preprocessing([LoadCased(["image", "label"]), *more], "RAS")(
        {"image": str(folder / "LPS-image.nii.gz"), "label": str(folder / "LPS-label.nii.gz")}
    )
    assert torch.equal(item["image"].as_tensor(), alone["image"].as_tensor())
    assert torch.equal(item["annotation"].as_tensor().float(), alone["label"].as_tensor().float())
    assert ("label" in item) == labeled
    if labeled:
        assert torch.equal(item["label"].as_tensor().float(), alone["label"].as_tensor().float())


def test_items_without_a_map_pass_as_before(scan):
    folder, _ = scan
    steps = preprocessing([LoadCased(["image", "label"])], "RAS")
    item = {key: str(folder / f"PIR-{key}.nii.gz") for key in ("image", "label")}
    annotated = annotated_preprocessing(steps, AnnotationLabels({}.__getitem__))(item)
    assert annotated.keys() == steps(item).keys()
    assert all(torch.equal(annotated[key], steps(item)[key]) for key in item)


def test_images_keep_their_order_and_a_fitted_calibrator_leaves_pixels_out():
    rng = np.random.default_rng(1)
    probs = softmax(rng.normal(size=(3, 9, 12)) * 2)
    labels = AnnotationLabels(lambda image: probs, calibrator=None, orientation="RAS")
    image = MetaTensor(torch.zeros(3, 18, 24))
    raw = labels.label("any.png", image)
    truth = raw.clone()
    truth[:, ::4] = (truth[:, ::4] + 1) % 3
    calibrator = ConformalCalibrator(0.3, pooling="image")
    calibrator.fit([labels.pair("any.png", MetaTensor(truth.float()))])
    believed = AnnotationLabels(lambda image: probs, calibrator=calibrator).label("any.png", image)
    assert raw.shape == believed.shape == (1, 18, 24)
    kept = believed != 255
    assert 0 < kept.float().mean() < 1
    assert torch.equal(believed[kept], raw[kept])


def test_what_loads_nothing_is_refused():
    with pytest.raises(ValueError, match="LoadCased"):
        annotated_preprocessing(Compose([NormalizeIntensityd("image")]), AnnotationLabels({}.__getitem__))
