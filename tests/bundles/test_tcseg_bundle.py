"""Every config of the bundle run on a tiny phantom set."""

import csv
import json
import shutil
import sqlite3
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from monai.bundle import ckpt_export, onnx_export, verify_net_in_out

from medssl.data.preparing.phantom_set import write_phantoms
from medssl.inference.checkpoints import load_checkpoint, load_network
from medssl.networks import DualDecoderVNet, VNet
from medssl.training import ramp, share_of_steps

from .conftest import BUNDLE, CONFIGS, TINY, refusal, run, workflow

TRAIN = ["train.yaml", "datasets/phantom.yaml"]
DATASETS = sorted(path.stem for path in (CONFIGS / "datasets").glob("*.yaml"))


def test_properties_of_training_and_inference_are_complete(phantoms, trained, tmp_path):
    settings = {**TINY, "dataset_dir": str(phantoms), "run_dir": str(tmp_path / "run")}
    training = workflow(TRAIN, **settings)
    training.initialize()
    assert training.check_properties() == []
    inference = workflow(
        ["inference.yaml"],
        "infer",
        dataset_dir=str(phantoms),
        checkpoint=str(trained / "last.pt"),
    )
    inference.initialize()
    assert inference.check_properties() == []


def test_training_leaves_a_complete_run(trained):
    record = json.loads((trained / "run.json").read_text())
    assert record["status"] == "finished"
    assert (record["method"], record["dataset"], record["labeled"]) == ("tcseg", "phantom", 2)
    assert record["selection"] == "validation"
    config = yaml.safe_load((trained / "config.yaml").read_text())
    assert config["patch_size"] == [32, 32, 16]
    assert config["preprocessing"] == ["@load", {"_target_": "NormalizeIntensityd", "keys": "image"}]
    assert config["optimizer"]["lr"] == "@learning_rate"
    assert config["lr_scheduler"] == "@polynomial"
    assert " at 0x" not in (trained / "config.yaml").read_text()
    assert record["training_cases"] == ["phantom_000", "phantom_001"]
    steps = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert [s["step"] for s in steps if s["event"] == "validation"] == [2, 4]
    assert list((trained / "tensorboard").glob("events*"))
    best, last = (load_checkpoint(trained / f"{name}.pt") for name in ("best", "last"))
    assert last["progress"]["step"] == 4
    assert best["best"]["metric"] >= 0
    assert set(last["deployed"]) == set(VNet(width=2).state_dict())
    assert any(key.startswith("teacher.") for key in last["method"])


def test_a_resumed_run_ends_like_an_uninterrupted_one(phantoms, trained, tmp_path):
    settings = {**TINY, "dataset_dir": str(phantoms), "run_dir": str(tmp_path / "run")}
    files = [*TRAIN, "methods/tcseg.yaml"]
    flow = workflow(files, **settings)
    flow.initialize()
    trainer = flow.parser.get_parsed_content("train::trainer")
    from ignite.engine import Events

    @trainer.on(Events.ITERATION_STARTED(once=4))
    def cut(engine):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        flow.run()
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "interrupted"
    run(files, **{**settings, "resume": True})
    uninterrupted, resumed = (load_checkpoint(f / "last.pt")["method"] for f in (trained, tmp_path / "run"))
    assert all(torch.equal(uninterrupted[key], resumed[key]) for key in uninterrupted)


def test_evaluation_scores_best_and_last_in_the_geometry_of_the_files(phantoms, trained):
    files = [*TRAIN, "methods/tcseg.yaml", "evaluate.yaml"]
    settings = {**TINY, "dataset_dir": str(phantoms), "run_dir": str(trained)}
    run(files, **settings)
    for name in ("best", "last"):
        with (trained / f"cases_{name}.csv").open() as table:
            rows = list(csv.DictReader(table))
        assert [row["case"] for row in rows] == ["phantom_005", "phantom_006"]
        assert all(0 <= float(row["dice"]) <= 1 for row in rows)
        label = nib.load(phantoms / "labels" / "phantom_005.nii.gz")
        volume = np.asarray(label.dataobj).sum() * np.prod(label.header.get_zooms()) / 1000
        assert float(rows[0]["reference_ml"]) == pytest.approx(volume, rel=1e-4)
    assert "exists already" in refusal(files, **settings)


def test_best_is_chosen_by_the_dice_that_the_evaluation_reports(phantoms, trained):
    settings = {**TINY, "dataset_dir": str(phantoms), "run_dir": str(trained)}
    run([*TRAIN, "methods/tcseg.yaml", "evaluate.yaml"], **settings, evaluate_on="validation")
    log = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    chosen_by = [entry["val_dice"] for entry in log if entry["event"] == "validation"]
    for name, value in (("best", max(chosen_by)), ("last", chosen_by[-1])):
        with (trained / f"cases_{name}_validation.csv").open() as table:
            scores = [float(row["dice"]) for row in csv.DictReader(table)]
        # Up to voxels that folding the batch norm turns over.
        assert value == pytest.approx(sum(scores) / len(scores), abs=1e-3)


def test_inference_writes_maps_in_the_geometry_of_the_scans(phantoms, trained, tmp_path):
    run(
        ["inference.yaml"],
        "infer",
        **{k: TINY[k] for k in ("bundle_root", "device")},
        dataset_dir=str(phantoms),
        checkpoint=str(trained / "last.pt"),
        output_dir=str(tmp_path),
        cases=["phantom_001", "phantom_004"],
    )
    kinds = ("confidence", "seg", "uncertainty")
    names = sorted(path.name for path in tmp_path.glob("*.nii.gz"))
    assert names == [f"{c}_{kind}.nii.gz" for c in ("phantom_001", "phantom_004") for kind in kinds]
    assert {"worklist.csv", "index.html", "labels.txt", "labels.ctbl"} <= {p.name for p in tmp_path.iterdir()}
    scan = nib.load(phantoms / "images" / "phantom_001.nii.gz")
    confidence, seg, uncertainty = (nib.load(tmp_path / f"phantom_001_{kind}.nii.gz") for kind in kinds)
    for image in (seg, confidence, uncertainty):
        assert image.shape == scan.shape
        np.testing.assert_array_equal(image.affine, scan.affine)
    assert seg.get_data_dtype() == np.uint8
    assert 0.5 - 1e-6 <= confidence.get_fdata().min() <= confidence.get_fdata().max() <= 1 + 1e-6
    assert 0 <= uncertainty.get_fdata().min() <= uncertainty.get_fdata().max() <= 1


@pytest.mark.parametrize("dataset", [d for d in DATASETS if d not in ("phantom", "la_half")])
def test_overlay_trains_a_step_on_files_of_its_form(dataset, tmp_path):
    """The published lists are long: cases of the split are found, the rest is allowed to be missing."""
    from medssl.data import read_split

    write_phantoms(tmp_path / "made", cases=6, seed=1, size=(40, 40, 32))
    data = tmp_path / "data"
    own = dataset in ("custom", "hippocampus")
    if own:
        shutil.copytree(tmp_path / "made", data)
    else:
        split = read_split(dataset)
        cases = [*split.training[:4], *(split.validation or split.test)[:2]]
        for kind in ("images", "labels"):
            (data / kind).mkdir(parents=True)
            for phantom, case in zip(sorted((tmp_path / "made" / kind).iterdir()), cases, strict=True):
                shutil.copy(phantom, data / kind / f"{case}.nii.gz")
    settings = {**TINY, "max_steps": 2, "test": 1 if own else 0, "allow_missing": True}
    if dataset == "hippocampus":  # there is no published split
        items = [
            {kind[:-1]: str(data / kind / f"phantom_{n:03}.nii.gz") for kind in ("images", "labels")}
            for n in range(6)
        ]
        lists = {
            "training": items[:2],
            "unlabeled": [i["image"] for i in items[2:4]],
            "validation": items[4:],
        }
        (tmp_path / "d.json").write_text(json.dumps(lists))
        settings |= {"datalist_file": str(tmp_path / "d.json"), "num_classes": 2}
    run(
        ["train.yaml", f"datasets/{dataset}.yaml"],
        **{**settings, "dataset_dir": str(data), "run_dir": str(tmp_path / "run")},
    )
    assert load_checkpoint(tmp_path / "run" / "last.pt")["progress"]["step"] == 2


@pytest.mark.parametrize(
    ("dataset", "patch", "stride", "labeled"),
    [
        ("la", [112, 112, 80], [18, 18, 4], 8),
        ("pancreas_ct", [96, 96, 96], [16, 16, 16], 6),
        ("brats2019", [96, 96, 96], [16, 16, 16], 25),
    ],
)
def test_overlays_hold_the_published_settings(dataset, patch, stride, labeled):
    base = yaml.safe_load((CONFIGS / "train.yaml").read_text())
    config = {**base, **yaml.safe_load((CONFIGS / "datasets" / f"{dataset}.yaml").read_text())}
    assert (config["patch_size"], config["stride"], config["default_labeled"]) == (patch, stride, labeled)
    assert (config["max_steps"], config["learning_rate"], config["width"]) == (20000, 0.01, 16)
    optimizer = config["optimizer"]
    assert (optimizer["momentum"], optimizer["weight_decay"], config["dropout"]) == (0.9, 1e-4, 0.5)
    published = ramp(config["max_steps"], share=config["ramp_share"], stairs=config["ramp_stairs"])
    assert (published.length, published.interval) == (6000, 150)
    assert share_of_steps(config["max_steps"], config["warmup_share"]) == 100
    assert (config["labeled_per_batch"], config["unlabeled_per_batch"]) == (2, 2)


def test_supervised_training_does_not_open_unlabeled_files(phantoms, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(phantoms, data)
    (data / "images" / "phantom_002.nii.gz").write_bytes(b"no scan at all")
    files = [*TRAIN, "methods/supervised.yaml"]
    settings = {**TINY, "max_steps": 2, "dataset_dir": str(data)}
    run(files, **{**settings, "run_dir": str(tmp_path / "supervised")})
    assert "phantom_002" in refusal(TRAIN, **{**settings, "run_dir": str(tmp_path / "tcseg")})


def test_labels_of_unlabeled_cases_never_reach_the_training(phantoms, trained, tmp_path, caplog):
    data = tmp_path / "data"
    shutil.copytree(phantoms, data)
    for case in ("phantom_002", "phantom_003"):
        (data / "labels" / f"{case}.nii.gz").write_bytes(b"poison")
    settings = {**TINY, "dataset_dir": str(data), "run_dir": str(tmp_path / "run")}
    run([*TRAIN, "methods/tcseg.yaml"], **settings)
    clean, poisoned = (load_checkpoint(f / "last.pt")["method"] for f in (trained, tmp_path / "run"))
    assert all(torch.equal(clean[key], poisoned[key]) for key in clean)
    # Only the look at the pseudo-labels opens them, and goes on without.
    assert (trained / "pseudo_labels.csv").is_file()
    assert not (tmp_path / "run" / "pseudo_labels.csv").exists()
    run(
        [*TRAIN, "methods/tcseg.yaml"],
        **{**settings, "run_dir": str(tmp_path / "n"), "pseudo_label_cases": 0},
    )
    unlooked = load_checkpoint(tmp_path / "n" / "last.pt")["method"]
    assert all(torch.equal(clean[key], unlooked[key]) for key in clean)


def test_hidden_labels_reach_the_quality_of_pseudo_labels_and_nothing_else(phantoms, trained, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(phantoms, data)
    for case in ("phantom_002", "phantom_003"):
        path = data / "labels" / f"{case}.nii.gz"
        label = nib.load(path)
        nib.save(nib.Nifti1Image(1 - np.asarray(label.dataobj), label.affine, label.header), path)
    settings = {**TINY, "dataset_dir": str(data), "run_dir": str(tmp_path / "run")}
    flow = run([*TRAIN, "methods/tcseg.yaml"], **settings)
    cached = flow.parser.get_parsed_content("train::dataset")
    assert [("label" in cached[index]) for index in range(len(cached))] == [True] * 2 + [False] * 2
    plain, turned = (load_checkpoint(f / "last.pt")["method"] for f in (trained, tmp_path / "run"))
    assert all(torch.equal(plain[key], turned[key]) for key in plain)
    right = []
    for folder in (trained, tmp_path / "run"):
        with (folder / "pseudo_labels.csv").open(newline="") as table:
            rows = list(csv.DictReader(table))
        assert [(row["step"], row["selector"]) for row in rows if row["class"] == "all"] == [
            (step, selector) for step in ("2", "4") for selector in ("tcseg", "confidence 0.95")
        ]
        right.append([float(row["ppv_all"]) for row in rows if row["class"] == "all"])
    # With two classes turned round, what was right is wrong.
    assert right[0] == pytest.approx([1 - share for share in right[1]], abs=2e-6)


def test_selection_by_test_cases_is_recorded_as_such(phantoms, tmp_path):
    settings = {**TINY, "max_steps": 2, "dataset_dir": str(phantoms), "run_dir": str(tmp_path / "run")}
    run(TRAIN, **{**settings, "selection": "test-oracle"})
    assert json.loads((tmp_path / "run" / "run.json").read_text())["selection"] == "test-oracle"
    run(TRAIN, **{**settings, "run_dir": str(tmp_path / "none"), "validation": 0})
    assert json.loads((tmp_path / "none" / "run.json").read_text())["selection"] == "none"
    assert not (tmp_path / "none" / "best.pt").exists()


def test_exported_networks_are_the_encoder_and_the_first_decoder(trained, tmp_path):
    arguments = {
        "net_id": "network_def",
        "config_file": str(CONFIGS / "inference.yaml"),
        "meta_file": str(CONFIGS / "metadata.json"),
        "ckpt_file": str(trained / "last.pt"),
        "key_in_ckpt": "deployed",
        "input_shape": [1, 1, 32, 32, 16],
        "checkpoint": str(trained / "last.pt"),
    }
    images = torch.randn(1, 1, 32, 32, 16)
    network = DualDecoderVNet(width=2).eval()
    network.load_state_dict(load_checkpoint(trained / "last.pt")["network"])
    with torch.no_grad():
        expected = network.deployed(images)
    ckpt_export(filepath=str(tmp_path / "model.ts"), use_trace=True, **arguments)
    script = torch.jit.load(str(tmp_path / "model.ts")).eval()
    torch.testing.assert_close(script(images), expected, rtol=1e-4, atol=1e-4)
    assert not any("decoder2" in name for name, _ in script.named_parameters())

    onnxruntime = pytest.importorskip("onnxruntime")
    onnx_export(filepath=str(tmp_path / "model.onnx"), **arguments)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    inputs = {session.get_inputs()[0].name: images.numpy()}
    np.testing.assert_allclose(session.run(None, inputs)[0], expected.numpy(), rtol=1e-3, atol=1e-3)


def test_network_takes_and_gives_what_the_metadata_says(trained):
    verify_net_in_out(
        net_id="network_def",
        config_file=str(CONFIGS / "inference.yaml"),
        meta_file=str(CONFIGS / "metadata.json"),
        device="cpu",
        n=1,
        p=1,
        checkpoint=str(trained / "last.pt"),
    )


def test_a_checkpoint_of_another_width_is_refused_in_one_line(trained):
    with pytest.raises(Exception, match="another architecture") as caught:
        load_network(trained / "last.pt", VNet(width=4))
    assert "\n" not in str(caught.value)


def test_mlflow_keeps_losses_and_validations(phantoms, tmp_path):
    pytest.importorskip("mlflow", reason="an optional tracker")
    command = [sys.executable, "-m", "monai.bundle", "run", "--bundle_root", str(BUNDLE)]
    command += ["--config_file", str([str(CONFIGS / name) for name in TRAIN])]
    command += ["--tracking", str(CONFIGS / "mlflow.json"), "--dataset_dir", str(phantoms)]
    tiny = {k: v for k, v in TINY.items() if k not in ("bundle_root", "device")} | {"run_dir": str(tmp_path)}
    command += [str(part) for name, value in tiny.items() for part in (f"--{name}", value)]
    subprocess.run(command, check=True, capture_output=True)
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        names = {name for (name,) in database.execute("select key from metrics")}
    assert {"loss", "supervised", "val_dice", "val_rss"} <= names


def test_robustness_of_a_run_is_that_of_the_command(phantoms, trained, tmp_path):
    """One cell that both measure, on one case, by the bundle's settings and by the checkpoint's."""
    from medssl.cli import main
    from medssl.data import build_datalist

    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    options = {"corruptions": ["noise"], "severities": [3], "reliability_margin": 10.0}
    settings = {**options, "dataset_dir": str(phantoms), "run_dir": str(folder)}
    files = [str(folder / "config.yaml"), "robustness.yaml"]
    run(files, **settings)
    out = folder / "robustness_last"
    with (out / "robustness.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert [(row["model"], row["corruption"]) for row in rows] == [
        ("tcseg", name) for name in ("clean", "noise", "mean of corruptions")
    ]
    assert {path.name for path in (out / "cells").iterdir()} == {"clean-0.json", "noise-3.json"}
    assert (out / "radar.png").is_file()
    assert "| tcseg | noise | 3 |" in " ".join((out / "robustness.md").read_text().split())

    datalist = build_datalist(phantoms, dataset="phantom", labeled=2, validation=1, test=2)
    (tmp_path / "d.json").write_text(json.dumps(datalist))
    command = ["robustness", "--checkpoint", f"tcseg={trained / 'last.pt'}", "--input"]
    command += [tmp_path / "d.json", "--out", tmp_path / "out", "--corruptions", "noise", "--severities", 3]
    command += ["--margin", "10", "--device", "cpu", "--amp", "off"]
    assert main([str(part) for part in command]) == 0
    for name in ("clean-0.json", "noise-3.json"):
        of_run, of_command = ((f / name).read_text() for f in (out / "cells", tmp_path / "out/cells/tcseg"))
        assert of_run == of_command

    # What is finished is kept, and a cell of another region refused.
    run(files, **settings)
    assert "of another model" in refusal(files, **{**settings, "reliability_margin": 5.0})
