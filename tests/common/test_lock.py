import subprocess
import sys

from medssl.common.lock import hold, is_held, wait_until_free

SLEEP = [sys.executable, "-c", "import sys; print('on', flush=True); sys.stdin.read()"]

HOLD = """
import sys
from pathlib import Path
from medssl.common.lock import hold

with hold(Path(sys.argv[1])) as lock:
    print(lock, flush=True)
    sys.stdin.read()
"""


def test_one_holder_at_a_time(tmp_path):
    with hold(tmp_path / "run") as first:
        assert first is not None
        with hold(tmp_path / "run") as second:
            assert second is None
        with hold(tmp_path / "other") as other:
            assert other is not None
    with hold(tmp_path / "run") as again:
        assert again is not None


def test_a_child_keeps_the_folder_locked_and_its_death_frees_it(tmp_path):
    with hold(tmp_path) as lock:
        child = subprocess.Popen(SLEEP, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=(lock,))
        child.stdout.readline()
    with hold(tmp_path) as meanwhile:
        assert meanwhile is None
    child.kill()
    child.wait()
    with hold(tmp_path) as afterwards:
        assert afterwards is not None


def test_a_killed_holder_leaves_no_lock(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert int(holder.stdout.readline()) > 0
    with hold(tmp_path) as lock:
        assert lock is None
    holder.kill()
    holder.wait()
    with hold(tmp_path) as lock:
        assert lock is not None


def test_asking_who_holds_a_folder_writes_nothing_and_hinders_nobody(tmp_path):
    assert not is_held(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with hold(tmp_path):
        assert is_held(tmp_path)
        assert is_held(tmp_path)
    with hold(tmp_path, shared=True) as scoring:
        assert scoring is not None
        assert not is_held(tmp_path)
    assert not is_held(tmp_path)
    with hold(tmp_path) as lock:
        assert lock is not None


def test_a_folder_is_waited_for_until_its_holder_has_ended(tmp_path):
    held, free = tmp_path / "held", tmp_path / "free"
    with hold(held) as lock:
        letting_go = "import sys, time; print('on', flush=True); time.sleep(0.5)"
        child = subprocess.Popen([sys.executable, "-c", letting_go], stdout=subprocess.PIPE, pass_fds=(lock,))
        child.stdout.readline()
    assert wait_until_free([held, free, tmp_path / "nowhere"], seconds=30) == []
    assert child.wait() == 0


def test_waiting_for_a_folder_has_an_end(tmp_path):
    with hold(tmp_path / "held"):
        assert wait_until_free([tmp_path / "held", tmp_path / "free"], seconds=0) == [tmp_path / "held"]
