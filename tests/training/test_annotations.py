import json

import numpy as np
import pytest
import torch
from PIL import Image

from medssl.annotators.maps import write_map
from medssl.common.errors import InputError
from medssl.common.run_folder import RunFolder
from medssl.data import LoadCased, load_datalist, preprocessing
from medssl.reliability import ConformalCalibrator
from medssl.training import AnnotatedCases, TrainingCases

VIEWS = ("weak", "annotation")


@pytest.fixture
def data(tmp_path):
    """Six images, three of them labelled, one of the others with a label kept aside; a map of each."""
    rng = np.random.default_rng(0)
    lists = {"training": [], "unlabeled": [], "hidden_labels": {}}
    for number in range(6):
        ids = rng.integers(0, 3, (8, 10)).astype(np.uint8)
        Image.fromarray(rng.integers(0, 255, (8, 10, 3)).astype(np.uint8)).save(tmp_path / f"i{number}.png")
        Image.fromarray(ids).save(tmp_path / f"l{number}.png")
        item = {"case": f"i{number}", "image": f"i{number}.png"}
        if number < 3:
            lists["training"].append({**item, "label": f"l{number}.png"})
        else:
            lists["unlabeled"].append(item)
        logits = 2 * np.eye(3)[ids] + rng.normal(size=(8, 10, 3))
        probs = np.exp(logits).transpose(2, 0, 1) / np.exp(logits).sum(-1)
        write_map(tmp_path / "maps" / f"i{number}.npz", probs)
    lists["hidden_labels"] = {"i4": "l4.png"}
    (tmp_path / "d.json").write_text(json.dumps(lists))
    return tmp_path


def cases_of(data):
    return TrainingCases(load_datalist(data / "d.json"), selection="none", num_classes=3)


def annotated(data, *, views=VIEWS, calibrated=True, folder="maps", **options):
    calibrator = ConformalCalibrator(0.5, grid=(4, 5), min_scores=1) if calibrated else None
    where = folder and data / folder
    return AnnotatedCases(
        cases_of(data), folder=where, views=views, num_classes=3, calibrator=calibrator, **options
    )


def prepared(cases, data, **options):
    (data / "run").mkdir(exist_ok=True)
    transforms = [LoadCased(["image", "label"])]
    return cases.preprocessing(transforms, None, run=RunFolder(data / "run"), **options)


def test_unlabelled_items_hold_their_map_and_labelled_ones_do_not(data):
    cases = annotated(data)
    paths = {item["case"]: item.get("annotation") for item in cases.training}
    assert [paths[f"i{n}"] for n in range(3)] == [None] * 3
    assert [paths[f"i{n}"] for n in range(3, 6)] == [str(data / f"maps/i{n}.npz") for n in range(3, 6)]
    assert [(item["case"], item["annotation"]) for item in cases.hidden_labels] == [
        ("i4", str(data / "maps/i4.npz"))
    ]


def test_a_method_that_asks_for_no_annotator_changes_nothing(data):
    cases = annotated(data, views=("weak",), folder=None)
    assert cases.training == cases_of(data).training
    assert cases.hidden_labels == cases_of(data).hidden_labels
    assert cases.maps_sha256 is None
    plain = preprocessing([LoadCased(["image", "label"])], None)
    assert len(prepared(cases, data).transforms) == len(plain.transforms)
    assert not (data / "run/calibrator.pt").exists()


def test_labels_come_from_a_calibrator_fitted_on_the_labelled_images_and_kept(data):
    cases = annotated(data)
    steps = prepared(cases, data)
    expected = ConformalCalibrator(0.5, grid=(4, 5), min_scores=1)
    read = {n: cases.maps.read(str(data / f"i{n}.png")) for n in range(6)}
    ids = {n: np.asarray(Image.open(data / f"l{n}.png")) for n in range(6)}
    expected.fit([(torch.from_numpy(read[n]), torch.from_numpy(ids[n].astype(np.int64))) for n in range(3)])
    item = steps(dict(cases.training[4]))
    labels = expected.calibrated_labels(torch.from_numpy(read[4])[None], None)
    assert torch.equal(item["annotation"].as_tensor().long(), labels)
    assert 0 < (labels == 255).float().mean() < 1
    stored = torch.load(data / "run/calibrator.pt", weights_only=True)
    assert all(torch.equal(stored[name], value) for name, value in expected.state_dict().items())
    hidden = steps(dict(cases.hidden_labels[0]))
    assert torch.equal(hidden["annotation"].as_tensor(), item["annotation"].as_tensor())
    assert np.array_equal(hidden["label"].as_tensor()[0].numpy(), ids[4])


def test_raw_labels_need_no_maps_of_labelled_images(data):
    for number in range(3):
        (data / f"maps/i{number}.npz").unlink()
    cases = annotated(data, calibrated=False)
    item = prepared(cases, data)(dict(cases.training[3]))
    probs = cases.maps.read(str(data / "i3.png"))
    assert np.array_equal(item["annotation"].as_tensor()[0].numpy(), probs.argmax(0))
    assert not (data / "run/calibrator.pt").exists()


def test_background_gives_way_to_other_classes(data):
    labels = [
        torch.stack([steps(dict(item))["annotation"].as_tensor() for item in cases.training[3:]])
        for cases in (annotated(data), annotated(data, background=0))
        for steps in [prepared(cases, data)]
    ]
    assert (labels[1] == 0).sum() < (labels[0] == 0).sum()


def test_a_resumed_training_reads_the_calibrator_and_a_new_one_fits_it(data):
    first = annotated(data)
    prepared(first, data)
    fitted = torch.load(data / "run/calibrator.pt", weights_only=True)
    lowered = {**fitted, "thresholds": fitted["thresholds"] * 0}
    torch.save(lowered, data / "run/calibrator.pt")
    (data / "run/last.pt").touch()
    resumed = annotated(data)
    prepared(resumed, data, resume=True)
    assert not resumed.calibrator.thresholds.any()
    for more in ({"resume": False}, {"resume": True}):
        torch.save(lowered, data / "run/calibrator.pt")
        (data / "run/last.pt").unlink(missing_ok=True)  # without it a resume begins at the first step
        anew = annotated(data)
        prepared(anew, data, **more)
        assert torch.equal(anew.calibrator.thresholds, fitted["thresholds"])


def test_a_damaged_calibrator_is_refused(data):
    prepared(annotated(data), data)
    (data / "run/calibrator.pt").write_bytes(b"no state")
    (data / "run/last.pt").touch()
    with pytest.raises(InputError, match=r"calibrator\.pt: is no state of a calibrator"):
        prepared(annotated(data), data, resume=True)


def test_the_hash_of_the_maps_changes_with_a_map_that_is_used(data):
    before, raw = annotated(data).maps_sha256, annotated(data, calibrated=False).maps_sha256
    assert len(before) == 64
    assert annotated(data).maps_sha256 == before != raw
    probs = np.full((3, 4, 5), 1 / 3)
    write_map(data / "maps/i1.npz", probs)
    assert annotated(data).maps_sha256 != before
    assert annotated(data, calibrated=False).maps_sha256 == raw
    write_map(data / "maps/i5.npz", probs)
    assert annotated(data, calibrated=False).maps_sha256 != raw


def test_missing_maps_are_refused_with_the_first_image_and_their_number(data):
    for number in (1, 4, 5):
        (data / f"maps/i{number}.npz").unlink()
    with pytest.raises(InputError, match=r"i1\.png: there is no annotation map for 3 of 6 images") as caught:
        annotated(data)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"i4\.png: there is no annotation map for 2 of 3 images"):
        annotated(data, calibrated=False)


def test_what_cannot_be_is_refused_before_anything_is_made(data):
    with pytest.raises(InputError, match="annotations: is not given"):
        annotated(data, folder=None)
    with pytest.raises(InputError, match="nowhere: no such folder"):
        annotated(data, folder="nowhere")
    with pytest.raises(InputError, match="background=3: is no class; give 0 to 2, or null"):
        annotated(data, background=3)
    write_map(data / "maps/i0.npz", np.full((5, 4, 5), 0.2))
    with pytest.raises(InputError, match=r"i0\.npz: has 5 classes, 3 are wanted"):
        annotated(data)
