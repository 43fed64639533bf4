"""Planned runs on a Ray cluster: where a study outgrows one machine."""

import logging
import time
from collections.abc import Callable, Sequence

from medssl.common.errors import InputError, signals_raise
from medssl.common.lock import wait_until_free
from medssl.common.progress import Progress
from medssl.protocol.running.job import SECONDS_TO_END, Outcome, execute
from medssl.protocol.running.plan import PlannedRun

logger = logging.getLogger(__name__)


class RayPool:
    """Runs planned runs as Ray tasks.

    Every machine of the cluster must have this package and see the bundle, the data and the run folders under
    the same paths (a shared file system); the state is in the run folders, as it is locally. Ray gives each
    task its GPUs (``CUDA_VISIBLE_DEVICES``). Where a worker or a machine dies, Ray starts the task again on
    another one, which waits until nobody holds the folder and goes on from the last checkpoint.

    Args:
        address: of a running cluster, such as ``"auto"``; None starts one on this machine.
        cpus: cores of a run, and its threads.
        gpus: GPUs of a run; a fraction lets runs share one.
        attempts: how often a stage of a run is tried, and how often Ray tries the task.
        local_cpus: cores of the cluster that is started here.
    """

    def __init__(
        self,
        *,
        address: str | None = None,
        cpus: int = 1,
        gpus: float = 0.0,
        attempts: int = 2,
        local_cpus: int | None = None,
    ) -> None:
        try:
            import ray
        except ImportError as error:
            raise InputError("--ray", "Ray is not installed", "pip install 'medssl[cluster]'") from error
        self._ray = ray
        self._mine = not ray.is_initialized()
        if self._mine:
            local = {"num_cpus": local_cpus} if address is None else {}
            quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.WARNING}
            ray.init(address=address, **quiet, **local)
        if ray.cluster_resources().get("CPU", 0) < cpus or ray.cluster_resources().get("GPU", 0) < gpus:
            self.close()
            raise InputError(
                "--ray", f"no machine for {cpus} cores and {gpus:g} GPUs", "ask for less per run"
            )
        self.cpus, self.gpus, self.attempts = cpus, gpus, attempts

    def run(
        self, runs: Sequence[PlannedRun], *, report: Callable[[Outcome], object] = lambda _: None
    ) -> list[Outcome]:
        """Do all runs, as :meth:`medssl.protocol.running.local.LocalPool.run` does."""
        with signals_raise():  # Ray has set a handler of its own
            return self._run(runs, report)

    def _run(self, runs: Sequence[PlannedRun], report: Callable[[Outcome], object]) -> list[Outcome]:
        task = self._ray.remote(
            num_cpus=self.cpus, num_gpus=self.gpus, max_retries=self.attempts - 1, retry_exceptions=False
        )(execute)
        device = None if self.gpus else "cpu"
        waiting = {
            task.remote(run, threads=self.cpus, device=device, attempts=self.attempts, wait=True): run
            for run in runs
        }
        outcomes = []
        try:
            with Progress(len(waiting), title="runs", unit="run") as progress:
                while waiting:
                    finished, _ = self._ray.wait(list(waiting), num_returns=1, timeout=0)
                    if not finished:
                        time.sleep(0.1)  # and not within Ray, which makes Ctrl-C of every signal
                        continue
                    run = waiting.pop(finished[0])
                    try:
                        outcome = self._ray.get(finished[0])
                    except self._ray.exceptions.RayError as error:
                        outcome = Outcome(run.name, "failed", " ".join(str(error).split()))
                    outcomes.append(outcome)
                    report(outcome)
                    progress.advance()
        except KeyboardInterrupt:
            for unfinished in waiting:
                self._ray.cancel(unfinished)  # raises KeyboardInterrupt there, which ends the training
            # To Ray a cancelled task is done at once, and its shutdown kills what still writes a record.
            held = wait_until_free([run.folder for run in waiting.values()], seconds=SECONDS_TO_END)
            for folder in held:
                logger.warning("%s is still being worked in, and may be cut without a record", folder)
            raise
        return outcomes

    def close(self) -> None:
        """Leave the cluster; end it where it was started here."""
        if self._mine:
            self._ray.shutdown()
