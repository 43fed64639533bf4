import pytest
import torch
from ignite.engine import Engine
from monai.data import decollate_batch
from torchmetrics.classification import MulticlassJaccardIndex

from medssl.training import ValidationIoU, ValidationReliability

CLASSES = 4


def validated(batches):
    """All metrics after a validation of batches of predictions and class ids."""
    engine = Engine(lambda _, batch: decollate_batch(batch))
    metric = ValidationIoU(CLASSES)
    metric.attach(engine, "key")
    ValidationReliability(CLASSES).attach(engine)
    for _ in range(2):  # a second validation starts from nothing
        engine.run([{"pred": pred, "label": label} for pred, label in batches])
    return engine.state.metrics


def draw(seed, *, classes=CLASSES, ignored=0.2):
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for count, size in ((1, (5, 7)), (2, (4, 4)), (1, (9, 3))):
        pred = torch.rand(count, CLASSES, *size, generator=generator).softmax(1)
        label = torch.randint(0, classes, (count, 1, *size), generator=generator)
        label[torch.rand(label.shape, generator=generator) < ignored] = 255
        batches.append((pred, label))
    return batches


@pytest.mark.parametrize("seed", range(3))
def test_it_is_that_of_all_pixels_together(seed):
    batches = draw(seed)
    outsider = MulticlassJaccardIndex(CLASSES, ignore_index=255)
    for pred, label in batches:
        outsider.update(pred.flatten(2), label[:, 0].flatten(1))
    metrics = validated(batches)
    assert metrics["key"] == pytest.approx(float(outsider.compute()), abs=1e-6)
    assert metrics["key"] == metrics["val_miou"]


def test_a_class_that_is_nowhere_does_not_count():
    pred = torch.zeros(1, CLASSES, 2, 2)
    pred[:, 0] = 1
    label = torch.tensor([[[[0, 0], [1, 255]]]])
    assert validated([(pred, label)])["key"] == pytest.approx((2 / 3 + 0) / 2)


def test_of_ignored_pixels_alone_there_is_none():
    pred = torch.rand(1, CLASSES, 2, 2)
    value = validated([(pred, torch.full((1, 1, 2, 2), 255))])["key"]
    assert value != value
