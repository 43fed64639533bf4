import io
import logging

import pytest

from medssl.common import progress
from medssl.common.progress import Progress, duration, track


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when a test says so."""
    seconds = [0.0]
    monkeypatch.setattr(progress, "monotonic", lambda: seconds[0])
    return seconds


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, logger="medssl")
    return lambda: [record.getMessage() for record in caplog.records]


def test_without_a_terminal_a_line_comes_once_a_minute_with_the_time_left(clock, lines):
    with Progress(10, title="check", unit="case") as bar:
        for _ in range(10):
            clock[0] += 25
            bar.advance()
    assert lines() == [
        "check: 3 of 10 cases, 2 min 55 s left",
        "check: 6 of 10 cases, 1 min 40 s left",
        "check: 9 of 10 cases, 25 s left",
        "check: all 10 cases after 4 min 10 s",
    ]


def test_a_short_job_says_nothing(clock, lines, capsys):
    assert list(track("abc", 3, title="check", unit="case")) == ["a", "b", "c"]
    assert lines() == []
    assert capsys.readouterr() == ("", "")


def test_a_line_on_request_shows_values_and_counts_for_the_minute(clock, lines):
    bar = Progress(100, title="Tiny", unit="step", done=40)
    for _ in range(10):
        clock[0] += 5
        bar.advance(loss=f"{bar.done / 100:.2f}")
    bar.tell(dice="0.5000")
    clock[0] += 50
    bar.advance()
    assert lines() == ["Tiny: 50 of 100 steps, loss 0.49, dice 0.5000, 4 min 10 s left"]


def test_nobody_knows_the_time_left_before_the_first_unit(clock, lines):
    bar = Progress(5, title="check", unit="case", done=2)
    clock[0] += 100
    assert bar.seconds_left() is None
    bar.tell()
    assert lines() == ["check: 2 of 5 cases"]


def test_on_a_terminal_there_is_a_bar_and_no_line(clock, lines, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    tqdm = progress.tqdm
    monkeypatch.setattr(progress, "tqdm", lambda **options: tqdm(file=terminal, **options))
    with Progress(2, title="check", unit="case") as bar:
        for _ in range(2):
            clock[0] += 100
            bar.advance(failed="1")
        bar.tell()
    assert lines() == []
    assert "check" in terminal.getvalue()
    assert "failed=1" in terminal.getvalue()


def test_a_job_that_breaks_off_does_not_say_that_it_is_done(clock, lines):
    def broken():
        yield 1
        clock[0] += 100
        yield 2
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(track(broken(), 3, title="check", unit="case"))
    assert len(lines()) == 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(12.4, "12 s"), (59.7, "1 min 00 s"), (200, "3 min 20 s"), (7500, "2 h 05 min"), (200_000, "2.3 days")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text
