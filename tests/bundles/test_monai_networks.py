"""MONAI's networks, named once in an overlay: trained, scored, predicted with and exported."""

import csv

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from monai.bundle import ckpt_export

from medssl.cli import main
from medssl.inference import load_run, predict, trained_network
from medssl.metrics import dice

from .conftest import CONFIGS, TINY, refusal, run

OVERLAYS = {
    "segresnet": {
        "_target_": "medssl.networks.Adapted",
        "patch_multiple": 8,
        "network": {
            "_target_": "SegResNet",
            "init_filters": 8,
            "in_channels": "@in_channels",
            "out_channels": "@num_classes",
            "norm": "batch",
        },
    },
    "unet": {
        "_target_": "medssl.networks.Adapted",
        "patch_multiple": 4,
        "network": {
            "_target_": "monai.networks.nets.UNet",
            "spatial_dims": 3,
            "in_channels": "@in_channels",
            "out_channels": "@num_classes",
            "channels": [4, 8, 8],
            "strides": [2, 2],
        },
    },
}


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_network_is_named_once_and_everything_works(name, phantoms, tmp_path):
    overlay, folder = tmp_path / f"{name}.yaml", tmp_path / "run"
    overlay.write_text(yaml.safe_dump({"network_def": OVERLAYS[name]}))
    files = ["train.yaml", "datasets/phantom.yaml", "methods/supervised.yaml", str(overlay)]
    settings = {**TINY, "max_steps": 2, "test": 1, "patch_size": [40, 32, 16]}
    run(files, **settings, dataset_dir=str(phantoms), run_dir=str(folder))
    run([str(folder / "config.yaml"), "evaluate.yaml"], run_dir=str(folder))
    with (folder / "cases_last.csv").open(newline="") as table:
        (row,) = csv.DictReader(table)

    scan, out = phantoms / "images" / f"{row['case']}.nii.gz", tmp_path / "out"
    assert main(["predict", str(folder), str(scan), str(out), "--device", "cpu"]) == 0
    labels, reference = (
        np.asarray(nib.load(path).dataobj)
        for path in (out / f"{row['case']}_seg.nii.gz", phantoms / "labels" / f"{row['case']}.nii.gz")
    )
    assert float(row["dice"]) == round(dice(labels, reference), 6)
    np.testing.assert_array_equal(predict(folder, scan, device="cpu").labels, labels)

    trained = load_run(folder)
    assert trained.record["method"] == "supervised"
    assert trained.config["patch_size"] == [40, 32, 16]
    arguments = OVERLAYS[name]["network"] | {"in_channels": 1, "out_channels": 2}
    stored = dict(trained.deployment.description.network["network"])
    assert stored.pop("_target_").rpartition(".")[2] == arguments.pop("_target_").rpartition(".")[2]
    assert stored == arguments

    images = torch.randn(1, 1, 40, 32, 16)
    ckpt_export(
        net_id="network_def",
        config_file=str(CONFIGS / "inference.yaml"),
        meta_file=str(CONFIGS / "metadata.json"),
        ckpt_file=str(folder / "last.pt"),
        key_in_ckpt="deployed",
        checkpoint=str(folder / "last.pt"),
        filepath=str(tmp_path / "model.ts"),
        input_shape=[1, 1, 40, 32, 16],
        use_trace=True,
    )
    script = torch.jit.load(str(tmp_path / "model.ts")).eval()
    with torch.no_grad():
        torch.testing.assert_close(
            script(images), trained_network(folder / "last.pt")(images), rtol=1e-4, atol=1e-4
        )


OWN = """
from torch import nn

class Plain(nn.Conv3d):
    def __init__(self, channels, classes):
        super().__init__(channels, classes, 3, padding=1)
"""


def test_a_network_of_ones_own_is_scored_with_its_run_and_predicts_where_one_says_so(
    phantoms, tmp_path, monkeypatch, capsys
):
    (tmp_path / "plain_network.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    network = {"_target_": "plain_network.Plain", "channels": "@in_channels", "classes": "@num_classes"}
    overlay, folder = tmp_path / "plain.yaml", tmp_path / "run"
    overlay.write_text(
        yaml.safe_dump({"network_def": {"_target_": "medssl.networks.Adapted", "network": network}})
    )
    files = ["train.yaml", "datasets/phantom.yaml", "methods/supervised.yaml", str(overlay)]
    run(files, **{**TINY, "max_steps": 2, "test": 1}, dataset_dir=str(phantoms), run_dir=str(folder))
    assert main(["evaluate", str(folder)]) == 0
    assert (folder / "cases_last.csv").is_file()

    predict_one = ["predict", str(folder), str(phantoms / "images" / "phantom_000.nii.gz")]
    assert main([*predict_one, str(tmp_path / "refused"), "--device", "cpu"]) == 2
    assert "if you trust it, add --allow plain_network" in capsys.readouterr().err
    allowed = [*predict_one, str(tmp_path / "out"), "--device", "cpu", "--allow", "plain_network"]
    assert main(allowed) == 0


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"network_def": {"_target_": "SegResNet"}}, "wrap it: _target_: medssl.networks.Adapted"),
        ({"network_def": "$networks.VNet(width=2)"}, "is of type VNet, which no checkpoint holds"),
        ({"network_def::dropout": "$torch.tensor(0.5)"}, "which no checkpoint holds"),
        (
            {"preprocessing::1": {"_target_": "Lambdad", "keys": "image", "func": "$abs"}},
            "which no checkpoint holds",
        ),
        ({"preprocessing::1": {"_target_": "RandFlipd", "keys": "image"}}, "no transform that a checkpoint"),
    ],
)
def test_what_a_checkpoint_could_not_hold_is_refused_before_the_training(change, fault, phantoms, tmp_path):
    files = ["train.yaml", "datasets/phantom.yaml", "methods/supervised.yaml"]
    assert fault in refusal(files, **TINY, dataset_dir=str(phantoms), run_dir=str(tmp_path / "run"), **change)
    assert not (tmp_path / "run").exists()
