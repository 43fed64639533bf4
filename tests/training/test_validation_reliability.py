"""Reliability at every validation."""

import torch
from ignite.engine import Engine

from medssl.common.constants import IGNORE
from medssl.evaluation.image_robustness import NATURAL_MEASURES
from medssl.metrics import ReliabilityMetrics
from medssl.training.validation_reliability import ValidationReliability


def test_a_validation_reports_what_the_metrics_say_of_all_its_cases():
    generator = torch.Generator().manual_seed(0)
    cases = []
    for size in ((6, 5, 4), (7, 6, 5), (4, 4, 4)):
        probs = torch.softmax(2 * torch.randn(3, *size, generator=generator), 0)
        classes = torch.randint(0, 3, (1, *size), generator=generator)
        classes[0, 0] = IGNORE  # nobody labelled the first slice
        cases.append({"pred": probs, "label": classes})
    expected = ReliabilityMetrics(3)
    for case in cases:
        expected.update(case["pred"], case["label"][0])
    validator = Engine(lambda _, batch: [batch])
    ValidationReliability(3).attach(validator)
    for _ in range(2):  # a second validation begins anew
        validator.run(cases)
    reported = validator.state.metrics
    for name in NATURAL_MEASURES:
        assert reported[f"val_{name}"] == expected.compute()[name]
