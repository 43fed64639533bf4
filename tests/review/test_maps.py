"""From a scan through preprocessing and back: the written maps lie where the scan lies.

The network classifies every voxel by its intensity, so that the right answer is known: the scan thresholded.
"""

import gzip

import h5py
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import yaml
from monai.bundle import ConfigParser
from scipy import ndimage
from scipy.spatial.transform import Rotation

from medssl.common.errors import InputError
from medssl.review import write_like
from medssl.review.voxel_maps import VOXEL_MAPS
from tests.places import ROOT

from .scans import AFFINES, MAPS, SPACING, THRESHOLD, Threshold, affine, assert_same_geometry, body, save_scan

# What inference.yaml wires, without the settings of a data set.
CONFIG = """
steps:
- _target_: medssl.data.LoadCased
  keys: image
  h5_spacing: '@h5_spacing'
- _target_: CropForegroundd
  keys: image
  source_key: image
  select_fn: "$lambda x: x > 0.05"
- _target_: Spacingd
  _disabled_: $@spacing is None
  keys: image
  pixdim: '@spacing'
- _target_: SpatialPadd
  keys: image
  spatial_size: [28, 28, 28]
dataset:
  _target_: Dataset
  data: '@cases'
  transform: $data.preprocessing(@steps, @orientation)
dataloader:
  _target_: DataLoader
  dataset: '@dataset'
  batch_size: 1
  collate_fn: $monai.data.utils.no_collation
inferer:
  _target_: medssl.inference.predictor.Predictor
  networks: $[@network]
  num_classes: 2
  patch: [16, 16, 16]
  stride: [12, 12, 12]
evaluator:
  _target_: medssl.inference.scan_evaluator.ScanEvaluator
  val_data_loader: '@dataloader'
  inferer: '@inferer'
  val_handlers:
  - _target_: medssl.review.MapWriter
    out: '@out'
    overwrite: '@overwrite'
"""


def predict(cases, out, *, spacing=None, h5_spacing=1.0, overwrite=False, orientation="RAS"):
    parser = ConfigParser(yaml.safe_load(CONFIG))
    parser["imports"] = [
        "$import monai",
        "$import medssl.data as data",
        "$import medssl.inference",
        "$import medssl.review",
    ]
    settings = {"cases": cases, "out": str(out), "spacing": spacing, "h5_spacing": h5_spacing}
    settings["orientation"] = orientation
    for key, value in {**settings, "overwrite": overwrite}.items():
        parser[key] = value
    parser["network"] = {"_target_": f"{Threshold.__module__}.Threshold"}
    parser.get_parsed_content("evaluator").run()


@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize("orientation", ["RAS", "PIL", None])
def test_at_the_scans_own_spacing_the_prediction_is_the_thresholded_scan(tmp_path, name, orientation):
    values = body((40, 36, 24), SPACING)
    scan = save_scan(tmp_path / "scan.nii.gz", values, AFFINES[name])
    predict([{"case": "c1", "image": str(scan)}], tmp_path / "out", orientation=orientation)
    for suffix in MAPS:
        assert_same_geometry(tmp_path / "out" / f"c1_{suffix}.nii.gz", scan)
    written = nib.load(tmp_path / "out" / "c1_seg.nii.gz")
    assert written.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(np.asarray(written.dataobj), values > THRESHOLD)
    seen_by_itk = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / "c1_seg.nii.gz")))
    np.testing.assert_array_equal(seen_by_itk.transpose(2, 1, 0), values > THRESHOLD)


@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize("spacing", [[1.2, 1.2, 1.2], [0.7, 1.0, 2.0]])
def test_at_another_spacing_the_prediction_is_right_within_a_voxel(tmp_path, name, spacing):
    values = body((40, 36, 24), SPACING)
    scan = save_scan(tmp_path / "scan.nii.gz", values, AFFINES[name])
    predict([{"case": "c1", "image": str(scan)}], tmp_path / "out", spacing=spacing)
    assert_same_geometry(tmp_path / "out" / "c1_seg.nii.gz", scan)
    predicted = np.asarray(nib.load(tmp_path / "out" / "c1_seg.nii.gz").dataobj) > 0
    truth, voxel = values > THRESHOLD, np.ones((3, 3, 3))
    assert not (predicted & ~ndimage.binary_dilation(truth, voxel)).any()
    assert not (ndimage.binary_erosion(truth, voxel) & ~predicted).any()
    assert 2 * (predicted & truth).sum() / (predicted.sum() + truth.sum()) > 0.93


def test_maps_belong_to_one_another(tmp_path):
    """Label, confidence and uncertainty all follow from one set of probabilities of two classes."""
    values = body((40, 36, 24), SPACING)
    scan = save_scan(tmp_path / "scan.nii.gz", values, AFFINES["oblique"])
    predict([{"case": "c1", "image": str(scan)}], tmp_path / "out", spacing=[1.2, 1.2, 1.2])
    confidence, uncertainty = (
        np.asarray(nib.load(tmp_path / "out" / f"c1_{name}.nii.gz").dataobj) for name in MAPS[1:]
    )
    assert confidence.dtype == uncertainty.dtype == np.float32
    assert confidence.min() >= 0.5
    assert confidence.max() <= 1
    p = confidence.astype(np.float64)
    q = np.maximum(1 - p, 1e-300)
    np.testing.assert_allclose(uncertainty, -(p * np.log2(p) + q * np.log2(q)), atol=1e-4)
    # Outside the crop nothing was predicted: certain background.
    assert (uncertainty[0, 0, 0], confidence[0, 0, 0]) == (0, 1)


@pytest.mark.parametrize(("sform_code", "qform_code"), [(4, 2), (1, 0), (0, 1), (2, 3)])
@pytest.mark.parametrize("units", [("mm", "sec"), ("micron", "unknown"), ("unknown", "unknown")])
def test_codes_units_and_a_differing_qform_are_kept(tmp_path, sform_code, qform_code, units):
    values = body((12, 11, 10), (1, 1, 1))
    other = affine(SPACING, degrees=(3, 4, 5))
    codes = {"sform_code": sform_code, "qform_code": qform_code}
    scan = save_scan(tmp_path / "scan.nii.gz", values, AFFINES["oblique"], qform=other, units=units, **codes)
    label = (values > THRESHOLD).astype(np.uint8)
    write_like(tmp_path / "seg.nii.gz", label, reference_file=scan, affine=np.eye(4))
    assert_same_geometry(tmp_path / "seg.nii.gz", scan)


def test_a_nifti2_scan_keeps_its_double_precision(tmp_path):
    oblique = AFFINES["oblique"]
    nib.save(nib.Nifti2Image(np.zeros((4, 5, 6), np.float32), oblique), tmp_path / "scan.nii.gz")
    write_like(
        tmp_path / "seg.nii.gz",
        np.ones((4, 5, 6), np.uint8),
        reference_file=tmp_path / "scan.nii.gz",
        affine=np.eye(4),
    )
    np.testing.assert_array_equal(nib.load(tmp_path / "seg.nii.gz").affine, oblique)


def test_nothing_but_geometry_is_taken_from_the_scan(tmp_path):
    image = nib.Nifti1Image(np.zeros((4, 5, 6, 2), np.int16), AFFINES["flipped"])
    image.header["descrip"] = b"Jane Doe"
    image.header["cal_max"] = 7
    image.header.set_zooms((0.8, 1.1, 1.6, 3.5))
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"Jane Doe"))
    nib.save(image, tmp_path / "scan.nii.gz")
    written = tmp_path / "seg.nii.gz"
    label = np.arange(120, dtype=np.uint8).reshape(4, 5, 6)
    write_like(written, label, reference_file=tmp_path / "scan.nii.gz", affine=np.eye(4))
    assert b"Jane" not in gzip.decompress(written.read_bytes())
    assert nib.load(written).shape == (4, 5, 6)
    np.testing.assert_array_equal(nib.load(written).get_fdata(), label)
    assert nib.load(written).header["cal_max"] == 0
    assert nib.load(written).header["pixdim"][4] == 1


def test_an_hdf5_scan_gets_the_affine_of_its_spacing(tmp_path):
    values = body((24, 20, 22), (0.625, 0.625, 0.625))
    with h5py.File(tmp_path / "mri_norm2.h5", "w") as file:
        file["image"], file["label"] = values, (values > THRESHOLD).astype(np.uint8)
    cases = [{"case": "c1", "image": str(tmp_path / "mri_norm2.h5")}]
    predict(cases, tmp_path / "out", h5_spacing=0.625)
    written = nib.load(tmp_path / "out" / "c1_seg.nii.gz")
    np.testing.assert_array_equal(written.affine, np.diag([0.625, 0.625, 0.625, 1]))
    assert written.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_array_equal(np.asarray(written.dataobj), values > THRESHOLD)


def test_a_metaimage_scan_is_written_where_it_lies(tmp_path):
    values = body((24, 20, 22), (1, 1, 1))
    image = sitk.GetImageFromArray(values.transpose(2, 1, 0))
    image.SetSpacing(SPACING)
    image.SetOrigin((5.5, -7.25, 90))
    image.SetDirection(Rotation.from_euler("xyz", (0.2, -0.1, 0.4)).as_matrix().flatten().tolist())
    sitk.WriteImage(image, str(tmp_path / "scan.mha"))
    predict([{"case": "c1", "image": str(tmp_path / "scan.mha")}], tmp_path / "out")
    written = sitk.ReadImage(str(tmp_path / "out" / "c1_seg.nii.gz"))
    np.testing.assert_allclose(written.GetSpacing(), SPACING, atol=1e-6)
    np.testing.assert_allclose(written.GetOrigin(), image.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(written.GetDirection(), image.GetDirection(), atol=1e-6)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(written), sitk.GetArrayFromImage(image) > THRESHOLD)


def test_a_second_run_refuses_and_leaves_every_file_alone(tmp_path):
    scan = save_scan(tmp_path / "scan.nii.gz", body((20, 20, 20), (1, 1, 1)), AFFINES["upright"])
    cases, out = [{"case": "c1", "image": str(scan)}], tmp_path / "out"
    out.mkdir()
    (out / "c1_uncertainty.nii.gz").write_bytes(b"mine")
    with pytest.raises(InputError, match="exists already"):
        predict(cases, out)
    assert [path.name for path in out.iterdir()] == ["c1_uncertainty.nii.gz"]
    assert (out / "c1_uncertainty.nii.gz").read_bytes() == b"mine"
    predict(cases, out, overwrite=True)
    assert sorted(path.name for path in out.iterdir()) == sorted(f"c1_{name}.nii.gz" for name in MAPS)


def test_the_same_volume_gives_the_same_bytes_and_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    scan = save_scan(tmp_path / "scan.nii.gz", np.zeros((4, 5, 6), np.float32), np.eye(4))
    label = np.ones((4, 5, 6), np.uint8)
    for name, clock in (("a", 1e9), ("b", 2e9)):
        monkeypatch.setattr("time.time", lambda clock=clock: clock)
        write_like(tmp_path / f"{name}.nii.gz", label, reference_file=scan, affine=np.eye(4))
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    monkeypatch.setattr(gzip, "GzipFile", lambda **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_like(tmp_path / "c.nii.gz", label, reference_file=scan, affine=np.eye(4))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.nii.gz", "b.nii.gz", "scan.nii.gz"]


def test_refuses_a_map_of_another_shape(tmp_path):
    scan = save_scan(tmp_path / "scan.nii.gz", np.zeros((4, 5, 6), np.float32), np.eye(4))
    with pytest.raises(ValueError, match="shape"):
        write_like(
            tmp_path / "x.nii.gz", np.zeros((5, 4, 6), np.uint8), reference_file=scan, affine=np.eye(4)
        )


def test_the_guide_prints_the_table():
    lines = [f"| `CASE_{kind.suffix.format(label='N')}.nii.gz` | {kind.content} |" for kind in VOXEL_MAPS]
    printed = "\n".join(lines) + "\n"
    assert printed in (ROOT / "docs" / "review.md").read_text(encoding="utf-8"), printed


def test_every_case_gets_its_three_files(tmp_path):
    scans = [save_scan(tmp_path / f"{n}.nii.gz", body((20, 20, 20), (1, 1, 1), n), np.eye(4)) for n in (1, 2)]
    predict([{"case": f"c{n}", "image": str(scan)} for n, scan in enumerate(scans)], tmp_path / "out")
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 2 * len(MAPS)
