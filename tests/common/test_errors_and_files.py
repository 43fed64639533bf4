import os
import pickle
import signal
import subprocess
import sys
import textwrap

import pytest

from medssl.common.errors import InputError, find_input_error, unknown_name
from medssl.common.files import atomic_path, write_text


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, encoding="utf-8", check=False
    )


def test_error_is_one_line_of_three_parts_and_survives_pickling():
    error = InputError("a.nii.gz", "is truncated", "copy it again")
    assert str(error) == "a.nii.gz: is truncated; copy it again"
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.where, again.remedy) == (str(error), "a.nii.gz", "copy it again")
    assert isinstance(error, ValueError)


def test_unknown_name_suggests_the_nearest_or_lists_all():
    assert "did you mean 'tcseg'" in str(unknown_name("method", "tcsge", ["tcseg", "supervised"]))
    assert "choose one of a, b" in str(unknown_name("method", "zzzzzz", ["b", "a"]))


def test_error_is_found_behind_others_and_a_circle_ends():
    outer = RuntimeError("wrapped")
    outer.__cause__ = InputError("x", "y", "z")
    assert str(find_input_error(outer)) == "x: y; z"
    first, second = RuntimeError("1"), RuntimeError("2")
    first.__cause__, second.__cause__ = second, first
    assert find_input_error(first) is None


def test_exit_hook_ends_with_one_line_and_status_2():
    done = python(
        """
        from medssl.common.errors import InputError, install_exit_hook
        install_exit_hook()
        install_exit_hook()
        try:
            raise InputError("case.nii.gz", "is empty", "copy it again")
        except InputError as error:
            raise RuntimeError("a config parser wraps it") from error
        """
    )
    assert done.returncode == 2
    assert done.stderr == "error: case.nii.gz: is empty; copy it again\n"


def test_exit_hook_leaves_other_errors_their_traceback():
    done = python("from medssl.common.errors import install_exit_hook; install_exit_hook(); 1 / 0")
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert "Traceback" in done.stderr


def test_file_is_whole_or_untouched(tmp_path):
    path = tmp_path / "new" / "a.nii.gz"
    write_text(path, "first")

    def fail_half_way():
        with atomic_path(path) as temporary:
            assert temporary.name.endswith("a.nii.gz")
            temporary.write_text("half")
            raise KeyError("stop")

    with pytest.raises(KeyError):
        fail_half_way()
    assert path.read_text() == "first"
    assert list(path.parent.iterdir()) == [path]


def test_kill_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    done = python(
        f"""
        import os, signal
        from medssl.common.files import atomic_path
        with atomic_path({str(path)!r}) as temporary:
            temporary.write_text("new, but not whole")
            os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    assert os.path.exists(path)
