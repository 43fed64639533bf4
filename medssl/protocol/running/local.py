"""Planned runs on this machine: as many side by side as there are devices."""

import os
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from medssl.common.progress import Progress
from medssl.protocol.running.job import PATIENCE, Outcome, end_process, execute
from medssl.protocol.running.plan import PlannedRun

Report = Callable[[Outcome], object]


class LocalPool:
    """Runs planned runs, one on every device at a time, and keeps going past those that fail.

    A run that another process holds is put off until that one lets go; then it is found finished, or gone on
    with. An interruption (Ctrl-C, SIGTERM) ends the trainings too, so that they can be resumed.

    Args:
        devices: ``"cpu"`` or ``"cuda:N"``, one entry for each run side by side.
        threads: of every run; by default the cores divided by the devices.
        attempts: how often a stage of a run is tried.
    """

    def __init__(self, devices: Sequence[str], *, threads: int | None = None, attempts: int = 2) -> None:
        self.devices = tuple(devices)
        self.threads = threads or max(1, (os.cpu_count() or 1) // len(self.devices))
        self.attempts = attempts
        self._stop = threading.Event()
        self._guard = threading.Lock()
        self._processes: set[subprocess.Popen[bytes]] = set()

    def run(self, runs: Sequence[PlannedRun], *, report: Report = lambda _: None) -> list[Outcome]:
        """Do all runs.

        Args:
            runs: in the order in which to start them.
            report: called with each outcome, from one thread at a time.

        Returns:
            The outcomes, in the order in which they came.

        Raises:
            KeyboardInterrupt: after the trainings have ended.
            Exception: a fault of the program; the other runs are ended first.
        """
        waiting, outcomes, errors = deque(runs), list[Outcome](), list[BaseException]()
        progress = Progress(len(waiting), title="runs", unit="run")

        def work(device: str) -> None:
            put_off = 0
            while not self._stop.is_set():
                with self._guard:
                    if not waiting:
                        return
                    run = waiting.popleft()
                try:
                    outcome = execute(
                        run,
                        threads=self.threads,
                        device=device,
                        attempts=self.attempts,
                        started=self._started,
                        stopped=self._stop.is_set,
                    )
                except BaseException as error:
                    errors.append(error)
                    self._stop.set()
                    return
                if outcome.state == "busy":
                    put_off += 1
                    with self._guard:
                        waiting.append(run)
                        turn = len(waiting)
                    if put_off >= turn:  # nothing but busy runs is left
                        self._stop.wait(PATIENCE)
                        put_off = 0
                    continue
                put_off = 0
                with self._guard:
                    outcomes.append(outcome)
                    progress.advance()
                    report(outcome)

        threads = [threading.Thread(target=work, args=(device,)) for device in self.devices]
        try:
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads):
                time.sleep(0.1)  # and not join(), which Ctrl-C does not reach
        finally:
            self._stop_all()
            for thread in threads:
                thread.join()
            progress.close()
        if errors:
            raise errors[0]
        return outcomes

    def _started(self, process: subprocess.Popen[bytes]) -> None:
        with self._guard:
            self._processes = {p for p in self._processes if p.poll() is None} | {process}
            if self._stop.is_set():  # interrupted between its start and this line
                process.terminate()

    def _stop_all(self) -> None:
        """End what still runs."""
        self._stop.set()
        with self._guard:
            running = [process for process in self._processes if process.poll() is None]
        for process in running:
            process.terminate()
        for process in running:
            end_process(process)
