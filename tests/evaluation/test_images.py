"""Scores of images at the resolution of their files, and the evaluation of a run of images."""

import csv
import json

import numpy as np
import pytest
import torch
from medpy.metric import binary
from monai.data import MetaTensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from medssl.common.errors import InputError
from medssl.common.run_folder import RunFolder
from medssl.evaluation.images import IN_SHORT, pooled_table
from medssl.metrics import ImageSums, ReliabilityMetrics, find_metric
from tests.evaluation.image_scoring import scored

CLASSES = 4
COLUMNS = ["case", "class", "dice", "jaccard", "unit", "empty"]
COLUMNS += ["ece", "p_acc_cer", "p_unc_inacc", "rss", "brier", "nll"]


def items(count=4, seed=0):
    random = torch.Generator().manual_seed(seed)
    made = []
    for index in range(count):
        size = (8 + index, 11)
        probs = torch.randn(CLASSES, *size, generator=random).mul(3).softmax(0)
        probs[3] = 0  # a class that is never predicted
        probs = probs / probs.sum(0)
        labels = torch.randint(0, CLASSES - (index == 0), size, generator=random)
        labels = torch.where(torch.rand(size, generator=random) < 0.7, probs.argmax(0), labels)
        labels[0, : 3 + index] = 255
        reference = MetaTensor(labels[None].to(torch.uint8), meta={"filename_or_obj": f"label {index}.png"})
        made.append(({"case": f"image {index}", "reference": reference}, probs))
    return made


@pytest.fixture
def run(tmp_path):
    made = items()
    scoring, engine = scored(RunFolder(tmp_path).scores("best"), made)
    return tmp_path, made, scoring, engine


def test_a_row_an_image_and_class_with_the_columns_of_images(run):
    folder, made, _, _ = run
    with (folder / "cases_best.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == COLUMNS
    assert [(row["case"], int(row["class"])) for row in rows] == [
        (loaded["case"], label) for loaded, _ in made for label in range(CLASSES)
    ]
    assert {row["unit"] for row in rows} == {"pixel"}
    for row in rows:
        loaded, probs = made[int(row["case"].split()[1])]
        labels = loaded["reference"][0].numpy().ravel()
        known, label = labels != 255, int(row["class"])
        truth, guess = labels[known] == label, probs.argmax(0).numpy().ravel()[known] == label
        values = (binary.dc(guess, truth), binary.jc(guess, truth)) if (truth | guess).any() else (1, 1)
        assert (float(row["dice"]), float(row["jaccard"])) == pytest.approx(values, abs=1e-6)
        expected = {(0, 1): "prediction", (1, 0): "reference", (0, 0): "both", (1, 1): "none"}
        assert row["empty"] == expected[int(guess.any()), int(truth.any())]
    assert {"prediction", "both"} <= {row["empty"] for row in rows}


def test_pooled_numbers_are_those_of_all_pixels_together(run):
    folder, made, _, engine = run
    content = json.loads((folder / "reliability_best.json").read_text())
    metrics = ReliabilityMetrics(CLASSES)
    for loaded, probs in made:
        metrics.update(probs, loaded["reference"][0])
    expected = metrics.compute()
    assert content["pooled"] == pytest.approx(expected, abs=1e-6)
    assert {name: engine.state.metrics[name] for name in expected} == pytest.approx(expected)
    labels = torch.cat([loaded["reference"][0].long().flatten() for loaded, _ in made]).as_subclass(
        torch.Tensor
    )
    guesses = torch.cat([probs.argmax(0).flatten() for _, probs in made])
    confusion = multiclass_confusion_matrix(guesses, labels, CLASSES, ignore_index=255).numpy()
    union = confusion.sum(0) + confusion.sum(1) - confusion.diagonal()
    np.testing.assert_allclose(content["class_iou"], confusion.diagonal() / union, atol=1e-6)
    assert content["class_iou"][3] == 0  # there, and never found: no gap
    assert content["pooled"]["miou"] == pytest.approx(np.mean(content["class_iou"]), abs=1e-6)
    assert content["cases"] == 4
    assert content["policy"]["unit"] == "pixel"
    assert None not in content["policy"].values()
    assert len(content["diagram"]["count"]) == 16


def test_the_sums_give_the_pooled_numbers_of_any_images(run):
    folder, made, scoring, _ = run
    sums = ImageSums.load(folder / "sums_best.npz")
    assert sums.cases == tuple(loaded["case"] for loaded, _ in made)
    for name, values in sums.pooled().items():
        assert float(values[0]) == pytest.approx(scoring.pooled.compute()[name], abs=1e-9)
    twice = scored(folder / "cases_twice.csv", [made[1], ({**made[1][0], "case": "again"}, made[1][1])])[0]
    weights = np.array([[0.0, 2.0, 0.0, 0.0]])
    for name, values in sums.pooled(weights).items():
        assert float(values[0]) == pytest.approx(twice.pooled.compute()[name], abs=1e-9), name


def test_scoring_again_forgets_the_first_time_and_writes_the_same_bytes(run):
    folder, made, _, _ = run
    names = ("cases_best.csv", "sums_best.npz")
    before = [(folder / name).read_bytes() for name in names]
    scored(folder / "cases_best.csv", made)
    assert [(folder / name).read_bytes() for name in names] == before


def test_the_short_table_prints_pooled_numbers(run):
    folder, _, scoring, _ = run
    scored(RunFolder(folder).scores("last"), items(seed=1))
    lines = pooled_table(RunFolder(folder), ["best", "last"]).splitlines()
    assert len(lines) == 3
    pooled = scoring.pooled.compute()
    cells = [find_metric(name).text(pooled[name]) for name in IN_SHORT]
    assert lines[1].split() == ["best", "4", *cells]
    assert "mIoU (%)" in lines[0]
    assert "4 images" in scoring.summary()
    assert "IoU of class 3" in scoring.summary()


def test_the_summary_names_the_classes(tmp_path):
    names = ["road", "pavement", "a class of a long name", "tree"]
    summary = scored(tmp_path / "cases_best.csv", items(1), class_names=names)[0].summary()
    assert [line.split("  ")[1].strip() for line in summary.splitlines()[-4:]] == [
        f"IoU of {x}" for x in names
    ]
    assert "class 3" not in summary


def test_a_reference_of_another_size_is_one_line(tmp_path):
    (loaded, probs), *_ = items(1)
    with pytest.raises(InputError, match=r"label 0.png: is 8 x 11 pixels, its image 8 x 9"):
        scored(tmp_path / "cases_best.csv", [(loaded, probs[:, :, :9])])
    assert not list(tmp_path.iterdir())


def test_an_image_that_nobody_labelled_counts_nowhere(tmp_path):
    made = items()
    empty = torch.full_like(made[0][0]["reference"], 255)
    more = [*made, ({"case": "empty", "reference": empty}, made[0][1])]
    with_empty = scored(tmp_path / "cases_best.csv", more)[0].pooled.compute()
    without = scored(tmp_path / "cases_last.csv", made)[0].pooled.compute()
    for name in ("miou", "ece", "p_acc_cer", "p_unc_inacc", "rss", "brier"):
        assert with_empty[name] == pytest.approx(without[name], abs=1e-12)


def test_an_image_as_high_as_there_are_classes_is_one_image(tmp_path):
    """Its probabilities could be taken for a batch of lines; on its side it could not."""
    random = torch.Generator().manual_seed(1)
    probs = torch.randn(CLASSES, CLASSES, 6, generator=random).softmax(0)
    labels = torch.randint(0, CLASSES, (CLASSES, 6), generator=random)
    pooled = []
    for name, turned in (("high", probs), ("wide", probs.transpose(1, 2))):
        truth = labels if name == "high" else labels.T
        reference = MetaTensor(truth[None].to(torch.uint8), meta={"filename_or_obj": "label.png"})
        scoring, _ = scored(tmp_path / f"cases_{name}.csv", [({"case": "a", "reference": reference}, turned)])
        pooled.append(scoring.pooled.compute())
    assert pooled[0] == pytest.approx(pooled[1], abs=1e-9)
