"""Data of one's own from a datalist written by hand: training, correction, training again, many seeds."""

import csv
import json
import re
import shutil

import nibabel as nib
import numpy as np
import pytest
import yaml

from medssl.cli import main
from medssl.data import load_datalist

from .conftest import BUNDLE, OWN_DATA, refusal, run, stages_run_here

FILES = ["train.yaml", "datasets/custom.yaml", "methods/tcseg_own.yaml"]
OWN = OWN_DATA | {"max_steps": 2, "ramp_share": 0.5, "ramp_stairs": 1}


def entry(number, *, label=True):
    name = f"phantom_00{number}.nii.gz"
    return {"image": f"images/{name}", **({"label": f"labels/{name}"} if label else {})}


@pytest.fixture
def folder(phantoms, tmp_path):
    """A copy of the phantoms with a datalist of relative names, and nothing else in it than the lists."""
    data = tmp_path / "data"
    shutil.copytree(phantoms, data)
    lists = {
        "training": [entry(0), entry(1)],
        "unlabeled": [entry(2, label=False)["image"], entry(3, label=False)],
        "validation": [entry(4)],
        "test": [entry(5), entry(6)],
    }
    (data / "d.json").write_text(json.dumps(lists))
    return data


def train(datalist, run_dir, **settings):
    run(FILES, **{**OWN, "datalist_file": str(datalist), "run_dir": str(run_dir), **settings})
    return json.loads((run_dir / "run.json").read_text())


def test_corrections_of_predictions_come_back_into_training(folder, tmp_path):
    first = train(folder / "d.json", tmp_path / "first")
    assert first["labeled"] == 2
    assert first["split_sha256"] == load_datalist(folder / "d.json")["split_sha256"]
    where = [
        "--checkpoint",
        tmp_path / "first/last.pt",
        "--device",
        "cpu",
        "--amp",
        "off",
    ]
    what = ["--input", folder / "d.json", "--lists", "unlabeled", "--out", tmp_path / "review"]
    assert main([str(part) for part in ["predict", *where, *what]]) == 0
    (tmp_path / "corrected").mkdir()
    corrected = tmp_path / "corrected" / "phantom_003_seg.nii.gz"
    shutil.copy(folder / "labels" / "phantom_003.nii.gz", corrected)
    options = ["--corrected", tmp_path / "corrected", "--datalist", folder / "d.json"]
    collect = ["review", "collect", tmp_path / "review", *options, "--out", tmp_path / "d2.json"]
    assert main([str(part) for part in collect]) == 0
    second = train(tmp_path / "d2.json", tmp_path / "second")
    assert second["labeled"] == 3
    assert second["split_sha256"] != first["split_sha256"]
    assert second["test_fingerprint"] == first["test_fingerprint"]
    assert (second["status"], second.get("warnings")) == ("finished", None)


def test_channels_in_files_of_their_own_train_and_score_as_in_one_file(folder, tmp_path):
    """A scan and its negative, as one 4D file and as two 3D files."""
    lists = json.loads((folder / "d.json").read_text())
    items = {name: [e if isinstance(e, dict) else {"image": e} for e in lists[name]] for name in lists}
    apart: dict[str, list] = {}
    for name, entries in items.items():
        apart[name] = []
        for item in entries:
            scan = nib.load(folder / item["image"])
            values = np.asarray(scan.dataobj, np.float32)
            second = item["image"].replace(".nii.gz", "_negative.nii.gz")
            nib.save(nib.Nifti1Image(-values, scan.affine), folder / second)
            case = item["image"].split("/")[1].split(".")[0]
            apart[name].append({**item, "image": [item["image"], second], "case": case})
            both = item["image"].replace(".nii.gz", "_both.nii.gz")
            stored = nib.Nifti1Image(np.stack([values, -values], -1), scan.affine)
            nib.save(stored, folder / both)
            item |= {"image": both, "case": case}
    tables = []
    for name, content in (("apart", apart), ("together", items)):
        (folder / f"{name}.json").write_text(json.dumps(content))
        assert main(["check", str(folder / f"{name}.json"), "--classes", "2"]) == 0
        settings = {**OWN, "datalist_file": str(folder / f"{name}.json"), "in_channels": 2}
        settings["run_dir"] = str(tmp_path / name)
        run(FILES, **settings)
        run([*FILES, "evaluate.yaml"], **settings)
        with (tmp_path / name / "cases_last.csv").open(newline="") as table:
            tables.append([float(row["ece"]) for row in csv.DictReader(table)])
    # The voxels are equal; their order in memory, and with it the rounding of means, is not.
    assert tables[0] == pytest.approx(tables[1], abs=1e-3)


def relabel(folder, lists, change):
    for item in (item for name in lists for item in load_datalist(folder / "d.json")[name]):
        label = nib.load(item["label"])
        changed = change(np.asarray(label.dataobj)).astype(np.uint8)
        nib.save(nib.Nifti1Image(changed, label.affine), item["label"])


@pytest.mark.parametrize(
    ("lists", "change", "settings", "message"),
    [
        ((), None, {"labeled": 3}, r"labeled=3: .*d\.json lists 2 labelled cases"),
        ((), None, {"num_classes": 5}, "no label shows classes 2, 3, 4; .*ask for 2 classes"),
        (("training", "validation"), lambda ids: ids * 255, {}, 'label_map {"255": 1}'),
        (("training",), lambda ids: ids * 0 + 255, {}, "is a label of 255 throughout"),
        (("training",), lambda ids: ids * 0, {}, "no label shows class 1"),
        (("training",), lambda ids: ids * 2, {}, "ask for 3 classes"),
    ],
)
def test_what_would_be_learnt_wrong_ends_before_the_run(folder, tmp_path, lists, change, settings, message):
    relabel(folder, lists, change)
    refused = {**OWN, "datalist_file": str(folder / "d.json"), "run_dir": str(tmp_path / "run"), **settings}
    assert re.search(message, refusal(FILES, **refused))
    assert not (tmp_path / "run").exists()


def test_what_is_meant_trains(folder, tmp_path):
    relabel(folder, ("training", "validation"), lambda ids: ids * 255)
    record = train(folder / "d.json", tmp_path / "mapped", label_map={"255": 1})
    assert record["status"] == "finished"
    settings = {"label_map": {"255": 1}, "num_classes": 3, "allow_absent_classes": True}
    assert train(folder / "d.json", tmp_path / "absent", **settings)["status"] == "finished"


def test_a_schedule_that_is_too_long_is_in_the_record(folder, tmp_path):
    record = train(folder / "d.json", tmp_path / "run", ramp_share=3, warmup_share=1.0)
    assert record["status"] == "finished"
    assert [line.split(":")[0] for line in record["warnings"]] == [
        "ramp of 6 steps",
        "warmup=2",
    ]


def test_two_seeds_on_ones_own_data_are_one_row_of_the_report(folder, tmp_path):
    settings = {name: value for name, value in OWN.items() if name not in ("bundle_root", "device")}
    content = {
        "bundle": str(BUNDLE),
        "datasets": {"mine": {"files": ["datasets/custom.yaml"], "datalist": "data/d.json"}},
        "methods": {"supervised": {"files": ["methods/supervised.yaml"]}},
        "seeds": [1, 2],
        "settings": settings,
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(content))
    line = [
        "protocol",
        "run",
        str(tmp_path / "study.yaml"),
        "--runs",
        str(tmp_path / "runs"),
        "--threads",
        "1",
    ]
    assert main([*line, "--dry-run"]) == 0
    assert not (tmp_path / "runs").exists()
    with stages_run_here():
        assert main(line) == 0
    records = [
        json.loads((tmp_path / f"runs/mine-supervised-labeled2-seed{seed}/run.json").read_text())
        for seed in (1, 2)
    ]
    assert len({record["split_sha256"] for record in records}) == 1
    assert main(["protocol", "report", str(tmp_path / "runs"), "--out", str(tmp_path / "report")]) == 0
    assert (tmp_path / "report" / "index.html").is_file()
    with (tmp_path / "report" / "summary.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert {(row["method"], row["runs"]) for row in rows} == {("supervised", "2")}
