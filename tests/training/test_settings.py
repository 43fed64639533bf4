import pytest

from medssl.common.errors import InputError
from medssl.training.settings import epochs, evaluation_cases, selection_of, switch, validation_cases

DATALIST = {
    "validation": [{"case": "v", "image": "v.nii", "label": "vl.nii"}],
    "test": [{"case": "t", "image": "t.nii", "label": "tl.nii", "roi": [[0, 1]] * 3}],
}


def test_epochs_divide_the_steps_or_the_nearest_is_named():
    assert epochs(600, 50) == 12
    with pytest.raises(InputError, match="train for 600 steps"):
        epochs(610, 50)


def test_switch_takes_what_a_command_line_gives():
    assert [switch(v) for v in (True, False, "true", "false", "True")] == [True, False, True, False, True]
    with pytest.raises(InputError, match="neither true nor false"):
        switch("maybe")


def test_only_an_oracle_looks_at_test_cases():
    assert [c["case"] for c in validation_cases(DATALIST, "validation")] == ["v"]
    assert [c["case"] for c in validation_cases(DATALIST, "test-oracle")] == ["t"]
    assert validation_cases(DATALIST, "none") == []
    with pytest.raises(InputError, match="no test cases"):
        validation_cases({"validation": []}, "test-oracle")


def test_selection_is_none_without_validation_cases_and_names_are_checked():
    assert selection_of(DATALIST, "validation") == "validation"
    assert selection_of({"validation": []}, "validation") == "none"
    with pytest.raises(InputError, match="did you mean 'test-oracle'"):
        selection_of(DATALIST, "test_oracle")


def test_evaluation_keeps_the_label_away_from_preprocessing():
    (item,) = evaluation_cases(DATALIST, "test")
    assert item == {"case": "t", "image": "t.nii", "reference": "tl.nii", "roi": [[0, 1]] * 3}
    with pytest.raises(InputError, match="no label"):
        evaluation_cases({"test": [{"case": "t", "image": "t.nii"}]}, "test")
