import json

import nibabel as nib
import numpy as np
import pytest

from medssl.annotators import annotate_images, read_map
from medssl.common.errors import InputError


class Counting:
    """An annotator of two classes that counts its calls and fails at images called bad."""

    axes = 2

    def __init__(self, classes=("sky", "road"), weights="w"):
        self.classes, self.record, self.calls = classes, {"model": "test", "weights": weights}, []

    def annotate(self, image):
        self.calls.append(image)
        if "bad" in str(image):
            raise InputError(image, "cannot be read", "repair it")
        shape = nib.load(image).shape if str(image).endswith(".nii.gz") else (3, 4)
        share = np.full(shape, 0.2 + 0.1 * len(self.calls), np.float32)
        return np.stack([share, 1 - share])


def images(folder, names="abc"):
    return [str(folder / f"{name}.png") for name in names]


def test_maps_are_made_once_and_a_cut_run_goes_on(tmp_path):
    out, first = tmp_path / "maps", Counting()
    result = annotate_images(first, images(tmp_path), out)
    assert (result.annotated, result.skipped, result.failed) == (["a", "b", "c"], [], {})
    before = {name: (out / f"{name}.npz").read_bytes() for name in "ac"}
    (out / "b.npz").write_bytes(before["a"][:50])  # as a disk that was full leaves it
    np.savez(out / "c.npz", probs=np.full((3, 2, 2), 85, np.uint8))  # of three classes
    again = Counting()
    result = annotate_images(again, images(tmp_path, "abcd"), out)
    assert (result.annotated, result.skipped) == (["b", "c", "d"], ["a"])
    assert len(again.calls) == 3
    assert (out / "a.npz").read_bytes() == before["a"]
    np.testing.assert_allclose(read_map(out / "b.npz")[0], 0.3, atol=0.003)


def test_an_image_that_fails_is_reported_and_stops_no_other(tmp_path):
    result = annotate_images(
        Counting(), [*images(tmp_path, "a"), "bad.png", *images(tmp_path, "b")], tmp_path
    )
    assert result.annotated == ["a", "b"]
    assert result.failed == {"bad": "bad.png: cannot be read; repair it"}
    assert not (tmp_path / "bad.npz").exists()


def test_faults_of_the_program_are_not_swallowed(tmp_path):
    class Faulty(Counting):
        def annotate(self, image):
            raise AssertionError

    with pytest.raises(AssertionError):
        annotate_images(Faulty(), images(tmp_path), tmp_path)


@pytest.mark.parametrize(
    ("other", "precision", "fault"),
    [
        (Counting(classes=("sky", "street")), "uint8", "made with classes"),
        (Counting(weights="v"), "uint8", "made with weights 'w', not 'v'"),
        (Counting(), "float16", "made with precision"),
    ],
)
def test_maps_of_another_annotator_are_not_continued(tmp_path, other, precision, fault):
    annotate_images(Counting(), images(tmp_path), tmp_path / "maps")
    with pytest.raises(InputError, match=fault):
        annotate_images(other, images(tmp_path, "d"), tmp_path / "maps", precision=precision)
    assert not (tmp_path / "maps" / "d.npz").exists()
    record = tmp_path / "maps" / "annotator.json"
    facts = json.loads(record.read_text())
    assert facts["classes"] == ["sky", "road"]
    assert {"medssl", "torch", "python"} <= set(facts["versions"])
    facts["versions"]["torch"] = "0"  # a new version goes on
    record.write_text(json.dumps(facts))
    assert annotate_images(Counting(), images(tmp_path), tmp_path / "maps").skipped == ["a", "b", "c"]
    record.write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        annotate_images(Counting(), images(tmp_path), tmp_path / "maps")


def test_two_images_of_one_name_and_none_are_refused(tmp_path):
    with pytest.raises(InputError, match="maps of one name"):
        annotate_images(Counting(), ["x/a.png", "y/a.png"], tmp_path / "maps")
    with pytest.raises(InputError, match="none to annotate"):
        annotate_images(Counting(), [], tmp_path / "maps")
    assert not (tmp_path / "maps").exists()


def test_maps_of_nifti_scans_are_nifti_in_their_geometry(tmp_path):
    affine = np.array([[0, 2, 0, 1], [-3, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1.0]])
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), affine), tmp_path / "scan.nii.gz")
    annotate_images(Counting(), [str(tmp_path / "scan.nii.gz")], tmp_path / "maps")
    stored = nib.load(tmp_path / "maps" / "scan.nii.gz")
    assert stored.shape == (4, 5, 6, 2)
    assert np.array_equal(stored.affine, affine)
