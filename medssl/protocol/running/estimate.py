"""How long a plan will take, from the runs that there are."""

import json
import statistics
from collections.abc import Mapping, Sequence

from medssl.protocol.running.job import State
from medssl.protocol.running.plan import PlannedRun


def run_seconds(run: PlannedRun) -> float | None:
    """Seconds that a finished run took: its training and the scoring of its checkpoints, pauses left out."""
    log = run.folder / "log.jsonl"
    if not log.is_file():
        return None
    lines = log.read_text(encoding="utf-8").splitlines()
    seconds = float(json.loads(lines[-1])["seconds"]) if lines else 0.0
    for path in run.folder.glob("reliability_*.json"):
        scored = json.loads(path.read_text(encoding="utf-8"))
        seconds += scored["cases"] * (scored.get("seconds_per_case") or 0.0)
    return seconds


def expected_seconds(runs: Sequence[PlannedRun], states: Mapping[str, State]) -> dict[str, float | None]:
    """Seconds that each run takes as a whole, by its name.

    The median of finished runs of the same data set, setting and labelled count; else of those of the same
    data set; else what the protocol file expects; None where nobody knows.
    """
    finished = [
        (run, seconds) for run in runs if states[run.name] == "finished" and (seconds := run_seconds(run))
    ]

    def expected(run: PlannedRun) -> float | None:
        same_data = [(other, seconds) for other, seconds in finished if other.dataset == run.dataset]
        alike = [
            seconds
            for other, seconds in same_data
            if (other.setting, other.labeled) == (run.setting, run.labeled)
        ]
        if same_data:
            return statistics.median(alike or [seconds for _, seconds in same_data])
        return None if run.minutes is None else 60 * run.minutes

    return {run.name: expected(run) for run in runs}
