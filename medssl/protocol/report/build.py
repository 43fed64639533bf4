"""Many runs as one honest report: tables, figures and a page."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from medssl.common.errors import InputError, unknown_name
from medssl.common.files import write_text
from medssl.protocol.analysis.bootstrap import RESAMPLES
from medssl.protocol.analysis.cautions import find_cautions
from medssl.protocol.analysis.comparison import compare_settings
from medssl.protocol.analysis.published import published_figures, published_rows
from medssl.protocol.analysis.ranking import rank_stability
from medssl.protocol.analysis.store import ALL_METRICS, Run, Subset, find_runs, long_table, require_comparable
from medssl.protocol.analysis.summary import run_values, summarize
from medssl.protocol.report.figures.calibration import read_curves, reliability_diagram, training_curves
from medssl.protocol.report.figures.paired_cases import paired_differences
from medssl.protocol.report.figures.pseudo_labels import (
    read_pseudo_labels,
    selection_arrows,
    selection_curves,
)
from medssl.protocol.report.figures.runs import run_to_run
from medssl.protocol.report.figures.sensitivity import sensitivity_radar
from medssl.protocol.report.text_tables import OVERLAP, RELIABILITY, Row, headline, latex, markdown
from medssl.reports.figure_style import Look, looks, save

BASELINE = "supervised"
GROUPS = {"overlap and distance": OVERLAP, "reliability": RELIABILITY}
CHECKPOINTS = ("last", "best")
UNSTATED = ""  # the checkpoint of published figures whose source does not state it
PAGE = "index.html"


@dataclass(frozen=True)
class Place:
    """One data set and labelled count: what can be compared with one another.

    Attributes:
        dataset: name of the data set.
        labeled: labelled cases.
        runs: of it.
        settings: in the order of rows, the baseline first.
        baseline: the setting that paired differences refer to.
        unit: of distances.
        tables: rows by checkpoint and group of metrics; the checkpoint of published figures for which none is
            stated is empty.
        figures: with their captions, by name.
    """

    dataset: str
    labeled: int
    runs: tuple[Run, ...]
    settings: tuple[str, ...]
    baseline: str
    unit: str
    tables: Mapping[tuple[str, str], Sequence[Row]]
    figures: Mapping[str, tuple[Figure, str]]

    @property
    def name(self) -> str:
        """Such as ``la, 8 labelled``."""
        return f"{self.dataset}, {self.labeled} labelled"

    @property
    def stem(self) -> str:
        """Beginning of its figures' file names."""
        return f"{self.dataset}-labeled{self.labeled}"


@dataclass(frozen=True)
class Report:
    """Everything that is written.

    Attributes:
        runs: all of them.
        places: one for each data set and labelled count.
        frames: tables by name of their CSV file, without the ending.
        metric: in which settings are compared in figures and cautions.
        subset: "test" or "validation".
    """

    runs: tuple[Run, ...]
    places: tuple[Place, ...]
    frames: Mapping[str, pd.DataFrame]
    metric: str
    subset: Subset


def make_report(
    folders: Sequence[str | Path],
    *,
    baseline: str | None = None,
    metric: str = "dice",
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
        metric: in which settings are compared in figures and cautions.
        subset: which cases' scores.
        remembered: show published figures that are quoted from memory as well.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        InputError: nothing to report, runs that must not stand in one table, an unknown metric or baseline.
    """
    if metric not in ALL_METRICS:
        raise unknown_name("metric", metric, ALL_METRICS)
    runs = find_runs(folders)
    require_comparable(runs)
    table = long_table(runs, subset=subset)
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
        here = tuple(run for run in runs if (run.dataset, run.labeled) == (dataset, labeled))
        mine = {name: _of(frame, dataset, labeled) for name, frame in frames.items()}
        mine["published"] = _of(published, dataset, labeled)
        places.append(_place(here, mine, baseline, metric, subset))
    return Report(tuple(runs), tuple(places), frames, metric, subset)


def write_report(report: Report, out: str | Path, *, overwrite: bool = False) -> list[Path]:
    """Write CSV files, ``tables.md``, ``tables.tex``, ``figures/*.png`` and ``*.svg``, and ``index.html``.

    The same runs give the same bytes. Nothing else in the folder is touched.

    Raises:
        InputError: the folder holds a report already and ``overwrite`` was not asked for, or is a file.

    Returns:
        The files, the page first.
    """
    from medssl.protocol.report.web_page import write_page

    out = Path(out)
    if out.exists() and not out.is_dir():
        raise InputError(out, "not a folder", "choose another one")
    if (out / PAGE).exists() and not overwrite:
        raise InputError(out / PAGE, "exists already", "add --overwrite, or choose another folder")
    written = []
    for name, frame in report.frames.items():
        text = io.StringIO()
        frame.to_csv(text, index=False, lineterminator="\n")
        write_text(out / f"{name}.csv", text.getvalue())
        written.append(out / f"{name}.csv")
    for name, form in (("tables.md", markdown), ("tables.tex", latex)):
        parts = [
            form(rows, GROUPS[group], place.unit, caption=caption(place, checkpoint, group))
            for place in report.places
            for (checkpoint, group), rows in place.tables.items()
        ]
        write_text(out / name, "\n".join(parts))
        written.append(out / name)
    for place in report.places:
        for name, (figure, _) in place.figures.items():
            written += save(figure, out / "figures" / f"{place.stem}-{name}")
    write_page(report, out / PAGE)
    return [out / PAGE, *written]


def caption(place: Place, checkpoint: str, group: str) -> str:
    """Caption of a table."""
    if not checkpoint:
        return f"{place.name}: {group}, published without saying of which checkpoint"
    return f"{place.name}: {group} of the {checkpoint} checkpoint, median / best run"


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
    unit = next((str(p["unit"]) for run in runs for p in run.policies.values() if p["unit"]), "mm")
    tables = {}
    for group, metrics in GROUPS.items():
        for checkpoint in (*CHECKPOINTS, UNSTATED):
            own = headline(frames["summary"], settings=settings, checkpoint=checkpoint, metrics=metrics)
            theirs = published_rows(frames["published"], checkpoint=checkpoint, metrics=metrics, unit=unit)
            if own or (theirs and checkpoint == UNSTATED):
                tables[checkpoint, group] = [*own, *theirs]
    figures = _figures(runs, frames, looks(settings), reference, metric, subset)
    first = runs[0]
    return Place(first.dataset, first.labeled, runs, settings, reference, unit, tables, figures)


def _figures(
    runs: Sequence[Run],
    frames: Mapping[str, pd.DataFrame],
    shown: dict[str, Look],
    reference: str,
    metric: str,
    subset: Subset,
) -> dict[str, tuple[Figure, str]]:
    by_setting = {name: [run for run in runs if run.setting == name and run.finished] for name in shown}
    values = run_values(frames["scores"][frames["scores"]["metric"] == metric])
    scored = {
        name: [found for run in members if (found := run.reliability("last", subset))]
        for name, members in by_setting.items()
    }
    logs = {n: [log for r in m if (log := r.path / "log.jsonl").is_file()] for n, m in by_setting.items()}
    selected = read_pseudo_labels(
        {name: [run.path / "pseudo_labels.csv" for run in members] for name, members in by_setting.items()}
    )
    made: dict[str, tuple[Figure | None, str]] = {
        "runs": (
            run_to_run(values, shown, metric=metric),
            "Every run: the last checkpoint seed by seed, and best beside last. Where best lies above last, "
            "part of the gain is the choice of the moment.",
        ),
        "cases": (
            paired_differences(
                frames["scores"], frames["comparisons"], shown, metric=metric, baseline=reference
            )
            if len(shown) > 1
            else None,
            f"Last checkpoint, case by case (mean over seeds), against {reference}. "
            "p: Wilcoxon signed-rank over cases, Holm's correction.",
        ),
        "reliability": (
            reliability_diagram(scored, shown) if any(scored.values()) else None,
            "Reliability diagram of the last checkpoint, runs pooled: below the diagonal a model is "
            "over-confident. Below, the share of voxels.",
        ),
        "training": (
            training_curves(read_curves(logs), shown),
            "Accuracy and reliability on the validation cases over training: median over runs, and range.",
        ),
        "selection": (
            selection_curves(selected, shown),
            "Selection of pseudo-labels over training, judged with labels that training never sees: "
            "median over runs, and range.",
        ),
        "arrows": (
            selection_arrows(selected, shown),
            "What selecting does at the end of training: from all pseudo-labels (small ring) to the selected "
            "ones; the mark grows with their recall.",
        ),
        "sensitivity": (
            sensitivity_radar(frames["summary"], metric=metric),
            "Sensitivity to a hyperparameter. The scale does not begin at 0.",
        ),
    }
    return {name: (figure, words) for name, (figure, words) in made.items() if figure is not None}


def _of(frame: pd.DataFrame, dataset: Any, labeled: Any) -> pd.DataFrame:
    chosen: pd.DataFrame = frame[(frame["dataset"] == dataset) & (frame["labeled"] == labeled)]
    return chosen


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


COST = ("parameters", "deployed_parameters", "seconds_per_step", "peak_memory_mb")
"""Costs of a training in ``run.json``."""
