import argparse
import json
import os
import signal
import subprocess
import sys

import pytest

import medssl
from medssl import cli
from medssl.cli import command_names, main
from medssl.common.next_steps import command_line
from tests.places import ROOT
from tests.processes import ended, start_command, wait_for_file


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "medssl", *arguments], capture_output=True, encoding="utf-8", check=False
    )


def test_version_and_help(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"medssl {medssl.__version__}\n"
    assert main([]) == 0
    assert "phantom" in capsys.readouterr().out
    for name in command_names():
        assert main([name, "--help"]) == 0
        assert f"usage: medssl {name}" in capsys.readouterr().out


def test_a_command_is_a_module_and_help_lists_them_all(capsys):
    modules = {path.stem for path in (ROOT / "medssl/commands").iterdir() if not path.stem.startswith("_")}
    assert set(command_names()) == modules
    main(["--help"])
    listed = capsys.readouterr().out
    assert all(f"\n    {name}" in listed for name in modules)
    assert listed.index("    check") < listed.index("    predict") < listed.index("    calibrate")


def test_one_command_imports_no_other():
    code = "import sys; from medssl.cli import main; main(['info', '--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    modules = [name for name in done.stdout.split() if name.startswith("medssl.commands.")]
    assert modules == ["medssl.commands.info"]


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


@pytest.mark.slow
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


PHANTOMS = ["--size", "40", "40", "32"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status", "jobs"), [(signal.SIGINT, 130, "2"), (signal.SIGTERM, 143, "1")], ids=["int", "term"]
)
def test_an_interrupted_command_says_how_to_go_on_and_keeps_what_is_made(tmp_path, number, status, jobs):
    arguments = ["phantom", str(tmp_path / "my set"), "--cases", "400", "--jobs", jobs, *PHANTOMS]
    line = [sys.executable, "-m", "medssl", *arguments]
    with start_command(line, start_new_session=True) as process:
        wait_for_file(process, tmp_path / "my set/labels/phantom_000.nii.gz")
        # A terminal sends Ctrl-C to the workers, too.
        os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
        code, _, stderr = ended(process)
    assert code == status
    assert stderr == f"interrupted; go on with: {command_line('medssl', *arguments)}\n"
    written_at = {
        path: path.stat().st_mtime_ns for path in (tmp_path / "my set").glob("*/phantom_00[0-9].nii.gz")
    }
    assert written_at
    assert main(["phantom", str(tmp_path / "my set"), "--cases", "10", *PHANTOMS]) == 0
    assert all(path.stat().st_mtime_ns == at for path, at in written_at.items())


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["predict", "--overwrite"], "interrupted; go on with: medssl predict --resume"),
        (["predict", "--resume"], "interrupted; go on with: medssl predict --resume"),
        (["robust", "a b"], "interrupted; go on with: medssl robust 'a b'"),
        (["check"], "interrupted"),
    ],
)
def test_how_to_go_on_depends_on_the_command(monkeypatch, capsys, options, line):
    def add(commands):
        for name in ("predict", "robust", "check"):
            parser = commands.add_parser(name)
            parser.set_defaults(run=interrupt, **({"goes_on": True} if name == "robust" else {}))
            if name == "predict":
                parser.add_argument("--resume", action="store_true")
                parser.add_argument("--overwrite", action="store_true")
            parser.add_argument("rest", nargs="*")

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "command_names", lambda: ["predict", "robust", "check"])
    monkeypatch.setattr(cli, "build_parser", lambda _: parser_with(add))
    assert main(options) == 130
    assert capsys.readouterr().err == line + "\n"


def parser_with(add):
    parser = argparse.ArgumentParser()
    add(parser.add_subparsers(dest="command"))
    return parser
