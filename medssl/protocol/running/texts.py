"""A plan and its outcomes as text."""

from collections.abc import Mapping, Sequence

from medssl.common.progress import duration
from medssl.protocol.running.estimate import expected_seconds
from medssl.protocol.running.job import Outcome, State, last_step
from medssl.protocol.running.plan import PlannedRun


def plan_text(runs: Sequence[PlannedRun], states: Mapping[str, State], *, side_by_side: int) -> str:
    """A line for each run, with its state and how long it takes; then how long all of them take.

    Args:
        runs: of the plan.
        states: theirs, by name.
        side_by_side: how many are done at a time.
    """
    expected = expected_seconds(runs, states)
    width = max(len(run.name) for run in runs)
    lines = []
    for run in runs:
        state = str(states[run.name])
        if state == "cut":
            state += f" at step {last_step(run.folder)}"
        seconds = expected[run.name]
        lines.append(f"{run.name:<{width}}  {state:<18} {'' if seconds is None else duration(seconds):>12}")
    left = [expected[run.name] for run in runs if states[run.name] != "finished"]
    finished = len(runs) - len(left)
    summary = f"{len(runs)} runs, {finished} finished, {len(left)} left, {side_by_side} side by side"
    if None in left:
        summary += "; no estimate before the first run of each data set has finished"
    elif left:
        seconds = sum(filter(None, left)) / min(side_by_side, len(left))
        summary += f"; about {duration(seconds)}, without what cut runs have done"
    return "\n".join([*lines, summary])


def outcome_text(outcome: Outcome) -> str:
    """One line of a run that has ended."""
    line = f"{outcome.name}  {outcome.state} after {duration(outcome.seconds)}"
    return line + (f": {outcome.message}" if outcome.message else "")


def outcomes_text(runs: Sequence[PlannedRun], outcomes: Sequence[Outcome]) -> str:
    """How many runs are finished, and which have failed."""
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    lines = [f"{len(runs) - len(failed)} of {len(runs)} runs finished in {runs[0].folder.parent}"]
    return "\n".join([*lines, *(f"failed: {outcome.name}: {outcome.message}" for outcome in failed)])
