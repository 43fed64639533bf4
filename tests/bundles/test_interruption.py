"""Real signals to ``python -m monai.bundle run`` and to ``medssl protocol run``."""

import json
import shlex
import signal
import subprocess
import sys

import torch
import yaml

from medssl.common.lock import is_held
from tests.bundles.conftest import BUNDLE, CONFIGS, PROTOCOL_SETTINGS, TINY, words_of
from tests.bundles.hanging import hanging_overlay
from tests.places import ROOT
from tests.processes import ended, start_command, wait_for_file

SETTINGS = {**TINY, "device": "cpu"}
# One step after the first checkpoint.
HANGS_AT = TINY["steps_per_epoch"] + 1


def bundle_command(phantoms, run, *overlays):
    names = ("train.yaml", "datasets/phantom.yaml", "methods/supervised.yaml")
    files = str([*(str(CONFIGS / name) for name in names), *map(str, overlays)])
    settings = {**SETTINGS, "dataset_dir": phantoms, "run_dir": run}
    return [sys.executable, "-m", "monai.bundle", "run", "--config_file", files, *words_of(settings)]


def test_the_line_of_an_interrupted_bundle_run_goes_on_with_it(phantoms, tmp_path):
    run = tmp_path / "my run"
    overlay, hang = hanging_overlay(tmp_path, step=HANGS_AT)
    with start_command(bundle_command(phantoms, run, overlay)) as process:
        wait_for_file(process, run / "last.pt")
        process.send_signal(signal.SIGTERM)
        status, _, stderr = ended(process)
    hang.unlink()
    assert status == 143
    assert "Traceback" not in stderr
    line = stderr.splitlines()[-1]
    assert line.startswith("interrupted at step ")
    record = json.loads((run / "run.json").read_text())
    assert record["status"] == "interrupted"
    assert not is_held(run)
    step = torch.load(run / "last.pt", weights_only=True)["progress"]["step"]
    assert TINY["steps_per_epoch"] <= step <= int(record["message"].removeprefix("step ")) <= HANGS_AT

    program, *words = shlex.split(line.partition("go on with: ")[2])
    assert sys.executable.endswith(program)
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"resumed from {run / 'last.pt'} at step {step}" in done.stderr
    assert f"next: medssl evaluate '{run}'" in done.stderr
    assert f"Supervised: {TINY['max_steps']} of {TINY['max_steps']} steps, loss " in done.stderr
    assert json.loads((run / "run.json").read_text())["status"] == "finished"


def test_an_interrupted_protocol_records_its_runs_and_says_how_to_go_on(phantoms, tmp_path):
    overlay, _ = hanging_overlay(tmp_path, step=HANGS_AT)
    content = {
        "bundle": str(BUNDLE),
        "datasets": {"phantom": {"files": ["datasets/phantom.yaml"], "labeled": [2]}},
        "methods": {"supervised": {"files": ["methods/supervised.yaml", str(overlay)]}},
        "seeds": [1],
        "settings": PROTOCOL_SETTINGS,
    }
    protocol = tmp_path / "tiny.yaml"
    protocol.write_text(yaml.safe_dump(content), encoding="utf-8")
    arguments = ["protocol", "run", str(protocol), "--dataset-dir", str(phantoms), "--runs", str(tmp_path)]
    run = tmp_path / "phantom-supervised-labeled2-seed1"
    with start_command([sys.executable, "-m", "medssl", *arguments]) as process:
        wait_for_file(process, run / "last.pt")
        process.send_signal(signal.SIGINT)
        status, _, stderr = ended(process)
    assert status == 128 + signal.SIGINT
    assert "Traceback" not in stderr
    assert stderr.splitlines()[-1] == f"interrupted; go on with: {shlex.join(['medssl', *arguments])}"
    assert json.loads((run / "run.json").read_text())["status"] == "interrupted"
    assert not is_held(run)
    assert "interrupted at step " in (run / "output.log").read_text()
