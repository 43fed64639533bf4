import shlex
import subprocess
import sys

import pytest

from medssl.common.next_steps import after_run, command_line, resume_command
from medssl.common.run_folder import SCORES, RunFolder
from tests.places import ROOT

FILES = "['a b.yaml','c.yaml']"
BUNDLE = ["python", "-m", "monai.bundle", "run", "--config_file", FILES, "--seed", "1"]


@pytest.mark.parametrize("words", [["a b", "c"], ["it's", FILES], ['$HOME `x` "y"\\', "it's $1"], [""]])
def test_what_is_printed_is_read_by_the_shell_as_it_was_meant(words):
    line = command_line(*words)
    printed = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, encoding="utf-8", check=True
    ).stdout
    assert printed.split("\0")[:-1] == words


def test_names_of_files_are_easy_to_read():
    assert f'--config_file "{FILES}"' in command_line(*BUNDLE)


@pytest.mark.parametrize(
    "more",
    [[], ["--resume", "true"], ["--resume=true"], ["--overwrite", "true"], ["--overwrite=1"], ["--resume"]],
)
def test_the_command_that_resumes_replaces_what_contradicts_it(more):
    expected = [*BUNDLE, "--labeled", "8", "--resume", "true"]
    assert shlex.split(resume_command([*BUNDLE, *more, "--labeled", "8"])) == expected


def test_the_command_is_the_one_that_was_typed():
    typed = subprocess.run(
        [sys.executable, "-m", "tests.common.say_resume_command", "--run_dir", "a b"],
        cwd=ROOT, capture_output=True, encoding="utf-8", check=True,
    ).stdout  # fmt: skip
    program = sys.executable.rpartition("/")[2]
    assert typed == f"{program} -m tests.common.say_resume_command --run_dir 'a b' --resume true\n"


def test_under_torchrun_the_command_is_not_known(monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert resume_command() == "the same torchrun command with --resume true"


def test_scoring_follows_training_and_prediction_follows_scoring(tmp_path):
    run = RunFolder(tmp_path / "my run")
    run.path.mkdir()
    assert shlex.split(after_run(run)) == ["medssl", "evaluate", str(run.path)]
    (run.path / SCORES[0]).touch()
    assert shlex.split(after_run(run)) == ["medssl", "predict", str(run.path), "SCANS", "OUT"]
    (run.path / "sums_best.npz").touch()
    assert shlex.split(after_run(run)) == ["medssl", "predict", str(run.path), "IMAGES", "OUT"]
