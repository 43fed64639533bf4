"""``medssl protocol run`` on tiny phantoms, trainings and all."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
import yaml

from medssl.cli import main
from medssl.common.run_folder import RUN_FILES, SCORES
from medssl.inference.checkpoints import load_checkpoint
from tests.bundles.conftest import BUNDLE, PROTOCOL_SETTINGS, stages_run_here, words_of
from tests.places import ROOT
from tests.processes import start_command, wait_for_file

TABLES = [name for name in SCORES if name.startswith("cases")]
SUPERVISED = "phantom-supervised-labeled2-seed1"


@pytest.fixture(scope="module")
def protocol(tmp_path_factory):
    """Two settings and one seed."""
    path = tmp_path_factory.mktemp("protocol") / "tiny.yaml"
    content = {
        "bundle": str(BUNDLE),
        "datasets": {"phantom": {"files": ["datasets/phantom.yaml"], "labeled": [2]}},
        "methods": {
            "supervised": {"files": ["methods/supervised.yaml"]},
            "TCSeg w/o U(v)": {
                "files": ["methods/tcseg.yaml"],
                "settings": {"method_options::use_uncertainty": False},
            },
        },
        "seeds": [1],
        "settings": PROTOCOL_SETTINGS,
    }
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def line(protocol, phantoms, runs, *more):
    where = ["--dataset-dir", str(phantoms), "--runs", str(runs), "--threads", "1"]
    return ["protocol", "run", str(protocol), *where, *more]


@pytest.fixture(scope="module")
def finished(protocol, phantoms, tmp_path_factory):
    """The folder of its runs; other tests see that processes of their own make the same."""
    runs = tmp_path_factory.mktemp("runs")
    with stages_run_here():
        assert main(line(protocol, phantoms, runs)) == 0
    return runs


def tables(run, names=TABLES):
    return [(run / name).read_bytes() for name in names]


def copy_unscored(run, runs):
    """A finished run of which only the scores on the test cases are left to be made."""
    copied = shutil.copytree(run, runs / run.name, ignore=shutil.ignore_patterns("cases_last.csv"))
    settings = copied / "settings.yaml"
    settings.write_text(settings.read_text().replace(str(run), str(copied)))


def test_every_run_leaves_a_complete_folder(finished):
    supervised, ours = (finished / f"phantom-{n}-labeled2-seed1" for n in ("supervised", "tcseg-w-o-u-v"))
    for run, setting, method in ((supervised, "supervised", "supervised"), (ours, "TCSeg w/o U(v)", "tcseg")):
        record = json.loads((run / "run.json").read_text())
        assert (record["status"], record["setting"], record["method"]) == ("finished", setting, method)
        assert len(record["test_fingerprint"]) == len(record["dataset_fingerprint"]) == 64
        assert record["cost"]["threads"] == 1
        assert record["cost"]["parameters"] >= record["cost"]["deployed_parameters"] > 0
        # A supervised training has no pseudo-labels, neither method an annotator, and scans have no sums.
        expected = {name for name in RUN_FILES if name != "pseudo_labels.csv" or method == "tcseg"}
        expected -= {"calibrator.pt"}
        expected = {name for name in expected if not name.startswith("sums")}
        assert {name for name in RUN_FILES if (run / name).is_file()} == expected
        for name, subset in (
            ("reliability_last.json", "test"),
            ("reliability_last_validation.json", "validation"),
        ):
            scored = json.loads((run / name).read_text())
            assert scored["policy"]["evaluate_on"] == subset
            assert scored["seconds_per_case"] > 0
            assert scored["step"] == 4
    assert yaml.safe_load((ours / "config.yaml").read_text())["method_options"]["use_uncertainty"] is False
    records = [json.loads((run / "run.json").read_text()) for run in (supervised, ours)]
    assert records[0]["test_fingerprint"] == records[1]["test_fingerprint"]
    # One read no unlabelled scan.
    assert records[0]["dataset_fingerprint"] != records[1]["dataset_fingerprint"]


def test_finished_runs_are_skipped_and_the_plan_says_so(protocol, phantoms, finished, capsys):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    assert main(line(protocol, phantoms, finished)) == 0
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before
    output = capsys.readouterr().out
    assert "2 runs, 2 finished, 0 left" in output
    assert "2 of 2 runs finished" in output


def test_the_plan_of_an_empty_folder_has_no_side_effect(protocol, phantoms, tmp_path, capsys):
    assert main(line(protocol, phantoms, tmp_path / "runs", "--dry-run", "--only", "*supervised*")) == 0
    output = capsys.readouterr().out
    assert "1 runs, 0 finished, 1 left" in output
    assert "no estimate before" in output
    assert not (tmp_path / "runs").exists()


def test_a_killed_run_resumed_on_ray_gives_the_same_numbers(protocol, phantoms, finished, tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed (extra: cluster)")
    name = "phantom-tcseg-w-o-u-v-labeled2-seed1"
    command = line(protocol, phantoms, tmp_path, "--only", name)
    process = start_command([sys.executable, "-m", "medssl", *command])
    wait_for_file(process, tmp_path / name / "last.pt")
    process.kill()  # its training lives on, and holds the folder
    process.communicate()
    copy_unscored(finished / SUPERVISED, tmp_path)
    assert main(line(protocol, phantoms, tmp_path, "--ray", "--jobs", "2")) == 0
    for run in (name, SUPERVISED):
        assert tables(tmp_path / run) == tables(finished / run)
    weights = [load_checkpoint(runs / name / "last.pt")["method"] for runs in (tmp_path, finished)]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--only", "nothing*"], "matches no run"),
        (["--set", "max_steps"], "no KEY=VALUE"),
        (["--set", "stride=[1"], "value is no YAML"),
        (["--jobs", "0"], "0 is too few"),
        (["--devices", "gpu"], "unknown device"),
        (["--devices", "cuda:99"], "GPUs"),
        (["--dataset-dir", "la=x"], "no such name"),
        (["--dataset-dir", "nowhere"], "no such folder"),
        (["--set", "max_steps=6"], "max_steps is 4 there and 6 here"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(protocol, phantoms, finished, more, message, capsys):
    before = sorted(finished.rglob("*"))
    assert main(line(protocol, phantoms, finished, *more)) == 2
    stderr = capsys.readouterr().err
    assert message in stderr
    assert stderr.count("\n") == 1
    assert sorted(finished.rglob("*")) == before


def test_a_failing_run_is_named_and_does_not_stop_the_others(protocol, phantoms, finished, tmp_path, capsys):
    content = yaml.safe_load(protocol.read_text())
    content["methods"] = {
        # What no look ahead can find: the loss is no number after the first step.
        "broken": {"files": ["methods/tcseg.yaml"], "settings": {"learning_rate": 1.0e30}},
        "supervised": content["methods"]["supervised"],
    }
    broken = tmp_path / "broken.yaml"
    broken.write_text(yaml.safe_dump(content), encoding="utf-8")
    copy_unscored(finished / SUPERVISED, tmp_path / "runs")
    assert main(line(broken, phantoms, tmp_path / "runs", "--attempts", "1")) == 1
    output = capsys.readouterr().out
    assert "1 of 2 runs finished" in output
    failed = "failed: phantom-broken-labeled2-seed1: training: NonFiniteLossError: non-finite loss at step 1"
    assert failed in output
    assert (tmp_path / "runs" / SUPERVISED / "cases_last.csv").is_file()


def test_the_plain_script_makes_the_same_runs(phantoms, finished, tmp_path):
    option_words = words_of(PROTOCOL_SETTINGS)
    arguments = ["phantom", str(phantoms), "2", "supervised", str(tmp_path), *option_words]
    variables = {"PYTHON": sys.executable, "SLURM_ARRAY_TASK_ID": "1", "OMP_NUM_THREADS": "1"}
    subprocess.run(
        ["bash", "scripts/multi_seed.sh", *arguments],
        cwd=ROOT, env={**os.environ, **variables}, check=True, capture_output=True,
    )  # fmt: skip
    assert tables(tmp_path / SUPERVISED, TABLES[:2]) == tables(finished / SUPERVISED, TABLES[:2])
    assert not (tmp_path / "phantom-supervised-labeled2-seed2").exists()
