import signal
import sys
import threading

import pytest

from medssl.common import errors
from medssl.common.errors import InputError, Interruption, end_early, signals_raise
from tests.processes import ended, start

WAIT = """
from medssl.common.errors import install_exit_hook
from tests.processes import hang
install_exit_hook()
print("on", flush=True)
hang()
"""
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}


@pytest.mark.parametrize(("number", "status"), STATUS.items(), ids=lambda value: str(int(value)))
def test_a_signal_ends_a_program_of_others_with_one_line(number, status):
    with start(WAIT) as process:
        assert process.stdout.readline() == "on\n"
        process.send_signal(number)
        assert ended(process) == (status, "", "interrupted\n")


def test_one_process_of_torchrun_tells_of_an_interruption():
    stderr_of_rank = {}
    for rank in ("0", "1"):
        with start(WAIT, env={"RANK": rank}) as process:
            assert process.stdout.readline() == "on\n"
            process.send_signal(signal.SIGTERM)
            status, _, stderr_of_rank[rank] = ended(process)
            assert status == 143
    assert stderr_of_rank == {"0": "interrupted\n", "1": ""}


def test_a_second_signal_does_not_cut_short_what_the_first_one_set_off():
    code = """
import os, signal
from medssl.common.errors import Interruption, signals_raise
with signals_raise():
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except Interruption as error:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        print("recorded", error.signal_number)
"""
    with start(code) as process:
        assert ended(process) == (0, "recorded 2\n", "")


def test_a_later_signal_counts_again(monkeypatch):
    monkeypatch.setattr(errors, "ONE_INTERRUPTION", 0.0)
    with signals_raise():
        for _ in range(2):
            with pytest.raises(Interruption):
                signal.raise_signal(signal.SIGTERM)


def test_what_a_background_job_ignores_stays_ignored():
    code = """
import os, signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
from medssl.common.errors import signals_raise
with signals_raise():
    os.kill(os.getpid(), signal.SIGINT)
print("alive")
"""
    with start(code) as process:
        assert ended(process)[1] == "alive\n"


def test_handlers_are_put_back_and_threads_set_none():
    before = [signal.getsignal(number) for number in errors.SIGNALS]
    seen = []

    def look():
        with signals_raise():
            seen.extend(signal.getsignal(number) for number in errors.SIGNALS)

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    with signals_raise():
        assert [signal.getsignal(number) for number in errors.SIGNALS] != before
    assert [signal.getsignal(number) for number in errors.SIGNALS] == before == seen


def test_who_asked_is_told_once_and_before_the_line(capsys):
    told = []
    errors.before_early_end(lambda error: told.append((error, capsys.readouterr().err)))
    error = InputError("case", "is empty", "copy it again")
    assert end_early(error) == 2
    assert end_early(error) == 2
    assert told == [(error, "")]
    assert capsys.readouterr().err == 2 * "error: case: is empty; copy it again\n"


def test_a_fault_of_the_program_is_told_and_left_to_its_traceback(capsys):
    told = []
    errors.before_early_end(told.append)
    error = ZeroDivisionError()
    assert end_early(error) is None
    assert told == [error]
    assert capsys.readouterr().err == ""


def test_an_interruption_behind_another_error_is_one(capsys):
    wrapped = RuntimeError("worker is gone")
    wrapped.__context__ = Interruption("interrupted at step 3", signal_number=signal.SIGTERM)
    assert end_early(wrapped) == 143
    assert capsys.readouterr().err == "interrupted at step 3\n"
    assert end_early(KeyboardInterrupt()) == 130


def test_on_a_terminal_the_line_stands_below_the_bar(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    end_early(Interruption())
    assert capsys.readouterr().err == "\ninterrupted\n"
