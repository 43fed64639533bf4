import json
import subprocess
import sys

import pytest

import medssl
from medssl.cli import main


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "medssl", *arguments], capture_output=True, encoding="utf-8", check=False
    )


def test_version_and_help(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"medssl {medssl.__version__}\n"
    assert main([]) == 0
    assert "phantom" in capsys.readouterr().out
    for name in ("info", "phantom"):
        assert main([name, "--help"]) == 0


def test_help_loads_no_large_library():
    code = "import sys; from medssl.cli import main; main(['--help']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.endswith("False\n")


def test_info_tells_what_a_bug_report_needs(capsys):
    assert main(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    for name in ("medssl", "python", "platform", "torch", "monai", "cores", "extra dicom"):
        assert facts[name]
    assert main(["info"]) == 0
    assert facts["torch"] in capsys.readouterr().out


def test_unknown_command_suggests_the_nearest():
    done = command("phantmo")
    assert done.returncode == 2
    assert done.stderr == "error: command 'phantmo': no such name; did you mean 'phantom'?\n"


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["--cases", "0"], "cases=0"),
        (["--jobs", "0"], "jobs=0"),
        (["--size", "8", "8", "8"], "needs at least 40 mm"),
        (["--cases", "many"], "invalid int value"),
    ],
)
def test_bad_arguments_give_one_line_and_status_2(tmp_path, capsys, arguments, fault):
    assert main(["phantom", str(tmp_path / "out"), *arguments]) == 2
    message = capsys.readouterr().err
    assert fault in message
    assert message.startswith("error: ")
    assert message.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_phantom_command_writes_a_data_set(tmp_path, capsys):
    out = tmp_path / "set"
    size = ["--size", "40", "40", "32"]
    assert main(["phantom", str(out), "--cases", "2", *size]) == 0
    assert "2 phantoms" in capsys.readouterr().out
    assert sorted(p.name for p in (out / "images").iterdir()) == ["phantom_000.nii.gz", "phantom_001.nii.gz"]


def test_closed_pipe_is_no_error():
    done = subprocess.run(
        f"{sys.executable} -m medssl info --json | head -c 1; exit ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
