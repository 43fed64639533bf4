"""What follows a training reads its settings from the run, and misspelt options are refused."""

import csv
import json
import shutil
import subprocess
import sys

import pytest
import torch
import yaml

from medssl.cli import main
from medssl.common.errors import InputError
from medssl.common.lock import hold
from medssl.data import build_datalist
from medssl.inference.deployment import load_deployment

from .conftest import BUNDLE, CONFIGS, ROOT, TINY, refusal, run, workflow

TRAIN = ["train.yaml", "datasets/phantom.yaml", "methods/tcseg.yaml"]


@pytest.fixture
def moved(trained, tmp_path):
    """A copy of the finished run at another place, without scores."""
    folder = tmp_path / "moved"
    shutil.copytree(
        trained, folder, ignore=shutil.ignore_patterns("cases_*", "reliability_*", "robustness_*")
    )
    return folder


def scores(folder, name="last"):
    with (folder / f"cases_{name}.csv").open(newline="") as table:
        return list(csv.DictReader(table))


def test_a_moved_run_is_scored_with_its_own_configuration_alone(moved, phantoms, trained):
    files = [str(moved / "config.yaml"), "evaluate.yaml"]
    run(files, run_dir=str(moved))
    assert [row["case"] for row in scores(moved)] == ["phantom_005", "phantom_006"]
    assert not (trained / "cases_best.csv").exists() or scores(trained, "best") == scores(moved, "best")
    record = json.loads((moved / "run.json").read_text())
    for name in ("best", "last"):
        scored = json.loads((moved / f"reliability_{name}.json").read_text())
        assert scored["split_sha256"] == record["split_sha256"]
    # The former form gives the same where all settings agree.
    ours = scores(moved)
    settings = {**TINY, "dataset_dir": str(phantoms), "run_dir": str(moved), "overwrite": True}
    run([*TRAIN, "evaluate.yaml"], **settings)
    assert scores(moved) == ours


@pytest.mark.parametrize(
    ("files", "change", "fault"),
    [
        (TRAIN, {"seed": 2}, "seed is 1 there and 2 here"),
        (["train.yaml", "datasets/custom.yaml"], {}, "dataset_name is 'phantom' there and 'custom' here"),
        (TRAIN, {"test": 1}, "test is 2 there and 1 here"),
        (TRAIN, {"patch_size": [48, 48, 32]}, "patch_size is [32, 32, 16] there and [48, 48, 32] here"),
        (TRAIN, {"spacing": [2.0, 2.0, 2.0]}, "spacing is None there and [2.0, 2.0, 2.0] here"),
        (TRAIN, {"num_classes": 3}, "num_classes is 2 there and 3 here"),
        (TRAIN, {"width": 4}, "width is 2 there and 4 here"),
        (
            TRAIN,
            {"preprocessing::1::_target_": "ScaleIntensityd"},
            "preprocessing::1::_target_ is 'NormalizeIntensityd' there and 'ScaleIntensityd' here",
        ),
    ],
    ids=["seed", "overlay", "split", "patch", "spacing", "classes", "width", "preprocessing"],
)
@pytest.mark.parametrize("what", ["evaluate.yaml", "robustness.yaml"])
def test_settings_other_than_the_runs_are_refused(moved, phantoms, what, files, change, fault):
    settings = {**TINY, "dataset_dir": str(phantoms), "run_dir": str(moved), **change}
    before = sorted(moved.rglob("*"))
    assert fault in refusal([*files, what], **settings)
    if files is TRAIN:
        assert fault in refusal([str(moved / "config.yaml"), what], run_dir=str(moved), **change)
    assert sorted(moved.rglob("*")) == before


def test_a_scoring_may_choose_how_it_measures(moved):
    chosen = {"evaluate_on": "validation", "unit": "voxel", "nsd_tolerance": 2.0, "stride": [32, 32, 16]}
    files = [str(moved / "config.yaml"), "evaluate.yaml"]
    run(files, run_dir=str(moved), reliability_margin=5.0, channels_last=False, device="cpu", **chosen)
    policy = json.loads((moved / "reliability_last_validation.json").read_text())["policy"]
    assert (policy["unit"], policy["nsd_tolerance"], policy["region"]) == ("voxel", 2.0, "box + 5 mm")


def test_data_may_move_and_another_split_of_them_is_refused(moved, phantoms, tmp_path):
    files = [str(moved / "config.yaml"), "evaluate.yaml"]
    data = tmp_path / "data"
    shutil.copytree(phantoms, data)
    run(files, run_dir=str(moved), dataset_dir=str(data))
    for kind in ("images", "labels"):
        (data / kind / "phantom_006.nii.gz").unlink()
    message = refusal(files, run_dir=str(moved), dataset_dir=str(data), overwrite=True)
    assert "was trained with another split" in message


def test_a_run_goes_on_from_its_own_configuration(moved, phantoms):
    before = (moved / "last.pt").read_bytes()
    run([str(moved / "config.yaml")], run_dir=str(moved), resume=True)
    assert json.loads((moved / "run.json").read_text())["status"] == "finished"
    assert (moved / "last.pt").read_bytes() == before
    settings = {**TINY, "dataset_dir": str(phantoms), "run_dir": str(moved), "resume": True}
    message = refusal(TRAIN, **{**settings, "train::dataloader::num_workers": 1})
    assert "config::train::dataloader::num_workers is '@num_workers' there and 1 here" in message
    assert "config::learning_rate is 0.05 there and 0.1 here" in refusal(TRAIN, **settings, learning_rate=0.1)


def test_a_run_of_an_earlier_version_is_scored_with_the_files_of_its_training(moved, phantoms, capsys):
    """Its config.yaml held evaluated values."""
    values = {"dataset_name": "phantom", "overlay": "phantom", "seed": 1, "label_map": None, "width": 2}
    values |= {"preprocessing": ["LoadCased", "NormalizeIntensityd"], "method_options": {"seed": 1}}
    (moved / "config.yaml").write_text(yaml.safe_dump(values))
    message = refusal([str(moved / "config.yaml"), "evaluate.yaml"], run_dir=str(moved))
    assert "was written by an earlier version, and is no config file of this one" in message
    assert message.endswith(f"score the run with: medssl evaluate {moved}")
    assert main(["evaluate", str(moved)]) == 2
    assert "name the files that the run was trained with" in capsys.readouterr().err
    settings = {**TINY, "dataset_dir": str(phantoms), "run_dir": str(moved)}
    assert "seed is 1 there and 2 here" in refusal([*TRAIN, "evaluate.yaml"], **settings, seed=2)
    run([*TRAIN, "evaluate.yaml"], **settings)
    assert len(scores(moved)) == 2


def test_a_run_in_training_is_not_scored(moved, phantoms):
    code = (
        "import sys; from pathlib import Path; from medssl.common.lock import take; take(Path(sys.argv[1])); "
    )
    code += "print('on', flush=True); sys.stdin.read()"
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(moved)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdout.readline() == b"on\n"
    files = [str(moved / "config.yaml"), "evaluate.yaml"]
    assert "a training runs in this folder" in refusal(files, run_dir=str(moved))
    other.communicate()
    with hold(moved, shared=True):  # another scoring
        run(files, run_dir=str(moved))


@pytest.mark.parametrize(
    ("option", "near"),
    [
        ("learningrate", "learning_rate"),
        ("train::trainer::max_epoch", "train::trainer::max_epochs"),
        ("train::handler", "train::handlers"),
        ("validate::evaluator::device_", "validate::evaluator::device"),
        ("sed", "seed"),
    ],
)
def test_a_misspelt_option_of_a_training_is_refused_with_the_nearest(phantoms, tmp_path, option, near):
    settings = {**TINY, "dataset_dir": str(phantoms), "run_dir": str(tmp_path / "run"), option: 3}
    assert refusal(TRAIN, **settings) == f"option {option!r}: no such name; did you mean {near!r}?"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"method_name": "tcsegg"}, "method 'tcsegg': no such name; did you mean 'tcseg'?"),
        ({"dataset_name": "phantoms"}, "dataset 'phantoms': no such name; did you mean 'phantom'?"),
        ({"patch_size": [50, 48, 32]}, "patch size 50x48x32: DualDecoderVNet cannot take it;"),
    ],
)
def test_a_setting_that_no_training_can_use_is_refused_before_the_run(phantoms, tmp_path, change, fault):
    settings = {**TINY, "dataset_dir": str(phantoms), "run_dir": str(tmp_path / "run"), **change}
    assert refusal(["train.yaml", "datasets/phantom.yaml"], **settings).startswith(fault)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("what", ["evaluate.yaml", "robustness.yaml", "inference.yaml"])
def test_a_misspelt_option_is_refused_by_what_follows_too(moved, phantoms, what):
    if what == "inference.yaml":
        message = refusal([what, "datasets/phantom.yaml"], "infer", dataset_dir=str(phantoms), num_clases=2)
        assert "option 'num_clases': no such name; did you mean 'num_classes'?" in message
    else:
        message = refusal([str(moved / "config.yaml"), what], run_dir=str(moved), evaluate_one="test")
        assert "option 'evaluate_one': no such name; did you mean 'evaluate_on'?" in message


def test_an_overlay_may_bring_what_something_refers_to_and_extend_lists(phantoms, tmp_path):
    overlay = tmp_path / "mine.yaml"
    overlay.write_text(
        "tempo: 0.02\nlearning_rate: $@tempo * 2\n"
        "+augmentation: [{_target_: RandFlipd, keys: [image, label], allow_missing_keys: true}]\n"
        "method_options::tau: 0.03\n"
    )
    settings = {**TINY, "dataset_dir": str(phantoms), "run_dir": str(tmp_path / "run"), "max_steps": 2}
    run([*TRAIN, str(overlay)], **settings)
    config = yaml.safe_load((tmp_path / "run/config.yaml").read_text())
    assert config["learning_rate"] == "$@tempo * 2"
    assert config["augmentation"][-1]["_target_"] == "RandFlipd"
    overlay.write_text("patchsize: [32, 32, 16]\n")
    assert "'patchsize': no such name; did you mean 'patch_size'" in refusal(
        [*TRAIN, str(overlay)], **settings
    )


def test_predictions_take_the_preprocessing_of_the_run_wherever_its_overlay_was(phantoms, tmp_path):
    overlay = tmp_path / "mine.yaml"
    overlay.write_text(
        "lowest: -0.5\n"
        "+preprocessing: [{_target_: ScaleIntensityd, keys: image, minv: '@lowest', maxv: 0.5}]\n"
    )
    folder = tmp_path / "run"
    settings = {**TINY, "dataset_dir": str(phantoms), "run_dir": str(folder), "max_steps": 2}
    run([*TRAIN, str(overlay)], **settings)
    deployment = load_deployment([folder / "last.pt"])
    names = [type(transform).__name__ for transform in deployment.transform.transforms]
    assert names == ["LoadCased", "Orientd", "NormalizeIntensityd", "ScaleIntensityd"]
    image = deployment.transform({"image": str(phantoms / "images" / "phantom_000.nii.gz")})["image"]
    assert (float(image.min()), float(image.max())) == pytest.approx((-0.5, 0.5))
    assert deployment.description.amp == "off"  # of the run, and not bf16, of the overlay that it names
    shutil.copy(folder / "last.pt", tmp_path / "last.pt")  # away from its run
    assert load_deployment([tmp_path / "last.pt"]).description == deployment.description


def test_members_of_an_ensemble_with_other_preprocessing_are_refused(trained, moved):
    checkpoint = torch.load(moved / "last.pt", weights_only=True)
    del checkpoint["meta"]["preprocessing"][1:]
    torch.save(checkpoint, moved / "last.pt")
    with pytest.raises(InputError, match="was trained otherwise than"):
        load_deployment([trained / "last.pt", moved / "last.pt"])


@pytest.mark.parametrize("command", ["calibrate", "robustness"])
def test_cases_of_the_training_are_refused(trained, phantoms, tmp_path, command, capsys):
    datalist = build_datalist(phantoms, dataset="phantom", labeled=3, validation=1, test=2)
    (tmp_path / "d.json").write_text(json.dumps(datalist))
    arguments = [command, "--checkpoint", trained / "last.pt", "--list", "training"]
    arguments += ["--input", tmp_path / "d.json", "--device", "cpu"]
    arguments += ["--out", tmp_path / "out"] if command == "robustness" else []
    assert main([str(part) for part in arguments]) == 2
    stderr = capsys.readouterr().err
    assert "was trained on the labels of 2 of these cases (phantom_000, phantom_001)" in stderr


@pytest.mark.parametrize("dataset", sorted(path.stem for path in (CONFIGS / "datasets").glob("*.yaml")))
@pytest.mark.parametrize("method", sorted(path.stem for path in (CONFIGS / "methods").glob("*.yaml")))
def test_no_shipped_config_holds_what_nothing_reads(dataset, method):
    overlay = f"datasets/{dataset}.yaml"
    for files in (
        ["train.yaml", overlay, f"methods/{method}.yaml"],
        ["train.yaml", overlay, f"methods/{method}.yaml", "multi_gpu_train.yaml"],
        ["inference.yaml"],
    ):
        flow = workflow(files)
        flow.parser["initialize"] = ["$training.read_options()"]
        flow.initialize()


def test_a_target_that_cannot_be_imported_is_refused_before_a_folder_is_made(phantoms, tmp_path):
    settings = {**TINY, "dataset_dir": str(phantoms), "run_dir": str(tmp_path / "run")}
    message = refusal(TRAIN, **settings, **{"optimizer::_target_": "torch.optim.SDG"})
    assert message.startswith("torch.optim.SDG: a _target_ that cannot be imported")
    assert not (tmp_path / "run").exists()


def test_the_command_line_ends_with_one_line_and_status_2(moved):
    command = [sys.executable, "-m", "monai.bundle", "run", "--bundle_root", str(BUNDLE)]
    command += [
        "--config_file",
        f"['{moved}/config.yaml','{CONFIGS}/evaluate.yaml']",
        "--run_dir",
        str(moved),
    ]
    done = subprocess.run([*command, "--seed", "2"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert "seed is 1 there and 2 here" in last
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "ERROR" not in done.stderr
    assert "INFO last of step 4" in done.stderr
