"""Many runs as one honest report: tables, statistics and figures."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from medssl.common.constants import PIXEL
from medssl.common.errors import InputError, unknown_name
from medssl.metrics.table import METRICS, SCORE_COLUMNS
from medssl.protocol.analysis.bootstrap import RESAMPLES
from medssl.protocol.analysis.cautions import find_cautions
from medssl.protocol.analysis.comparison import compare_settings
from medssl.protocol.analysis.pooled_runs import SUMS
from medssl.protocol.analysis.published import published_figures
from medssl.protocol.analysis.ranking import rank_stability
from medssl.protocol.analysis.store import Run, Subset, find_runs, long_table, require_comparable
from medssl.protocol.analysis.summary import summarize
from medssl.protocol.report.contents import CHECKPOINTS, COST, UNSTATED, Place, Report
from medssl.protocol.report.figures import FIGURES
from medssl.protocol.report.figures.base import FigureSource
from medssl.protocol.report.rows import TABLES, TABLES_OF_IMAGES, headline, published_rows
from medssl.reports.figure_style import looks

BASELINE = "supervised"


def make_report(
    folders: Sequence[str | Path],
    *,
    baseline: str | None = None,
    metric: str | None = None,
    subset: Subset = "test",
    remembered: bool = False,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Report:
    """Read runs, refuse what must not be compared, and work everything out.

    Args:
        folders: runs, or folders that hold runs.
        baseline: compare every setting with this one; None compares all pairs, and draws paired differences
            to ``supervised`` where it is there, else to the first setting.
        metric: in which settings are compared in figures and cautions; by default Dice, of images mIoU.
        subset: which cases' scores.
        remembered: show published figures that are quoted from memory as well.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        InputError: nothing to report, runs that must not stand in one table, an unknown metric or baseline.
    """
    if metric is not None and metric not in {known.name for known in METRICS}:
        raise unknown_name("metric", metric, SCORE_COLUMNS)
    runs = find_runs(folders)
    require_comparable(runs)
    table = long_table(runs, subset=subset)
    metric = metric or ("miou" if SUMS in table else "dice")
    if metric not in set(table["metric"]):
        remedy = "score the runs again, or choose another metric"
        raise InputError(f"metric {metric!r}", "is in the scores of no run", remedy)
    frames = {
        "scores": table,
        "summary": summarize(table, resamples=resamples, seed=seed),
        "summary_by_class": summarize(table, by_class=True, resamples=resamples, seed=seed),
        "comparisons": compare_settings(table, baseline=baseline, resamples=resamples, seed=seed),
        "ranks": rank_stability(table, resamples=resamples, seed=seed),
        "cautions": find_cautions(runs, table, metric=metric, resamples=resamples, seed=seed),
        "runs": _list_of_runs(runs, subset),
    }
    published = published_figures(remembered=remembered)
    places = []
    for (dataset, labeled), _ in table.groupby(["dataset", "labeled"]):
        place_runs = tuple(run for run in runs if (run.dataset, run.labeled) == (dataset, labeled))
        place_frames = {
            name: frame[(frame["dataset"] == dataset) & (frame["labeled"] == labeled)]
            for name, frame in {**frames, "published": published}.items()
        }
        places.append(_place(place_runs, place_frames, baseline, metric, subset))
    return Report(tuple(runs), tuple(places), frames, metric, subset)


def _place(
    runs: tuple[Run, ...],
    frames: Mapping[str, pd.DataFrame],
    baseline: str | None,
    metric: str,
    subset: Subset,
) -> Place:
    names = sorted({str(name) for name in frames["scores"]["method"]})
    reference = next((name for name in (baseline or "", BASELINE) if name in names), names[0])
    settings = (reference, *(name for name in names if name != reference))
    of_images = SUMS in frames["scores"]
    units = [str(policy["unit"]) for run in runs for policy in run.policies.values() if policy["unit"]]
    unit = PIXEL if of_images else next(iter(units), "mm")
    tables = {}
    columns = TABLES_OF_IMAGES if of_images else TABLES
    for title, metrics in columns.items():
        for checkpoint in (*CHECKPOINTS, UNSTATED):
            own = headline(frames["summary"], settings=settings, checkpoint=checkpoint, metrics=metrics)
            others = published_rows(frames["published"], checkpoint=checkpoint, metrics=metrics, unit=unit)
            if own or (others and checkpoint == UNSTATED):
                tables[checkpoint, title] = [*own, *others]
    by_setting = {name: [run for run in runs if run.setting == name and run.finished] for name in settings}
    source = FigureSource(by_setting, frames, looks(settings), reference, metric, subset)
    drawn = {figure: figure.draw(source) for figure in FIGURES}
    figures = {
        figure.name: (drawing, figure.caption.format(baseline=reference))
        for figure, drawing in drawn.items()
        if drawing is not None
    }
    first = runs[0]
    return Place(first.dataset, first.labeled, runs, settings, reference, unit, columns, tables, figures)


def _list_of_runs(runs: Sequence[Run], subset: Subset) -> pd.DataFrame:
    """What each run was and cost, a row each."""
    rows = []
    for run in runs:
        cost = run.record.get("cost") or {}
        scored = run.reliability("last", subset) or {}
        versions = run.record.get("versions") or {}
        rows.append(
            {
                "dataset": run.dataset,
                "labeled": run.labeled,
                "setting": run.setting,
                "seed": run.seed,
                "status": run.status,
                "selection": run.selection,
                **{name: cost.get(name) for name in COST},
                "seconds_per_case": scored.get("seconds_per_case"),
                "device": cost.get("device"),
                "threads": cost.get("threads"),
                "git_commit": run.record.get("git_commit"),
                **{name: versions.get(name) for name in ("medssl", "torch", "monai")},
                "split_sha256": run.record["split_sha256"],
                "test_fingerprint": run.record.get("test_fingerprint"),
                "folder": run.path.name,
            }
        )
    return pd.DataFrame(rows)
