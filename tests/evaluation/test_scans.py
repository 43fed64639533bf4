"""Scores of cases in the geometry of their reference files, and the evaluation of a run."""

import csv
import json
import statistics

import h5py
import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from medpy.metric import binary
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from scipy.spatial.transform import Rotation
from torch import nn

from medssl.common.errors import InputError
from medssl.evaluation.case_metrics import CaseMetrics, summary_table
from medssl.evaluation.scans import evaluate_run
from medssl.metrics import EMPTY_POLICY
from medssl.metrics.table import CASE_METRICS, CLASS_METRICS
from medssl.networks import DualDecoderVNet, VNet

CONFIG = """
imports: [$import monai, $import medssl.data, $import medssl.inference]
preprocessing:
- _target_: medssl.data.LoadCased
  keys: [image, label]
  h5_spacing: '@h5_spacing'
- _target_: CropForegroundd
  keys: image
  source_key: image
dataset:
  _target_: Dataset
  data: '@cases'
  transform:
    _target_: Compose
    transforms: "$[@reference] + @preprocessing"
reference:
  _target_: medssl.data.LoadCased
  keys: reference
  h5_spacing: '@h5_spacing'
dataloader:
  _target_: DataLoader
  dataset: '@dataset'
  batch_size: 1
  collate_fn: $monai.data.utils.no_collation
inferer:
  _target_: medssl.inference.predictor.Predictor
  networks: $[@network]
  num_classes: '@num_classes'
  patch: [16, 16, 16]
  stride: [16, 16, 16]
  keep_probabilities: true
evaluator:
  _target_: medssl.inference.scan_evaluator.ScanEvaluator
  val_data_loader: '@dataloader'
  inferer: '@inferer'
"""
SPACING = (0.8, 1.2, 1.6)
AFFINE = np.eye(4)
AFFINE[:3, :3] = Rotation.from_euler("xyz", (10, -20, 30), degrees=True).as_matrix() @ np.diag(
    (-0.8, 1.2, 1.6)
)
AFFINE[:3, 3] = (4.5, -90, 12)


class Bands(nn.Module):
    """The class that the intensity rounds to, of 0, 1 and 2."""

    def forward(self, x):
        return torch.cat([-((x - k) ** 2) for k in range(3)], 1) * 40


def evaluator(cases, num_classes=3, h5_spacing=1.0):
    parser = ConfigParser(yaml.safe_load(CONFIG))
    parser["cases"], parser["h5_spacing"], parser["num_classes"] = cases, h5_spacing, num_classes
    parser["network"] = {"_target_": f"{__name__}.Bands"}
    return parser.get_parsed_content("evaluator")


def box(shape, start, stop, value=1):
    mask = np.zeros(shape, np.uint8)
    mask[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = value
    return mask


SHAPE = (20, 18, 16)
PREDICTED = box(SHAPE, (3, 4, 2), (12, 11, 9)) + box(SHAPE, (14, 4, 2), (18, 9, 9), 2)
REFERENCE = box(SHAPE, (4, 4, 3), (13, 12, 9)) + box(SHAPE, (14, 3, 2), (18, 9, 10), 2)


def save(folder, name, predicted, reference, *, reference_affine=AFFINE):
    folder.mkdir(exist_ok=True)
    for kind, values, affine in (("image", predicted, AFFINE), ("label", reference, reference_affine)):
        nib.save(nib.Nifti1Image(values.astype(np.float32), affine), folder / f"{name}_{kind}.nii.gz")
    return {
        "case": name,
        "image": str(folder / f"{name}_image.nii.gz"),
        "reference": str(folder / f"{name}_label.nii.gz"),
    }


def scored(cases, path, **options):
    engine = evaluator(cases, h5_spacing=options.pop("h5_spacing", 1.0))
    handler = CaseMetrics(path, num_classes=3, **options)
    handler.attach(engine)
    engine.run()
    with path.open(newline="") as file:
        return engine, handler, list(csv.DictReader(file))


@pytest.mark.parametrize("unit", ["mm", "voxel"])
def test_rows_agree_with_medpy_on_the_stored_arrays(tmp_path, unit):
    case = save(tmp_path / "data", "c1", PREDICTED, REFERENCE)
    _, _, rows = scored([case], tmp_path / "cases.csv", unit=unit)
    assert [(row["case"], row["class"]) for row in rows] == [("c1", "1"), ("c1", "2")]
    spacing = SPACING if unit == "mm" else (1, 1, 1)
    for row, label in zip(rows, (1, 2), strict=True):
        pair = tuple(array == label for array in (PREDICTED, REFERENCE))
        expected = {
            "dice": binary.dc(*pair),
            "jaccard": binary.jc(*pair),
            "hausdorff95": binary.hd95(*pair, voxelspacing=spacing),
            "asd": binary.asd(*pair, voxelspacing=spacing),
            "assd": binary.assd(*pair, voxelspacing=spacing),
        }
        for name, value in expected.items():
            assert float(row[name]) == pytest.approx(value, abs=2e-5), name
        assert (row["unit"], row["empty"]) == (unit, "none")
        volumes = [mask.sum() * np.prod(SPACING) / 1000 for mask in pair]
        assert float(row["volume_ml"]) == pytest.approx(volumes[0], abs=1e-4)
        assert float(row["reference_ml"]) == pytest.approx(volumes[1], abs=1e-4)


def test_a_missed_structure_counts_as_worst_and_never_drops_out(tmp_path):
    complete = save(tmp_path / "data", "found", REFERENCE, REFERENCE)
    missed = save(tmp_path / "data", "missed", np.where(REFERENCE == 2, 0, REFERENCE), REFERENCE)
    engine, handler, rows = scored([complete, missed], tmp_path / "cases.csv")
    row = rows[-1]
    assert (row["case"], row["class"], row["empty"]) == ("missed", "2", "prediction")
    diagonal = float(np.linalg.norm(np.array(SHAPE) * SPACING))
    assert (float(row["dice"]), float(row["nsd"])) == (0, 0)
    assert float(row["hausdorff95"]) == pytest.approx(diagonal, abs=1e-4)
    assert engine.state.metrics["mean_dice"] == pytest.approx(3 / 4)
    assert engine.state.metrics["median_dice"] == 1
    assert engine.state.metrics["mean_assd"] == pytest.approx(diagonal / 4, abs=1e-4)
    table = summary_table(handler.rows)
    assert EMPTY_POLICY in table
    assert "class 2, 2 cases, 1 with an empty mask on one side" in table


def test_the_summary_gives_mean_median_worst_and_best_of_each_class():
    dices = (0.5, 0.75, 0.9)
    other = {metric.name: 0.5 for metric in CLASS_METRICS} | {"unit": "mm", "empty": "none"}
    rows = [{"case": f"{d}", "class": 1, **other, "dice": d, "hausdorff95": 10 * d} for d in dices]
    lines = {line.split()[0]: line.split() for line in summary_table(rows).splitlines()}
    mean = statistics.fmean(dices)
    assert [float(v) for v in lines["dice"][1:]] == pytest.approx([mean, 0.75, 0.5, 0.9], abs=1e-4)
    assert [float(v) for v in lines["hausdorff95"][2:]] == pytest.approx([10 * mean, 7.5, 9.0, 5.0], abs=1e-3)


def test_hdf5_cases_are_scored_at_the_given_spacing(tmp_path):
    with h5py.File(tmp_path / "mri_norm2.h5", "w") as file:
        file["image"], file["label"] = PREDICTED.astype(np.float32), REFERENCE
    path = str(tmp_path / "mri_norm2.h5")
    cases = [{"case": "c1", "image": path, "reference": path}]
    _, _, rows = scored(cases, tmp_path / "cases.csv", h5_spacing=0.625)
    expected = binary.assd(PREDICTED == 1, REFERENCE == 1, voxelspacing=0.625)
    assert float(rows[0]["assd"]) == pytest.approx(expected, abs=2e-5)
    assert float(rows[0]["reference_ml"]) == pytest.approx((REFERENCE == 1).sum() * 0.625**3 / 1000, abs=1e-4)


def test_refuses_a_reference_of_another_shape_and_writes_nothing(tmp_path):
    case = save(tmp_path / "data", "c1", PREDICTED, REFERENCE[:-1])
    with pytest.raises(InputError, match=r"19 x 18 x 16 voxels, its scan c1_image\.nii\.gz 20 x 18 x 16"):
        scored([case], tmp_path / "cases.csv")
    assert not (tmp_path / "cases.csv").exists()


def test_refuses_a_reference_that_lies_elsewhere(tmp_path):
    moved = AFFINE.copy()
    moved[0, 3] += 0.5
    case = save(tmp_path / "data", "c1", PREDICTED, REFERENCE, reference_affine=moved)
    with pytest.raises(InputError, match="lies elsewhere than its scan"):
        scored([case], tmp_path / "cases.csv")


def test_a_second_evaluation_starts_afresh(tmp_path):
    engine = evaluator([save(tmp_path / "data", "c1", PREDICTED, REFERENCE)])
    handler = CaseMetrics(tmp_path / "cases.csv", num_classes=3)
    handler.attach(engine)
    engine.run()
    first = (tmp_path / "cases.csv").read_bytes()
    engine.run()
    assert len(handler.rows) == 2
    assert (tmp_path / "cases.csv").read_bytes() == first


def checkpoint(path, network, step=3, width=2):
    """A checkpoint, and what it says of its model."""
    state = network.state_dict()
    empty = {key: {} for key in ("optimizer", "scheduler", "scaler", "rng", "best")}
    progress = {"step": step, "epoch": 1, "steps_per_epoch": step}
    description = {
        "network": {"_target_": f"medssl.networks.{type(network).__name__}", "width": width},
        "preprocessing": [{"name": "LoadCased", "arguments": {"keys": "image"}}],
        **{"num_classes": 2, "patch_size": [16] * 3, "stride": [16] * 3, "orientation": None},
        **{"spacing": None, "amp": "off", "channels_last": True, "class_names": None},
    }
    meta = {"method": "Supervised", **description}
    torch.save(
        {**empty, "method": state, "network": state, "deployed": state, "progress": progress, "meta": meta},
        path,
    )


@pytest.fixture
def run_case(tmp_path):
    rng = np.random.default_rng(0)
    return save(
        tmp_path / "data", "c1", rng.random((16, 16, 16)) + 0.1, box((16, 16, 16), (2, 2, 2), (9, 9, 9))
    )


def test_each_checkpoint_is_scored_with_its_own_weights(tmp_path, run_case):
    torch.manual_seed(0)
    nets = {name: DualDecoderVNet(width=2) for name in ("best", "last")}
    for bias, net in zip((-50.0, 50.0), nets.values(), strict=True):
        net.decoder1.classifier.bias.data = torch.tensor([0.0, bias])
    for name, net in nets.items():
        checkpoint(tmp_path / f"{name}.pt", net)
    results = evaluate_run(evaluator([run_case], 2), run_dir=tmp_path, num_classes=2)
    assert list(results) == ["best", "last"]
    assert results["best"][0]["empty"] == "prediction"
    assert results["last"][0]["dice"] == pytest.approx(2 * 7**3 / (7**3 + 16**3), abs=1e-6)
    for name, rows in results.items():
        with (tmp_path / f"cases_{name}.csv").open(newline="") as file:
            assert [float(row["dice"]) for row in csv.DictReader(file)] == [row["dice"] for row in rows]


def test_a_run_without_best_is_scored_on_last_alone_and_never_written_over(tmp_path, run_case):
    network = VNet(width=2)
    checkpoint(tmp_path / "last.pt", network)
    engine = evaluator([run_case], 2)
    assert list(evaluate_run(engine, run_dir=tmp_path, num_classes=2)) == ["last"]
    assert not (tmp_path / "cases_best.csv").exists()
    (tmp_path / "cases_last.csv").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        evaluate_run(engine, run_dir=tmp_path, num_classes=2)
    assert (tmp_path / "cases_last.csv").read_text() == "mine"
    evaluate_run(engine, run_dir=tmp_path, num_classes=2, overwrite=True)
    assert (tmp_path / "cases_last.csv").read_text().startswith("case,class,dice")


def test_a_temperature_changes_the_reliability_alone_and_is_recorded(tmp_path, run_case):
    torch.manual_seed(0)
    network = VNet(width=2)
    checkpoint(tmp_path / "last.pt", network)
    tables, policies = [], []
    for temperature in (1.0, 3.0):
        engine = evaluator([run_case], 2)
        engine.inferer.temperature = temperature
        options = {"run_dir": tmp_path, "num_classes": 2, "overwrite": True}
        tables.append(evaluate_run(engine, **options)["last"][0])
        policies.append(json.loads((tmp_path / "reliability_last.json").read_text())["policy"])
    assert policies[1] == {"temperature": 3.0, **policies[0]}
    assert "temperature" not in policies[0]
    differing = {name for name in tables[0] if tables[0][name] != tables[1][name]}
    assert "ece" in differing
    assert differing <= {metric.name for metric in CASE_METRICS}


def test_refuses_a_folder_without_checkpoints_another_architecture_and_no_cases(tmp_path, run_case):
    engine = evaluator([run_case], 2)
    with pytest.raises(InputError, match=r"none of best.pt, last.pt"):
        evaluate_run(engine, run_dir=tmp_path, num_classes=2)
    checkpoint(tmp_path / "last.pt", VNet(width=3))
    with pytest.raises(InputError, match="another architecture"):
        evaluate_run(engine, run_dir=tmp_path, num_classes=2)
    with pytest.raises(InputError, match="no case"):
        evaluate_run(evaluator([], 2), run_dir=tmp_path, num_classes=2)
    assert not list(tmp_path.glob("*.csv"))


def test_a_region_as_thick_as_there_are_classes_is_one_region(tmp_path):
    """Its probabilities could be taken for a batch of slices; turned round they could not."""
    random = torch.Generator().manual_seed(2)
    probs = torch.randn(2, 2, 5, 6, generator=random).softmax(0)
    truth = torch.randint(0, 2, (2, 5, 6), generator=random)
    scores = []
    for order in ((0, 1, 2), (1, 0, 2)):
        label_map, reference = (x.permute(order)[None].to(torch.uint8) for x in (probs.argmax(0), truth))
        meta = {"filename_or_obj": "case.nii.gz", "original_affine": np.eye(4)}
        item = {
            "case": "a",
            "pred": probs.permute(0, *(axis + 1 for axis in order)),
            "label_map": label_map,
            "reference": MetaTensor(reference, affine=torch.eye(4), meta=meta),
            "image": MetaTensor(reference.float(), affine=torch.eye(4), meta=meta),
        }
        rows, _ = CaseMetrics(tmp_path / "cases_last.csv", num_classes=2).score(item)
        scores.append([rows[0][metric.name] for metric in CASE_METRICS])
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)
