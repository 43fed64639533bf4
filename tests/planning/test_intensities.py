import numpy as np
import pytest
import torch
from monai.transforms import NormalizeIntensityd, ScaleIntensityRanged

from medssl.common.errors import InputError
from medssl.planning.rules import intensities
from tests.planning.cases import CENTRE, case, data_set


def test_negative_hounsfield_units_tell_ct():
    assert intensities.modality(data_set(case(minimum=-1000, boxes=CENTRE)), None)[0] == "ct"
    assert intensities.modality(data_set(case(minimum=-3, boxes=CENTRE)), None)[0] == "mr"


def test_a_mixture_of_units_is_not_taken_for_ct_and_said_to_be_unsure():
    mixed = data_set(case(boxes=CENTRE), case(minimum=-1000, boxes=CENTRE))
    kind, _, sure = intensities.modality(mixed, None)
    assert (kind, sure) == ("other", False)
    assert intensities.modality(mixed, "ct") == ("ct", "as asked", True)


def test_an_unknown_modality_is_refused():
    with pytest.raises(InputError, match="did you mean 'mr'"):
        intensities.modality(data_set(case(boxes=CENTRE)), "mri")


def test_ct_is_clipped_and_scored_as_by_two_plain_steps():
    draws = np.random.default_rng(0).normal(80, 40, 5000)
    ct = data_set(case(minimum=-1000, boxes=CENTRE, intensities=draws))
    transform, _ = intensities.normalization(ct, "ct")
    scan = torch.linspace(-1000, 1000, 64).reshape(1, 4, 4, 4)
    scaled = ScaleIntensityRanged(**{k: v for k, v in transform.items() if k != "_target_"})({"image": scan})
    low, high = np.percentile(draws.astype(np.float32), (0.5, 99.5))
    clipped = np.clip(draws, low, high)
    plain = NormalizeIntensityd("image", subtrahend=clipped.mean(), divisor=clipped.std())(
        {"image": scan.clamp(float(low), float(high))}
    )
    assert torch.allclose(torch.as_tensor(scaled["image"]), torch.as_tensor(plain["image"]), atol=0.02)


def test_scans_of_any_scale_are_normalised_each_by_itself_and_channels_apart():
    one, _ = intensities.normalization(data_set(case(boxes=CENTRE)), "mr")
    three, _ = intensities.normalization(data_set(case(boxes=CENTRE, channels=3)), "mr")
    assert one == {"_target_": "NormalizeIntensityd", "keys": "image"}
    assert three["channel_wise"] is True


def test_a_zero_background_is_left_out_of_mean_and_deviation():
    stripped = data_set(*[case(boxes=CENTRE, zero_share=0.6)] * 2, unlabeled=0)
    assert intensities.normalization(stripped, "mr")[0]["_target_"] == "medssl.data.NormalizeByForegroundd"
    shifted = data_set(*[case(boxes=CENTRE, zero_share=0.6, minimum=-1)] * 2, unlabeled=0)
    assert intensities.normalization(shifted, "mr")[0]["_target_"] == "NormalizeIntensityd"


@pytest.mark.parametrize(("last", "expected"), [(64, False), (60, False), (40, True)])
def test_a_crop_is_made_where_it_takes_a_quarter_away(last, expected):
    cropped = data_set(case(boxes=CENTRE, box=((0, last), (0, 64), (0, 64))))
    assert intensities.crops(cropped)[0] is expected


def test_crop_comes_before_the_score_and_resampling_last():
    names = [
        step if isinstance(step, str) else step["_target_"]
        for step in intensities.preprocessing({"_target_": "Z"}, cropped=True, resampled=True)
    ]
    assert names == ["@load", "medssl.data.CropAboveMinimumd", "Z", "@resample"]
