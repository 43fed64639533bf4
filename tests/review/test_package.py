"""A folder of scans becomes a folder for review, in the geometry of every scan."""

import csv
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from urllib.parse import unquote

import h5py
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.transforms import Compose, CropForegroundd, NormalizeIntensityd, Spacingd
from PIL import Image
from scipy.spatial.transform import Rotation
from torch import nn

from medssl.common.errors import InputError
from medssl.data import LoadCased
from medssl.inference.predictor import Predictor
from medssl.review import PackageOptions, write_review_package
from medssl.review.segments import segment_classes
from medssl.review.worklist import REVIEWER
from tests.processes import PATIENCE

from ..data.dicom import itk_image, write_series
from .scans import AFFINES, MAPS, SPACING, THRESHOLD, Threshold, affine, assert_same_geometry, body, save_scan

MODEL = [{"file": "last.pt", "run": "seed1", "sha256": "0" * 64}]


def package(
    out, items, *, spacing=None, networks=None, classes=2, names=None, options=None, promises=None, **settings
):
    steps = [LoadCased("image", h5_spacing=0.625), CropForegroundd("image", source_key="image")]
    if spacing:
        steps.append(Spacingd("image", pixdim=spacing, mode="bilinear"))
    predictor = Predictor(
        networks or [Threshold()], num_classes=classes, patch=(16, 16, 16), stride=(12, 12, 12), **settings
    )
    return write_review_package(
        out,
        items=items,
        transform=Compose(steps),
        predictor=predictor,
        classes=segment_classes(classes, names or {1: "left atrium"}),
        model=MODEL,
        options=options,
        promises=promises,
    )


def item(path, case="c1"):
    return {"case": case, "image": str(path)}


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory):
    """Three scans, one of them empty, and one that cannot be read."""
    folder = tmp_path_factory.mktemp("review")
    scans = folder / "scans"
    scans.mkdir()
    for number, name in enumerate(("flipped", "oblique"), 1):
        save_scan(scans / f"c{number}.nii.gz", body((40, 36, 24), SPACING, number), AFFINES[name])
    save_scan(scans / "dim & <small>.nii.gz", body((24, 20, 22), SPACING) * 0.4, AFFINES["upright"])
    (scans / "broken.nii.gz").write_bytes(b"not a volume")
    cases = ("broken", "c1", "c2", "dim & <small>")
    items = [item(scans / f"{case}.nii.gz", case) for case in cases]
    result = package(folder / "out", items)
    return folder, result, items


@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize("spacing", [None, (1.2, 1.2, 1.2)])
def test_maps_lie_where_the_scan_lies(tmp_path, name, spacing):
    values = body((40, 36, 24), SPACING)
    scan = save_scan(tmp_path / "scan.nii.gz", values, AFFINES[name], sform_code=2, qform_code=3)
    package(tmp_path / "out", [item(scan)], spacing=spacing)
    for suffix in MAPS:
        assert_same_geometry(tmp_path / "out" / f"c1_{suffix}.nii.gz", scan)
    written = nib.load(tmp_path / "out" / "c1_seg.nii.gz")
    assert written.get_data_dtype() == np.uint8
    predicted, truth = np.asarray(written.dataobj) > 0, values > THRESHOLD
    if spacing is None:
        np.testing.assert_array_equal(predicted, truth)
    else:
        assert 2 * (predicted & truth).sum() / (predicted.sum() + truth.sum()) > 0.93
    slicer = sitk.ReadImage(str(tmp_path / "out" / "c1.seg.nrrd"))
    by_itk = sitk.ReadImage(str(scan))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(slicer).transpose(2, 1, 0) > 0, predicted)
    np.testing.assert_allclose(slicer.GetOrigin(), by_itk.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(slicer.GetDirection(), by_itk.GetDirection(), atol=1e-5)
    np.testing.assert_allclose(slicer.GetSpacing(), by_itk.GetSpacing(), rtol=1e-6)


def test_one_frame_of_four_dimensions_is_a_volume(tmp_path):
    values = body((24, 20, 22), SPACING)
    scan = save_scan(tmp_path / "scan.nii.gz", values[..., None], AFFINES["oblique"])
    package(tmp_path / "out", [item(scan)])
    written = nib.load(tmp_path / "out" / "c1_seg.nii.gz")
    assert written.shape == (24, 20, 22)
    np.testing.assert_array_equal(written.affine, nib.load(scan).affine)
    np.testing.assert_array_equal(np.asarray(written.dataobj) > 0, values > THRESHOLD)


def test_a_sheared_scan_is_predicted_with_a_warning_and_without_what_cannot_hold_it(tmp_path):
    sheared = affine(SPACING)
    sheared[0, 1] = 0.3
    values = body((24, 20, 22), SPACING)
    image = nib.Nifti1Image(values, sheared)
    image.set_sform(sheared, 1)
    nib.save(image, tmp_path / "scan.nii.gz")
    package(tmp_path / "out", [item(tmp_path / "scan.nii.gz")])
    written = nib.load(tmp_path / "out" / "c1_seg.nii.gz")
    np.testing.assert_array_equal(written.affine, nib.load(tmp_path / "scan.nii.gz").affine)
    np.testing.assert_array_equal(np.asarray(written.dataobj) > 0, values > THRESHOLD)
    assert "not perpendicular" in json.loads((tmp_path / "out" / "c1.json").read_text())["warnings"][0]
    assert not (tmp_path / "out" / "c1.seg.nrrd").exists()


def test_an_hdf5_scan_gets_the_affine_of_its_spacing(tmp_path):
    values = body((24, 20, 22), (0.625,) * 3)
    with h5py.File(tmp_path / "mri_norm2.h5", "w") as file:
        file["image"] = values
    package(tmp_path / "out", [item(tmp_path / "mri_norm2.h5")])
    written = nib.load(tmp_path / "out" / "c1_seg.nii.gz")
    np.testing.assert_array_equal(written.affine, np.diag([0.625, 0.625, 0.625, 1]))
    np.testing.assert_array_equal(np.asarray(written.dataobj) > 0, values > THRESHOLD)


@pytest.mark.slow
def test_a_dicom_series_gets_a_dicom_segmentation_that_refers_to_it(tmp_path):
    highdicom = pytest.importorskip("highdicom", reason="needs the extra 'dicom'")
    pydicom = pytest.importorskip("pydicom")
    values = body((24, 20, 18), SPACING)
    direction = Rotation.from_euler("xyz", (0.1, -0.2, 0.3)).as_matrix()
    stored = itk_image(
        (values * 1000).astype(np.int16), spacing=SPACING, direction=direction, origin=(5.5, -7.25, 90)
    )
    series = write_series(tmp_path / "series", stored, intercept=0)
    package(
        tmp_path / "poor", [item(series)], networks=[_Thousandth()], options=PackageOptions(dicom_seg=True)
    )
    assert "Frame Of Reference" in json.loads((tmp_path / "poor" / "c1.json").read_text())["warnings"][0]
    for file in series.iterdir():
        dataset = pydicom.dcmread(file)
        dataset.FrameOfReferenceUID = "1.2.826.5"
        dataset.save_as(file)
    options = PackageOptions(dicom_seg=True)
    package(tmp_path / "out", [item(series)], networks=[_Thousandth()], options=options)
    written = highdicom.seg.segread(tmp_path / "out" / "c1_seg.dcm")
    assert [d.SegmentLabel for d in written.SegmentSequence] == ["left atrium"]
    volume = written.get_volume(combine_segments=True)
    # Compare in the patient's coordinates, whatever the order of slices.
    image = sitk.ReadImage(str(tmp_path / "out" / "c1_seg.nii.gz"))
    places = np.argwhere(volume.array > 0)
    assert len(places) == ((values * 1000).astype(np.int16) > 1000 * THRESHOLD).sum()
    for index in places[:: max(1, len(places) // 50)]:
        point = volume.affine @ [*index, 1]
        assert image.GetPixel(image.TransformPhysicalPointToIndex(point[:3].tolist())) == 1


class _Thousandth(nn.Module):
    def forward(self, x):
        return torch.cat([THRESHOLD - x / 1000, x / 1000 - THRESHOLD], 1) * 40


def test_one_unreadable_scan_stops_no_other_and_is_reported(reviewed):
    folder, result, _ = reviewed
    assert sorted(result.predicted) == ["c1", "c2", "dim & <small>"]
    assert list(result.failed) == ["broken"]
    assert "broken.nii.gz" in result.failed["broken"]
    assert not list((folder / "out").glob("broken*"))


def test_the_worklist_shows_what_failed_then_the_most_urgent(reviewed):
    folder, _, _ = reviewed
    with (folder / "out" / "worklist.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["case"] for row in rows][:2] == ["broken", "dim & <small>"]
    assert rows[0]["status"].startswith("failed: ")
    assert rows[1]["empty"] == "left atrium"
    priorities = [float(row["priority"]) for row in rows[1:]]
    assert priorities == sorted(priorities, reverse=True)
    assert priorities[0] == 1
    for column in REVIEWER:
        assert {row[column] for row in rows} == {""}
    voxels = (body((40, 36, 24), SPACING, 1) > THRESHOLD).sum()
    c1 = next(row for row in rows if row["case"] == "c1")
    assert float(c1["volume_ml left atrium"]) == pytest.approx(voxels * np.prod(SPACING) / 1000, abs=1e-3)


def test_side_cars_say_how_the_maps_came_about(reviewed):
    folder, _, _ = reviewed
    car = json.loads((folder / "out" / "c2.json").read_text())
    assert car["model"] == MODEL
    assert "esearch use" in car["use"]
    assert car["formulas"]["uncertainty"] == "-sum_k p_k ln p_k / ln K"
    assert car["settings"]["stride"] == [12, 12, 12]
    for file in car["files"].values():
        assert (folder / "out" / file).is_file()


class _Table(HTMLParser):
    def __init__(self):
        super().__init__()
        self.rows, self.cell, self.links = [], None, []

    def handle_starttag(self, tag, attributes):
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.cell = True
        self.links += [value for key, value in attributes if key in ("href", "src")]

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.cell = None

    def handle_data(self, data):
        if self.cell:
            self.rows[-1][-1] += data


def test_the_page_holds_everything_in_one_file(reviewed):
    folder, _, _ = reviewed
    text = (folder / "out" / "index.html").read_text()
    table = _Table()
    table.feed(text)
    assert len(table.rows) == 1 + 4
    assert any("dim & <small>" in cell for cell in table.rows[2])
    assert "<small>" not in re.sub(r"&lt;small&gt;", "", text)
    for link in table.links:
        assert link.startswith("data:image/jpeg;base64,") or (folder / "out" / unquote(link)).is_file()
    assert "http" not in text


def test_pictures_are_pictures(reviewed):
    folder, _, _ = reviewed
    with Image.open(folder / "out" / "c1_review.png") as picture:
        assert picture.size[0] == 1100
        # Neither all black nor one grey.
        assert np.asarray(picture.convert("L")).std() > 10


def test_label_tables_name_and_colour_the_classes(reviewed):
    folder, _, _ = reviewed
    snap = (folder / "out" / "labels.txt").read_text().splitlines()
    assert snap[-1].split(maxsplit=7) == ["1", "230", "159", "0", "1", "1", "1", '"left atrium"']
    assert (folder / "out" / "labels.ctbl").read_text().splitlines()[-1] == "1 left_atrium 230 159 0 255"
    header = (folder / "out" / "c1.seg.nrrd").read_bytes().split(b"\n\n")[0].decode()
    assert "Segment0_Name:=left atrium" in header
    assert "Segment0_LabelValue:=1" in header


@pytest.mark.slow
def test_a_second_run_refuses_resumes_or_makes_anew(reviewed, tmp_path):
    folder, _, items = reviewed
    out = tmp_path / "out"
    shutil.copytree(folder / "out", out)
    good = [entry for entry in items if entry["case"] != "broken"]
    with pytest.raises(InputError, match="holds 3 of these cases already"):
        package(out, good)
    before = (out / "c1_seg.nii.gz").stat().st_mtime_ns
    (out / "c2.json").unlink()  # as after a kill in the middle of a case
    result = package(out, good, options=PackageOptions(resume=True))
    assert (result.predicted, len(result.skipped)) == (["c2"], 2)
    assert (out / "c1_seg.nii.gz").stat().st_mtime_ns == before
    with pytest.raises(InputError, match="other settings"):
        package(out, good, options=PackageOptions(resume=True, fill_holes=(1,)))
    assert len(package(out, good, options=PackageOptions(overwrite=True)).predicted) == 3


def test_what_a_reviewer_filled_in_is_kept(reviewed, tmp_path):
    folder, _, items = reviewed
    out = tmp_path / "out"
    shutil.copytree(folder / "out", out)
    with (out / "worklist.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    rows[2] |= {"reviewer": "Å. B.", "decision": "correct", "comment": "vein, missed"}
    with (out / "worklist.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    package(out, items[1:], options=PackageOptions(overwrite=True))
    with (out / "worklist.csv").open(encoding="utf-8") as file:
        again = {row["case"]: row for row in csv.DictReader(file)}
    assert again[rows[2]["case"]]["comment"] == "vein, missed"
    assert again[rows[2]["case"]]["reviewer"] == "Å. B."


def test_bids_names(tmp_path):
    scan = save_scan(tmp_path / "scan.nii.gz", body((20, 20, 20), (1, 1, 1)), np.eye(4))
    package(tmp_path / "out", [item(scan, "LA_07")], options=PackageOptions(bids=True))
    anatomy = tmp_path / "out" / "sub-LA07" / "anat"
    assert (anatomy / "sub-LA07_desc-medssl_dseg.nii.gz").is_file()
    assert (anatomy / "sub-LA07_stat-uncertainty_desc-medssl_statmap.nii.gz").is_file()
    description = json.loads((tmp_path / "out" / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    with pytest.raises(InputError, match="would both be"):
        package(tmp_path / "b", [item(scan, "a_1"), item(scan, "a1")], options=PackageOptions(bids=True))


@pytest.mark.slow
def test_largest_component_and_holes_are_off_until_asked_for(tmp_path):
    values = np.full((30, 30, 30), 0.1, np.float32)
    values[5:15, 5:15, 5:15] = 0.9
    values[9:11, 9:11, 9:11] = 0.2  # a hole
    values[20:23, 20:23, 20:23] = 0.9  # a second piece
    scan = save_scan(tmp_path / "scan.nii.gz", values, np.eye(4))

    def voxels(name, **options):
        package(tmp_path / name, [item(scan)], options=PackageOptions(**options))
        car = json.loads((tmp_path / name / "c1.json").read_text())
        assert car["settings"]["keep_largest"] == list(options.get("keep_largest", ()))
        return int(np.asarray(nib.load(tmp_path / name / "c1_seg.nii.gz").dataobj).sum())

    assert voxels("plain") == 1000 - 8 + 27
    assert voxels("largest", keep_largest=(1,)) == 1000 - 8
    assert voxels("holes", keep_largest=(1,), fill_holes=(1,)) == 1000
    with pytest.raises(InputError, match="the model does not have it"):
        voxels("class", keep_largest=(2,))


def test_probabilities_and_a_second_map_are_written_when_asked_for(tmp_path):
    scan = save_scan(tmp_path / "scan.nii.gz", body((20, 20, 20), (1, 1, 1)), AFFINES["flipped"])
    networks = [Threshold(), Threshold()]
    package(
        tmp_path / "out", [item(scan)], networks=networks, uncertainty="ensemble", keep_probabilities=True
    )
    for name in ("disagreement", "probability-0", "probability-1"):
        assert_same_geometry(tmp_path / "out" / f"c1_{name}.nii.gz", scan)
    car = json.loads((tmp_path / "out" / "c1.json").read_text())
    assert car["statistics"]["confident_disagreeing"] == 0
    assert "pairs" in car["formulas"]["disagreement"]


def test_a_case_that_would_leave_the_folder_is_refused(tmp_path):
    scan = save_scan(tmp_path / "scan.nii.gz", body((20, 20, 20), (1, 1, 1)), np.eye(4))
    with pytest.raises(InputError, match="cannot name a file"):
        package(tmp_path / "out", [item(scan, "../c1")])
    assert not (tmp_path / "out").exists()


def test_the_first_transform_loads_and_the_rest_sees_its_result(tmp_path):
    """Normalisation, which depends on the whole scan, is not undone and not applied twice."""
    values = body((24, 24, 24), (1, 1, 1))
    scan = save_scan(tmp_path / "scan.nii.gz", values * 50 + 7, np.eye(4))

    class Positive(nn.Module):
        def forward(self, x):
            return torch.cat([-x, x], 1)

    predictor = Predictor([Positive()], num_classes=2, patch=(16,) * 3, stride=(12,) * 3)
    write_review_package(
        tmp_path / "out",
        items=[item(scan)],
        transform=Compose([LoadCased("image"), NormalizeIntensityd("image")]),
        predictor=predictor,
        classes=segment_classes(2),
        model=MODEL,
    )
    predicted = np.asarray(nib.load(tmp_path / "out" / "c1_seg.nii.gz").dataobj) > 0
    np.testing.assert_array_equal(predicted, values > values.mean())


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_the_page_sorts_in_a_browser(reviewed, tmp_path):
    folder, _, _ = reviewed
    text = (folder / "out" / "index.html").read_text()
    click = (
        "<script>[...document.querySelectorAll('th button')].find(b => b.textContent.startsWith('volume'))"
        ".click(); document.title = [...document.querySelectorAll('tbody strong')].map(e => e.textContent)"
        ".join('|');</script></body>"
    )
    page = tmp_path / "clicked.html"
    page.write_text(text.replace("</body>", click))
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", page.as_uri()]
    printed = subprocess.run(
        command, capture_output=True, encoding="utf-8", timeout=PATIENCE, check=True
    ).stdout
    order = re.search("<title>(.*?)</title>", printed).group(1).split("|")
    with (folder / "out" / "worklist.csv").open(encoding="utf-8") as file:
        volumes = {row["case"]: row["volume_ml left atrium"] for row in csv.DictReader(file)}
    expected = sorted((c for c in volumes if volumes[c]), key=lambda case: -float(volumes[case]))
    assert [case.replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">") for case in order] == [
        *expected,
        "broken",
    ]
