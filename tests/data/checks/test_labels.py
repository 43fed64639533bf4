"""What a training refuses of its labels before it starts."""

import numpy as np
import pytest

from medssl.data import load_datalist, validate_labels
from medssl.data.checks.findings import CaseError
from tests.data.checks.damage import Folder, blob, noise


def refused(folder, code, **options):
    datalist = load_datalist(folder.write())
    with pytest.raises(CaseError) as caught:
        validate_labels(datalist["training"], datalist.get("validation", ()), **{"num_classes": 2, **options})
    assert caught.value.code == code
    assert "\n" not in str(caught.value)
    return str(caught.value)


def accepted(folder, **options):
    datalist = load_datalist(folder.write())
    validate_labels(datalist["training"], datalist.get("validation", ()), **{"num_classes": 2, **options})


@pytest.fixture
def folder(tmp_path):
    """Two labelled cases and one for validation, all of class 1."""
    folder = Folder(tmp_path)
    for case, split in (("a", "training"), ("b", "training"), ("c", "validation")):
        folder.add(case, split=split)
    return folder


def test_sound_labels_pass(folder):
    accepted(folder)


def test_more_classes_than_the_labels_show(folder):
    line = refused(folder, "class-untrained", num_classes=4)
    assert "classes 2, 3" in line
    assert "allow_absent_classes" in line
    accepted(folder, num_classes=4, allow_absent_classes=True)


def test_classes_are_those_of_all_labelled_cases_together(folder):
    folder.add("d", label=blob(noise(0)) * np.uint8(2))
    accepted(folder, num_classes=3)


def test_0_and_255_alone(tmp_path):
    folder = Folder(tmp_path)
    for case in "ab":
        folder.add(case, label=blob(noise(0)) * np.uint8(255))
    assert 'label_map {"255": 1}' in refused(folder, "label-0-255")
    accepted(folder, label_map={"255": 1})


def test_partly_labelled_cases_pass(folder):
    folder.add("d", label=np.where(blob(noise(0)), 1, 255).astype(np.uint8))
    folder.add("e", label=np.where(blob(noise(0)), 255, 0).astype(np.uint8))
    accepted(folder)


def test_a_label_in_which_nothing_is_labelled(folder):
    folder.add("d", label=np.full((14, 12, 10), 255, np.uint8))
    assert "d.nii.gz" in refused(folder, "label-all-255")


def test_partly_labelled_validation_cases_pass(folder):
    folder.add("d", label=np.where(blob(noise(0)), 1, 255).astype(np.uint8), split="validation")
    accepted(folder)


def test_255_may_be_a_class_of_its_own(tmp_path):
    folder = Folder(tmp_path)
    folder.add("a", label=np.arange(14 * 12 * 10).reshape(14, 12, 10).astype(np.int16) % 300)
    folder.add("b", label=np.full((14, 12, 10), 255, np.uint8), split="validation")
    accepted(folder, num_classes=300)


def test_unlabelled_cases_are_not_opened(folder):
    image, label = folder.add("d", split="unlabeled")
    image.write_bytes(b"no scan")
    label.write_bytes(b"no label")
    accepted(folder)
