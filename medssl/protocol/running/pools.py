"""Where planned runs are done: on this machine, or on Ray."""

from collections.abc import Callable, Sequence

from medssl.protocol.running.job import Outcome
from medssl.protocol.running.local import LocalPool
from medssl.protocol.running.plan import PlannedRun
from medssl.protocol.running.ray_pool import RayPool


def run_in_pool(
    runs: Sequence[PlannedRun],
    *,
    devices: Sequence[str],
    threads: int | None = None,
    attempts: int = 2,
    ray_address: str | None = None,
    gpus_per_run: float = 0.0,
    report: Callable[[Outcome], object] = lambda _: None,
) -> list[Outcome]:
    """Do all runs.

    Args:
        runs: in the order in which to start them.
        devices: ``"cpu"`` or ``"cuda:N"``, one entry for each run side by side; of a cluster that is started
            here, their number counts.
        threads: of a run; by default the cores divided by the devices, on Ray 1.
        attempts: how often a stage of a run is tried.
        ray_address: of a Ray cluster; ``"local"`` starts one; None for no Ray.
        gpus_per_run: on Ray; may be a fraction.
        report: called with each outcome, one at a time.

    Raises:
        KeyboardInterrupt: after the trainings have ended.
    """
    if ray_address is None:
        return LocalPool(devices, threads=threads, attempts=attempts).run(runs, report=report)
    cores = threads or 1
    pool = RayPool(
        address=None if ray_address == "local" else ray_address,
        cpus=cores,
        gpus=gpus_per_run,
        attempts=attempts,
        local_cpus=cores * len(devices),
    )
    try:
        return pool.run(runs, report=report)
    finally:
        pool.close()
