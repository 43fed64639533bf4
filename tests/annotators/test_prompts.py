import numpy as np
import pytest
import torch

from medssl.annotators import PromptedClass, parse_classes
from medssl.annotators.prompts import class_probabilities
from medssl.common.errors import InputError


def test_classes_are_parsed():
    assert parse_classes("sky; pole, column;sign = traffic sign, signpost") == (
        PromptedClass("sky", ("sky",)),
        PromptedClass("pole", ("pole", "column")),
        PromptedClass("sign", ("traffic sign", "signpost")),
    )
    assert parse_classes("background; dog")[0] == PromptedClass("background", ())
    assert parse_classes("rest =; dog")[0] == PromptedClass("rest", ())
    assert parse_classes("background = wall; dog")[0].prompts == ("wall",)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("sky", "fewer than two"),
        ("", "fewer than two"),
        ("sky; ; pole", "fewer than two with a name"),
        ("sky; pole; sky", "sky comes twice"),
        ("sky; pole =", "nothing is asked for pole"),
    ],
)
def test_what_are_no_classes_is_refused(text, fault):
    with pytest.raises(InputError, match=fault):
        parse_classes(text)


def test_probabilities_equal_a_loop():
    scores = torch.rand(4, 3, 5, generator=torch.Generator().manual_seed(0))
    scores[:, 0, 0] = 0
    for counts in ([0, 2, 1, 1], [1, 1, 2]):
        expected = np.zeros((len(counts), 3, 5))
        for i, j in np.ndindex(3, 5):
            values, start = [], 0
            for count in counts:
                own = scores[start : start + count, i, j]
                values.append(float(own.max()) if count else 1 - float(scores[:, i, j].max()))
                start += count
            total = sum(values)
            expected[:, i, j] = [v / total if total else 1 / len(counts) for v in values]
        np.testing.assert_allclose(class_probabilities(scores, counts), expected, atol=1e-6)
