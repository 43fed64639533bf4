"""Images of other channels or of more bits than a training expects."""

import numpy as np
import pytest
from PIL import Image

from medssl.common.errors import InputError
from medssl.data import LoadCased, check_first_case


@pytest.fixture
def picture(tmp_path):
    """Saves pixels as a PNG of their own kind, and gives its item."""

    def save(pixels):
        Image.fromarray(pixels).save(tmp_path / "a.png")
        return {"image": str(tmp_path / "a.png")}

    return save


def pixels(*shape, dtype=np.uint8, high=200):
    return np.linspace(0, high, int(np.prod(shape))).reshape(shape).astype(dtype)


@pytest.mark.parametrize(
    ("shape", "expected", "remedy"),
    [
        ((8, 9), 3, "has 1 channel, expected 3; save it as RGB, or train with in_channels 1"),
        ((8, 9, 3), 1, "has 3 channels, expected 1; save it as grey, or train with in_channels 3"),
    ],
)
def test_grey_among_colours_says_what_to_do(picture, shape, expected, remedy):
    with pytest.raises(InputError, match=remedy):
        LoadCased("image", in_channels=expected)(picture(pixels(*shape)))


def test_sixteen_bits_are_not_taken_for_eight(picture):
    item = picture(pixels(8, 9, dtype=np.uint16, high=40_000))
    with pytest.raises(InputError, match=r"values up to 40000, and white is 255; .*65535 for 16 bits"):
        LoadCased("image", max_intensity=255)(item)
    loaded = LoadCased("image", max_intensity=65535)(item)["image"]
    assert float(loaded.max()) == 40_000
    assert float(LoadCased("image")(item)["image"].max()) == 40_000


def test_white_itself_is_no_fault(picture):
    item = picture(pixels(8, 9, high=255))
    assert float(LoadCased("image", max_intensity=255)(item)["image"].max()) == 255


def test_the_first_case_is_loaded_before_a_training(picture):
    item = picture(pixels(8, 9))
    with pytest.raises(InputError, match="expected 3"):
        check_first_case([item], LoadCased("image", in_channels=3))
    check_first_case([item], LoadCased("image", in_channels=1))
    check_first_case([], LoadCased("image"))
