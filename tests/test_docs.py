"""The commands and the code of README run as they stand, on tiny data."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from medssl.cli import main
from medssl.common.run_folder import RUN_FILES
from medssl.data.preparing.phantom_set import write_phantoms
from tests.places import ROOT

DOCS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "bundles" / "tcseg" / "docs" / "README.md"]
DOCS += [ROOT / "bundles" / "natural_image" / "docs" / "README.md"]
DOCS += sorted((ROOT / "docs").rglob("*.md"))
TINY = "--width 2 --patch_size [32,32,16] --stride [16,16,16] --device cpu"
TINY_TRAINING = f"{TINY} --max_steps 2 --steps_per_epoch 2 --cache_workers 0"
TINY_IMAGES = "--patch_size [32,32] --device cpu --max_steps 2 --steps_per_epoch 2 --cache_workers 0"
# One run of the protocol, small, on the phantoms that are there.
TINY_PROTOCOL = " --only phantom-supervised-labeled4-seed1" + "".join(
    f" --set {setting}"
    for setting in (
        *("width=2", "patch_size=[32,32,16]", "stride=[16,16,16]", "max_steps=2", "steps_per_epoch=2"),
        *("val_interval=1", "validation=2", "test=3"),
    )
)


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands_of(text: str) -> list[str]:
    commands = [c for b in blocks(text, "bash") for c in re.split(r"\n(?=\S)", b.replace("\\\n", " "))]
    return [c.strip() for c in commands if "monai.bundle run" in c or c.startswith("medssl ")]


def place(command: str, folder: Path) -> list[str]:
    """Put paths in a folder for capital names and d.json, and make trainings and protocols small."""
    if "protocol run" in command:
        command += TINY_PROTOCOL
    if command.startswith("medssl train"):
        command += f" {TINY_IMAGES if 'shapes' in command else TINY_TRAINING}"
    # Two validation cases promise little, and a training of two steps may predict nothing.
    command = command.replace("--risk 0.1", "--risk 0.5 --temperature 1")
    if command.startswith("medssl robustness RUN2D"):
        command += " --severities 3 --device cpu"
    for name in (
        "DATA",
        "RUN",
        "RUN2",
        "RUN2D",
        "SHAPES",
        "IMAGES",
        "REVIEW2D",
        "RUNS",
        "PHANTOMS",
        "SCANS",
        "OUT",
        "REVIEW",
        "LABELS",
        "CORRECTED",
        "REPORT",
        "ROBUSTNESS",
        "COMPARISON",
    ):
        command = re.sub(rf"(?<=[ '\[]){name}(?=[ /]|$)", str(folder / name), command)
    command = re.sub(r"(?<= )(\w+\.json)(?= |$)", str(folder / r"\1"), command)
    return shlex.split(command.replace("96 96 96", "32 32 16"))


@pytest.mark.slow
def test_commands_of_the_readme_and_the_guides_run_in_their_order(tmp_path, capsys):
    write_phantoms(tmp_path / "DATA", cases=12, seed=1, size=(40, 40, 32))
    for number in (4, 5):
        (tmp_path / "DATA" / "labels" / f"phantom_00{number}.nii.gz").unlink()
    shutil.copytree(tmp_path / "DATA" / "images", tmp_path / "SCANS")
    shutil.copytree(tmp_path / "DATA" / "labels", tmp_path / "LABELS")
    shutil.copytree(tmp_path / "DATA" / "labels", tmp_path / "CORRECTED")
    commands = commands_of((ROOT / "README.md").read_text())
    assert len(commands) == 17
    for command in commands:
        if command.startswith("medssl predict RUN2D"):
            shutil.copytree(tmp_path / "SHAPES" / "images", tmp_path / "IMAGES")
        arguments = place(command, tmp_path)
        if arguments[0] == "medssl":
            assert main(arguments[1:]) == 0, command
            continue
        tiny = (
            "--device cpu"
            if "inference.yaml" in command
            else TINY_TRAINING * ("evaluate.yaml" not in command)
        )
        arguments = [sys.executable, *arguments[1:], *shlex.split(tiny)]
        done = subprocess.run(arguments, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
        assert done.returncode == 0, done.stderr[-2000:]
    # Scored on the test cases alone; hidden labels, with which pseudo-labels could be judged, are not there.
    # Sums are of images, a calibrator of maps of annotators.
    absent = ("pseudo_labels.csv", "sums_best.npz", "sums_last.npz", "calibrator.pt")
    files = {name for name in RUN_FILES if "validation" not in name and name not in absent}
    assert files <= {path.name for path in (tmp_path / "RUN").iterdir()}
    assert len(list((tmp_path / "REVIEW").glob("*_seg.nii.gz"))) == 12
    assert (tmp_path / "REVIEW" / "triage.csv").is_file()
    assert len(list((tmp_path / "REVIEW2D").glob("*_seg.png"))) == 60
    assert (tmp_path / "COMPARISON" / "index.html").is_file()
    # The guides' commands need what the README's have made; public data sets are not here.
    guides = [
        c
        for name in ("data", "check", "review", "reliability", "robustness", "statistics", "protocol")
        for c in commands_of((ROOT / f"docs/{name}.md").read_text())
    ]
    ran = [c for c in guides if "--dataset " not in c and "la8.json" not in c]
    assert len(ran) >= 6
    trained_with = (tmp_path / "d.json").read_bytes()
    for command in ran:
        # Guides show other ways to make the list, which runs that are there were not trained with.
        (tmp_path / "d.json").write_bytes(trained_with)
        arguments = place(command, tmp_path)
        for word, name in (("predict", "REVIEW"), ("datalist --", "d.json"), ("report", "COMPARISON")):
            if word in command:
                target = tmp_path / name
                shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
        assert main(arguments[1:]) == 0, (command, capsys.readouterr())


def test_python_of_the_readme_runs(capsys):
    (code,) = blocks((ROOT / "README.md").read_text(), "python")
    exec(compile(code, "README.md", "exec"), {})
    assert "torch.Size([1, 32, 32, 32])" in capsys.readouterr().out


@pytest.mark.parametrize("path", DOCS, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_that_a_document_names_exist(path):
    text = path.read_text()
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (path.parent / target).exists(), target
    for name in re.findall(r"bundles/tcseg/configs/[\w/]+\.yaml|scripts/[\w/]+\.(?:py|sh)", text):
        assert (ROOT / name).exists() or name.endswith("/NAME.yaml"), name


@pytest.mark.slow
def test_bad_input_ends_the_bundle_with_one_line_and_status_2(tmp_path):
    write_phantoms(tmp_path / "data", cases=4, seed=1, size=(40, 40, 32))
    configs = "bundles/tcseg/configs"
    command = [
        *(sys.executable, "-m", "monai.bundle", "run", "--bundle_root", "bundles/tcseg"),
        *("--config_file", f"['{configs}/train.yaml','{configs}/datasets/phantom.yaml']"),
        *("--dataset_dir", str(tmp_path / "data"), "--run_dir", str(tmp_path / "run"), "--labeled", "1"),
        *("--validation", "1", "--test", "1", "--method_name", "tcsegg"),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last == "error: method 'tcsegg': no such name; did you mean 'tcseg'?"
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_every_test_that_the_corrections_name_exists():
    text = (ROOT / "docs" / "corrections.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+)`", text))
    assert len(named) > 20
    written = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name in sorted(named) if f"def {name}(" not in written] == []
    files = set(re.findall(r"`(tests/[\w./]+)`", text))
    assert [name for name in sorted(files) if not (ROOT / name).exists()] == []
