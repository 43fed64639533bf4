import pytest

from medssl.common.errors import InputError
from medssl.training.settings import (
    epochs,
    evaluation_cases,
    prediction_precision,
    ramp,
    selection_of,
    share_of_steps,
    validation_cases,
)

DATALIST = {
    "validation": [{"case": "v", "image": "v.nii", "label": "vl.nii"}],
    "test": [{"case": "t", "image": "t.nii", "label": "tl.nii", "roi": [[0, 1]] * 3}],
}


def test_epochs_divide_the_steps_or_the_nearest_numbers_are_named():
    assert epochs(600, 50) == 12
    with pytest.raises(InputError, match="set max_steps to 600, or steps_per_epoch to 10"):
        epochs(610, 50)
    with pytest.raises(InputError, match="set max_steps to 200, or steps_per_epoch to 100"):
        epochs(100, 200)


def test_the_published_schedule_is_a_share_of_the_published_steps():
    published = ramp(20_000, share=0.3, stairs=40)
    assert (published.length, published.interval) == (6000, 150)
    assert share_of_steps(20_000, 0.005) == 100


@pytest.mark.parametrize("max_steps", [1, 7, 40, 400, 20_000])
def test_a_schedule_fits_any_training(max_steps):
    short = ramp(max_steps, share=0.3, stairs=40)
    assert short.warning(max_steps) is None
    assert short(max_steps) == 1
    assert 0 <= share_of_steps(max_steps, 0.1) < max_steps


@pytest.mark.parametrize("share", [-0.1, float("nan"), "much"])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(InputError, match="is no share of max_steps"):
        share_of_steps(100, share)
    with pytest.raises(InputError, match="ramp_stairs=0"):
        ramp(100, share=0.3, stairs=0)


def test_predictions_of_a_model_trained_with_a_gradient_scaler_are_in_float32():
    assert [prediction_precision(amp) for amp in ("off", "bf16", "fp16")] == ["off", "bf16", "off"]


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
