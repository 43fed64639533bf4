"""The main numbers of a report as text for a terminal."""

from collections.abc import Iterator

from medssl.metrics.table import find_metric
from medssl.protocol.report.contents import Place, Report
from medssl.protocol.report.rows import records

TITLES = ("checkpoint", "runs", "median", "best run", "mean", "std", "IQM", "95%")
STATISTICS = ("median", "best_run", "mean", "std", "iqm")
MARGIN = ("iqm_low", "iqm_high")


def console_text(report: Report) -> str:
    """One table a data set and labelled count, of the report's metric; then the cautions."""
    lines = [line for place in report.places for line in _table(report, place)]
    cautions = report.frames["cautions"].to_dict("records")
    lines += ["", "before you believe it"] if cautions else []
    for row in cautions:
        where = f"{row['dataset']}, {row['labeled']}, {row['setting'] or 'all'}"
        lines.append(f"  {where}: {row['kind']}: {row['text']}")
    return "\n".join(lines)


def _table(report: Report, place: Place) -> Iterator[str]:
    metric = find_metric(report.metric)
    summary = report.frames["summary"]
    is_shown = summary["metric"].eq(report.metric) & summary["dataset"].eq(place.dataset)
    rows = records(summary[is_shown & summary["labeled"].eq(place.labeled)])
    width = max(len(name) for name in place.settings)
    cases = "images" if place.of_images else "cases"
    yield f"\n{place.name}: {metric.heading(place.unit)}, {report.subset} {cases}"
    yield f"  {'':<{width}}  " + "".join(f"{title:>11}" for title in TITLES)
    for setting in place.settings:
        for row in (row for row in rows if row["method"] == setting):
            is_oracle = row["checkpoint"] == "best" and "test-oracle" in row["selection"]
            cells = [row["checkpoint"] + (" (oracle)" if is_oracle else ""), str(row["runs"])]
            cells += [metric.text(row[name]).replace("\N{EN DASH}", "-") for name in STATISTICS]
            low, high = (metric.text(row[name]) for name in MARGIN)
            yield f"  {setting:<{width}}  " + "".join(f"{cell:>11}" for cell in cells) + f"  {low} to {high}"
