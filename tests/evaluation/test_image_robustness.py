"""A model of known quality on corrupted pictures."""

import numpy as np
import pytest
import torch
from monai.transforms import Compose, Resized, ScaleIntensityRanged
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torchmetrics.functional.classification import multiclass_calibration_error, multiclass_jaccard_index

from medssl.common.errors import InputError
from medssl.data import LoadCased
from medssl.evaluation.image_robustness import (
    NATURAL_MEASURES,
    measure_image_cell,
    measure_natural_cell,
    natural_cells,
)
from medssl.evaluation.scan_robustness import CLEAN, measure_robustness
from medssl.inference.predictor import Predictor
from medssl.reports.robustness import write_robustness
from tests.places import REAL

CAMVID = REAL / "camvid"
COLORS = torch.tensor([[0.2, 0.3, 0.8], [0.5, 0.5, 0.45], [0.2, 0.6, 0.25]])


def predict(images, colors=COLORS, sharpness=60.0):
    """Softmax of minus the distance to the classes' colours."""
    distance = ((images[:, None] - colors[None, :, :, None, None]) ** 2).sum(2)
    return torch.softmax(-sharpness * distance, 1)


@pytest.fixture
def items(tmp_path):
    rng = np.random.default_rng(2)
    listed = []
    for number in range(3):
        labels = np.repeat(np.repeat(rng.integers(0, 3, (6, 8)), 8, 0), 8, 1).astype(np.uint8)
        image = COLORS.numpy()[labels] + rng.normal(0, 0.12, (*labels.shape, 3))
        labels[:4] = 255
        item = {"case": f"c{number}"}
        for key, values in (("image", (np.clip(image, 0, 1) * 255).astype(np.uint8)), ("label", labels)):
            item[key] = str(tmp_path / f"{number}-{key}.png")
            Image.fromarray(values).save(item[key])
        listed.append(item)
    return listed


def test_clean_numbers_are_torchmetrics(items):
    measured = measure_natural_cell(CLEAN, items, predict=predict, num_classes=3)
    images = torch.stack([torch.from_numpy(np.array(Image.open(i["image"]))) for i in items])
    labels = torch.stack([torch.from_numpy(np.array(Image.open(i["label"]))) for i in items]).long()
    probs = torch.cat([predict(image[None]) for image in images.permute(0, 3, 1, 2).float() / 255])
    iou = multiclass_jaccard_index(probs, labels, num_classes=3, ignore_index=255)
    ece = multiclass_calibration_error(probs, labels, num_classes=3, n_bins=15, ignore_index=255)
    assert measured["miou"] == pytest.approx(float(iou), abs=1e-6)
    # torchmetrics adds up in float32, which thousands of confidences of exactly 1 can be felt in.
    assert measured["ece"] == pytest.approx(float(ece), abs=1e-5)
    assert tuple(measured) == NATURAL_MEASURES


def test_corruptions_cost_and_all_become_one_table(items, tmp_path):
    cells = natural_cells(["fog", "rain", "noise"], [1, 5], with_depth=False)
    assert cells[:2] == [CLEAN, ("fog-depth-free", 1)]
    options = {"measure": measure_natural_cell, "predict": predict, "num_classes": 3, "seed": 1}
    results = measure_robustness(tmp_path / "cells", cells, items, identity={"model": "colours"}, **options)
    for name in ("fog-depth-free", "rain-depth-free", "noise"):
        assert results[name, 5]["miou"] < results[CLEAN]["miou"], name
    assert results["fog-depth-free", 5]["miou"] < results["fog-depth-free", 1]["miou"]
    again = measure_robustness(tmp_path / "new", cells, items[::-1], identity={"model": "colours"}, **options)
    for cell in cells:
        assert again[cell] == pytest.approx(results[cell], abs=1e-9)
    table = write_robustness(tmp_path / "out", {"colours": results})
    heading, *rows = table.splitlines()
    columns = [cell.strip() for cell in heading.strip("|").split("|")]
    assert columns == ["model", "corruption", "severity", "miou", "ece", "p_acc_cer", "p_unc_inacc", "rss"]
    assert {len(row) for row in rows} == {len(heading)}
    assert (tmp_path / "out/radar.png").stat().st_size > 10_000


def test_depth_maps_make_it_the_published_fog(items, tmp_path):
    ((_, _), (name, severity)) = natural_cells(["fog"], [3], with_depth=True)
    assert name == "fog"
    with pytest.raises(InputError, match="has no depth map"):
        measure_natural_cell((name, severity), items, predict=predict, num_classes=3)
    near, far = [], []
    for item in items:
        for metres, street in ((1.0, near), (900.0, far)):
            path = tmp_path / f"{item['case']}-{metres}.npy"
            np.save(path, np.full((48, 64), metres))
            street.append({**item, "depth": str(path)})
    values = [
        measure_natural_cell((name, 3), street, predict=predict, num_classes=3) for street in (near, far)
    ]
    assert values[0]["miou"] > 0.85 > 0.5 > values[1]["miou"]


def test_faults_are_one_line(items, tmp_path):
    with pytest.raises(InputError, match="did you mean 'fog'"):
        natural_cells(["fogg"], [1], with_depth=False)
    with pytest.raises(InputError, match="severity 0"):
        natural_cells(["fog"], [0], with_depth=False)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"broken.png: cannot be read"):
        measure_natural_cell(CLEAN, [{**items[0], "image": str(broken)}], predict=predict, num_classes=3)
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(tmp_path / "small.png")
    with pytest.raises(InputError, match="is 5 x 5 pixels, its image 48 x 64"):
        measure_natural_cell(
            CLEAN, [{**items[0], "label": str(tmp_path / "small.png")}], predict=predict, num_classes=3
        )


@pytest.mark.slow
@pytest.mark.real("data/camvid")
def test_street_scenes():
    images = sorted((CAMVID / "images/val").iterdir())[:4]
    labels = {path.stem: path for path in (CAMVID / "labels/val").iterdir()}
    items = [{"case": p.stem, "image": str(p), "label": str(labels[p.stem])} for p in images]
    colors = torch.zeros(11, 3)
    for item in items:  # mean colour of every class: a poor model, but one
        picture = torch.from_numpy(np.array(Image.open(item["image"]).convert("RGB"))).float() / 255
        truth = torch.from_numpy(np.array(Image.open(item["label"])))
        for label in range(11):
            if (truth == label).any():
                colors[label] = picture[truth == label].mean(0)

    def model(pictures):
        return predict(pictures, colors, 20.0)

    clean, foggy = (
        measure_natural_cell(cell, items, predict=model, num_classes=11)
        for cell in natural_cells(["fog"], [5], with_depth=False)
    )
    assert 0 < foggy["miou"] < clean["miou"] < 0.6
    assert 0 < foggy["rss"] < clean["rss"] < 1


class Nearest(nn.Module):
    """The model above as a network."""

    def forward(self, images):
        return torch.log(predict(images))


@pytest.mark.parametrize("cell", [CLEAN, ("noise", 3), ("fog-depth-free", 2)])
def test_a_trained_model_sees_what_was_corrupted_at_the_size_of_the_file(items, cell):
    small = (30, 45)
    steps = [
        LoadCased(["image", "label"], in_channels=3),
        ScaleIntensityRanged("image", a_min=0, a_max=255, b_min=0, b_max=1),
        Resized("image", spatial_size=small, mode="bilinear"),
    ]
    model = Predictor([Nearest()], num_classes=3, patch=small, stride=None, keep_probabilities=True)
    measured = measure_image_cell(
        cell, items, transform=Compose(steps), predictor=model, reference=LoadCased("label"), seed=5
    )

    def as_published(images):
        seen = F.interpolate(images, small, mode="bilinear", align_corners=False)
        return F.interpolate(predict(seen), images.shape[2:], mode="bilinear", align_corners=False)

    expected = measure_natural_cell(cell, items, predict=as_published, num_classes=3, seed=5)
    assert measured == pytest.approx(expected, abs=2e-4)  # a pixel may fall on the other side of a median
    assert measured["miou"] < 1
