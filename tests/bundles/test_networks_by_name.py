"""The network overlays of the bundle: trained, scored, predicted with and exported by their names."""

import csv

import pytest
import torch
import yaml
from monai.bundle import ckpt_export

from medssl.cli import main
from medssl.inference import load_run, trained_network

from .conftest import CONFIGS, TINY, refusal, run

NETWORKS = sorted(path.stem for path in (CONFIGS / "networks").glob("*.yaml"))
# Phantoms of voxels of 1.25 mm, read as slices of 4 mm.
SETTINGS = {
    **TINY, "max_steps": 2, "test": 1, "width": 8, "spacing": [1.25, 1.25, 4.0], "patch_size": [32, 32, 8],
    "stride": [16, 16, 4],
}  # fmt: skip
SLICES = [[2, 2, 1], [2, 2, 2], [2, 2, 1]]
KERNELS = [[3, 3, 1], *[[3, 3, 3]] * 3]


def test_there_are_overlays():
    assert NETWORKS == ["dynunet", "segresnet", "vnet", "vnet_anisotropic"]


@pytest.mark.parametrize("name", ["dynunet", "vnet_anisotropic"])
def test_a_network_for_few_slices_does_everything_from_its_name(name, phantoms, tmp_path):
    folder = tmp_path / "run"
    files = ["train.yaml", "datasets/phantom.yaml", "methods/supervised.yaml", f"networks/{name}.yaml"]
    run(files, **SETTINGS, dataset_dir=str(phantoms), run_dir=str(folder))
    assert main(["evaluate", str(folder)]) == 0
    with (folder / "cases_last.csv").open(newline="") as table:
        (row,) = csv.DictReader(table)
    scan, out = phantoms / "images" / f"{row['case']}.nii.gz", tmp_path / "out"
    assert main(["predict", str(folder), str(scan), str(out), "--device", "cpu"]) == 0
    assert (out / f"{row['case']}_seg.nii.gz").is_file()

    stored = load_run(folder).deployment.description.network
    inner = stored.get("network", stored)
    if name == "dynunet":
        assert inner["strides"] == [1, *SLICES]
        assert (inner["upsample_kernel_size"], inner["kernel_size"]) == (SLICES, KERNELS)
        assert list(stored["patch_multiple"]) == [8, 8, 2]
    else:
        assert (inner["strides"], inner["kernels"]) == (SLICES, KERNELS)

    ckpt_export(
        net_id="network_def",
        config_file=str(CONFIGS / "inference.yaml"),
        meta_file=str(CONFIGS / "metadata.json"),
        ckpt_file=str(folder / "last.pt"),
        key_in_ckpt="deployed",
        checkpoint=str(folder / "last.pt"),
        filepath=str(tmp_path / "model.ts"),
        input_shape=[1, 1, 32, 32, 8],
        use_trace=True,
    )
    script, images = torch.jit.load(str(tmp_path / "model.ts")).eval(), torch.randn(1, 1, 32, 32, 8)
    with torch.no_grad():
        torch.testing.assert_close(
            script(images), trained_network(folder / "last.pt")(images), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("name", NETWORKS)
def test_tcseg_takes_two_decoders_and_refuses_one_before_a_folder_is_made(name, phantoms, tmp_path):
    folder = tmp_path / "run"
    files = ["train.yaml", "datasets/phantom.yaml", "methods/tcseg.yaml", f"networks/{name}.yaml"]
    settings = {**SETTINGS, "dataset_dir": str(phantoms), "run_dir": str(folder), "patch_size": [32, 32, 16]}
    if name.startswith("vnet"):
        run(files, **settings)
        assert (folder / "last.pt").is_file()
        config = yaml.safe_load((folder / "config.yaml").read_text())
        assert (config["network_strides"] is None) == (name == "vnet")
        return
    assert refusal(files, **settings).startswith("network: has 1 decoder, TCSeg compares two; use one")
    assert not folder.exists()


def test_segresnet_takes_a_width_below_its_groups(phantoms, tmp_path):
    files = ["train.yaml", "datasets/phantom.yaml", "methods/supervised.yaml", "networks/segresnet.yaml"]
    settings = {**SETTINGS, "width": 2, "dataset_dir": str(phantoms), "run_dir": str(tmp_path / "run")}
    run(files, **settings)
    stored = load_run(tmp_path / "run").deployment.description.network
    assert stored["network"]["norm"] == ["group", {"num_groups": 2}]


def test_strides_are_given_on_top_of_an_overlay(phantoms, tmp_path):
    files = ["train.yaml", "datasets/phantom.yaml", "methods/supervised.yaml", "networks/dynunet.yaml"]
    settings = {**SETTINGS, "dataset_dir": str(phantoms), "run_dir": str(tmp_path / "run")}
    words = {"network_strides": [[2, 2, 1], [2, 2, 2]], "network_kernels": [[3, 3, 3]] * 3}
    run(files, **settings, **words)
    stored = load_run(tmp_path / "run").deployment.description.network
    assert stored["network"]["strides"] == [1, [2, 2, 1], [2, 2, 2]]
    assert list(stored["patch_multiple"]) == [4, 4, 2]
