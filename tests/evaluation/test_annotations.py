import json

import numpy as np
import pytest
import torch
from PIL import Image
from torchmetrics.functional.classification import (
    multiclass_jaccard_index,
    multiclass_precision,
    multiclass_recall,
)

from medssl.annotators import write_map
from medssl.common.errors import InputError
from medssl.evaluation.annotations import measure_annotations
from tests.places import REAL

CLASSES = 4
SIZE, COARSE = (24, 32), (12, 16)


def write_set(folder, *, training=12, others=8, seed=0):
    """Images in blocks, and an annotator that is right more often than not; a datalist of them."""
    random = np.random.default_rng(seed)
    lists = {"training": [], "unlabeled": [], "validation": [], "test": []}
    hidden, maps, truths = {}, {}, {}
    for folder_name in ("images", "labels"):
        (folder / folder_name).mkdir(parents=True)
    for number in range(training + others):
        case = f"c{number}"
        blocks = random.integers(0, CLASSES, COARSE)
        label = np.kron(blocks, np.ones((2, 2), int)).astype(np.uint8)
        label[0] = 255
        logits = random.normal(size=(CLASSES, *COARSE)) * 1.5
        logits += 3.0 * (np.arange(CLASSES)[:, None, None] == blocks)
        probs = torch.from_numpy(logits).softmax(0).numpy()
        files = {"image": folder / "images" / f"{case}.png", "label": folder / "labels" / f"{case}.png"}
        Image.fromarray(random.integers(0, 255, SIZE).astype(np.uint8)).save(files["image"])
        Image.fromarray(label).save(files["label"])
        write_map(folder / "maps" / ("train" if number < training else "val") / f"{case}.npz", probs)
        item = {"case": case} | {key: str(path) for key, path in files.items()}
        name = "training" if number < training else ("test", "unlabeled")[number % 2]
        if name == "unlabeled":
            hidden[case] = item.pop("label")
        lists[name].append(item)
        maps[case], truths[case] = probs, label
    content = {**lists, "hidden_labels": hidden, "classes": ["a", "b", "c", "d"]}
    (folder / "d.json").write_text(json.dumps(content))
    return content, maps, truths


@pytest.fixture(scope="module")
def annotated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    return folder, *write_set(folder)


def test_the_annotator_alone_is_measured_as_torchmetrics_does(annotated):
    folder, content, maps, truths = annotated
    measured = measure_annotations([folder / "maps"], folder / "d.json", pooling="image")
    cases = [item["case"] for item in content["test"]]
    assert (measured.images, measured.calibration_images, measured.lists) == (4, 12, ("test",))
    predicted, reference = [], []
    for case in cases:
        probs = torch.from_numpy(np.rint(maps[case] * 255)).float()
        probs = torch.nn.functional.interpolate((probs / probs.sum(0))[None], SIZE, mode="bilinear")
        predicted.append(probs.argmax(1).flatten())
        reference.append(torch.from_numpy(truths[case].astype(int)).flatten())
    options = {"num_classes": CLASSES, "ignore_index": 255, "average": None}
    predicted, reference = torch.cat(predicted), torch.cat(reference)
    expected = {
        "iou": multiclass_jaccard_index(predicted, reference, **options),
        "raw_precision": multiclass_precision(predicted, reference, **options),
        "raw_recall": multiclass_recall(predicted, reference, **options),
    }
    rows = measured.rows(0.05)
    for key, values in expected.items():
        np.testing.assert_allclose([row[key] for row in rows[:-1]], values, atol=1e-5)
    assert rows[-1]["iou"] == pytest.approx(float(expected["iou"].mean()), abs=1e-5)
    assert rows[-1]["pixels"] == 4 * (SIZE[0] - 1) * SIZE[1]
    assert [row["name"] for row in rows] == ["a", "b", "c", "d", "overall"]


def test_sets_cover_what_was_promised_and_labels_are_righter(annotated):
    folder, *_ = annotated
    lists, alphas = ("test", "unlabeled"), (0.05, 0.2, 0.4)
    measured = measure_annotations(
        [folder / "maps"], folder / "d.json", lists=lists, alphas=alphas, pooling="image"
    )
    assert measured.images == 8
    for alpha, counts in measured.calibrated.items():
        assert counts.overall_coverage == pytest.approx(1 - alpha, abs=0.03)
    strict = measured.rows(0.4)[-1]
    assert strict["precision"] > strict["raw_precision"] + 0.02
    assert strict["kept"] < measured.rows(0.05)[-1]["kept"]
    assert strict["recall"] < strict["raw_recall"]
    text = measured.text()
    assert text.count("overall") == 3
    assert "sets are to cover 0.6 of the pixels" in text


def test_tables_are_written(annotated, tmp_path):
    folder, *_ = annotated
    measured = measure_annotations([folder / "maps"], folder / "d.json", alphas=(0.1,))
    assert measured.pooling == "pixel"
    assert measured.fallbacks == 1  # 12 images are fewer than 20 scores at any place
    measured.write(tmp_path / "annotator.csv")
    lines = (tmp_path / "annotator.csv").read_text().splitlines()
    assert len(lines) == 1 + CLASSES + 1
    assert lines[0].startswith("alpha,class,name,pixels,iou,coverage")


def test_background_gives_way_where_there_is_one(annotated, tmp_path):
    folder, content, *_ = annotated
    (tmp_path / "d.json").write_text(json.dumps({**content, "classes": ["background", "b", "c", "d"]}))
    with_background = measure_annotations([folder / "maps"], tmp_path / "d.json", pooling="image")
    without = measure_annotations([folder / "maps"], folder / "d.json", pooling="image")
    assert (with_background.background, without.background) == (0, None)
    assert with_background.calibrated[0.05].labeled[0] < without.calibrated[0.05].labeled[0]


def test_what_cannot_be_measured_is_refused_in_one_line(annotated, tmp_path):
    folder, _, maps, _ = annotated

    def refused(fault, folders=(folder / "maps",), datalist=folder / "d.json", **options):
        with pytest.raises(InputError, match=fault) as refusal:
            measure_annotations(folders, datalist, **options)
        assert "\n" not in str(refusal.value)

    refused("has no labelled image in validation", lists=("validation",))
    refused("is what calibrates", lists=("training",))
    refused("did you mean 'test'", lists=("tests",))
    refused("holds no map of the image c1", folders=[folder / "maps" / "train"])
    write_map(tmp_path / "more" / "c12.npz", np.concatenate([maps["c12"], maps["c12"]]) / 2)
    for case in maps:
        if case != "c12":
            write_map(tmp_path / "more" / f"{case}.npz", maps[case])
    refused("has 8 classes, 4 are wanted", folders=[tmp_path / "more"])
    for case in maps:
        write_map(tmp_path / "fewer" / f"{case}.npz", maps[case][:3])
    refused("class", folders=[tmp_path / "fewer"])


@pytest.mark.slow
@pytest.mark.real("data/camvid/annotator")
def test_the_annotator_of_another_city_is_as_good_as_it_is_said(tmp_path):
    from medssl.data import build_datalist

    content = build_datalist(REAL / "camvid", dataset="camvid", labeled="1/16")
    content["test"] = content["test"][::10]
    (tmp_path / "d.json").write_text(json.dumps(content))
    measured = measure_annotations([REAL / "camvid" / "annotator"], tmp_path / "d.json", pooling="image")
    assert measured.miou == pytest.approx(0.61, abs=0.04)
    assert measured.raw.overall_precision == pytest.approx(0.88, abs=0.02)
