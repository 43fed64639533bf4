"""``medssl train`` and ``medssl evaluate`` run MONAI's own workflow on the same config files."""

import importlib
import json
import shutil
import sys

import pytest
import torch
import yaml

from medssl.cli import main
from medssl.inference.checkpoints import load_checkpoint
from tests.bundles.conftest import OWN_DATA, TINY, refusal, run, words_of

OPTIONS = words_of({name: value for name, value in TINY.items() if name != "bundle_root"})


def medssl(*words):
    return main([str(word) for word in words])


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """An empty folder, in which the user stands."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def same_weights(*folders):
    first, second = (load_checkpoint(folder / "last.pt")["method"] for folder in folders)
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def test_the_short_line_trains_and_scores_as_monais_command_does(phantoms, trained, desk, capsys):
    assert medssl("train", "phantom", "tcseg", "--dataset-dir", phantoms, *OPTIONS) == 0
    folder = desk / "runs/phantom-tcseg-labeled2-seed1"
    output = capsys.readouterr()
    assert output.err.endswith(f"next: medssl evaluate {folder.relative_to(desk)}\n")
    assert output.out == ""
    assert same_weights(folder, trained)
    assert medssl("evaluate", "runs/phantom-tcseg-labeled2-seed1") == 0
    output = capsys.readouterr()
    assert [line.split()[0] for line in output.out.splitlines()[-2:]] == ["best", "last"]
    assert output.err.endswith(f"next: medssl predict {folder} SCANS OUT\n")
    copied = shutil.copytree(trained, desk / "copied", ignore=shutil.ignore_patterns("cases_*", "reliab*"))
    run([str(copied / "config.yaml"), "evaluate.yaml"], run_dir=str(copied))
    for name in ("best", "last"):
        table = f"cases_{name}.csv"
        assert (folder / table).read_bytes() == (copied / table).read_bytes()
    assert medssl("evaluate", folder) == 2
    assert "exists already" in capsys.readouterr().err
    assert medssl("evaluate", folder, "--overwrite", "--evaluate-on", "validation", "--unit", "voxel") == 0
    assert medssl("evaluate", folder, "--overwrite", "--seed", "2") == 2
    assert "seed is 1 there and 2 here" in capsys.readouterr().err


def test_yes_no_and_nothing_are_read_once_wherever_they_are_typed(phantoms, desk, capsys):
    words = ["train", "phantom", "supervised", "--dataset_dir", phantoms, *OPTIONS, "--max_steps", "2"]
    assert (
        medssl(*words, "--run_dir", "r", "--overwrite", "--max_grad_norm", "null", "--channels_last=false")
        == 0
    )
    config = yaml.safe_load((desk / "r/config.yaml").read_text())
    assert (config["overwrite"], config["channels_last"], config["max_grad_norm"]) == (True, False, None)
    assert medssl(*words, "--run_dir", "s", "--channels_last", "maybe") == 2
    assert "channels_last 'maybe': neither true nor false" in capsys.readouterr().err
    assert not (desk / "s").exists()


def test_a_network_of_monais_is_named_once(phantoms, desk):
    words = ["train", "phantom", "supervised", "--network", "segresnet", "--dataset_dir", phantoms, *OPTIONS]
    assert medssl(*words, "--width", "8", "--max_steps", "2", "--run_dir", "r") == 0
    assert medssl("evaluate", "r") == 0
    config = yaml.safe_load((desk / "r/config.yaml").read_text())
    assert config["network_def"]["network"]["_target_"] == "SegResNet"


def test_overlays_of_ones_own_and_a_datalist_work_from_any_folder(phantoms, desk):
    paths = {kind: sorted((phantoms / kind).iterdir()) for kind in ("images", "labels")}
    items = [{"image": str(i), "label": str(label)} for i, label in zip(*paths.values(), strict=True)]
    lists = {
        "training": items[:2],
        "unlabeled": [items[2]["image"]],
        "validation": items[3:4],
        "test": items[4:5],
    }
    (desk / "d.json").write_text(json.dumps(lists))
    (desk / "mine.yaml").write_text("method_name: tcseg\nmethod_options::tau: 0.03\n")
    options = words_of({name: value for name, value in OWN_DATA.items() if name != "bundle_root"})
    assert medssl("train", "d.json", "mine.yaml", *options, "--max_steps", "2", "--run_dir", "r") == 0
    config = yaml.safe_load((desk / "r/config.yaml").read_text())
    assert config["method_options"]["tau"] == 0.03
    assert config["datalist_file"] == str(desk / "d.json")
    assert medssl("evaluate", "r") == 0


def test_a_run_of_an_earlier_version_is_scored_by_the_short_line(trained, desk, capsys):
    """Its configuration has other parts; the settings are the same."""
    old = shutil.copytree(trained, desk / "old", ignore=shutil.ignore_patterns("cases_*", "reliability_*"))
    config = yaml.safe_load((old / "config.yaml").read_text())
    for name in ("cases", "load", "resample", "ramp_share", "warmup_share"):
        del config[name]
    config["imports"] = ["$import torch", "$import medssl.engines as engines"]
    config["preprocessing"][0] = {"_target_": "medssl.data.LoadCased", "keys": ["image", "label"]}
    config["checked"] = ["$engines.epochs(@max_steps, @steps_per_epoch)"]
    (old / "config.yaml").write_text(yaml.safe_dump(config))
    assert f"medssl evaluate {old}" in refusal([str(old / "config.yaml"), "evaluate.yaml"], run_dir=str(old))
    assert medssl("evaluate", "old") == 0
    copied = shutil.copytree(trained, desk / "copied", ignore=shutil.ignore_patterns("cases_*", "reliab*"))
    run([str(copied / "config.yaml"), "evaluate.yaml"], run_dir=str(copied))
    assert (old / "cases_last.csv").read_bytes() == (copied / "cases_last.csv").read_bytes()
    assert medssl("evaluate", "old", "--overwrite", "--width", "4") == 2
    assert "width is 2 there and 4 here" in capsys.readouterr().err


NETWORK = """
from torch import nn

class Small(nn.Conv3d):
    def __init__(self, classes):
        super().__init__(1, classes, 3, padding=1)
"""


def test_a_network_of_the_users_is_found_where_he_stands(phantoms, desk, monkeypatch, capsys):
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place not in ("", str(desk))])
    monkeypatch.delitem(sys.modules, "networks_of_mine", raising=False)
    network = "{_target_: networks_of_mine.Small, classes: 2}"
    overlay = f"network_def: {{_target_: medssl.networks.Adapted, patch_multiple: 1, network: {network}}}"
    (desk / "mine.yaml").write_text(overlay)
    words = ["train", "phantom", "supervised", "--network", "mine.yaml", "--dataset_dir", phantoms, *OPTIONS]
    words += ["--run_dir", "r", "--max_steps", "2"]
    assert medssl(*words) == 2
    line = "error: networks_of_mine.Small: a _target_ that cannot be imported; correct the name"
    assert capsys.readouterr().err.splitlines()[-1].startswith(line)
    assert not (desk / "r").exists()
    (desk / "networks_of_mine.py").write_text(NETWORK)
    importlib.invalidate_caches()
    assert medssl(*words) == 0
    assert medssl("evaluate", "r", "--allow", "networks_of_mine") == 0
    assert (
        medssl("predict", "r", phantoms / "images/phantom_000.nii.gz", "out", "--allow", "networks_of_mine")
        == 0
    )
