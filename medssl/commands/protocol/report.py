"""``medssl protocol report``: many runs as one honest report."""

import argparse
from typing import Any


def add_report(commands: Any) -> None:
    """Options of ``medssl protocol report``."""
    parser = commands.add_parser(
        "report",
        help="tables, statistics, figures and a page from run folders",
        description="Writes index.html, CSV, Markdown and LaTeX tables, and figures. Refuses to mix runs of "
        "different test sets, splits or metric policies.",
    )
    parser.add_argument("runs", nargs="+", help="run folders, or folders that hold them")
    parser.add_argument("--out", required=True, help="folder of the report")
    parser.add_argument("--baseline", metavar="SETTING", help="compare every setting with this one only")
    parser.add_argument("--metric", default="dice", help="of figures and comparisons (default dice)")
    parser.add_argument(
        "--subset", choices=("test", "validation"), default="test", help="which cases' scores (default test)"
    )
    parser.add_argument(
        "--remembered", action="store_true", help="also show published figures quoted from memory"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap (default 0)")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier report")
    parser.set_defaults(run=_report)


def _report(arguments: argparse.Namespace) -> int:
    from medssl.protocol.report.build import make_report
    from medssl.protocol.report.files import write_report

    report = make_report(
        arguments.runs,
        baseline=arguments.baseline,
        metric=arguments.metric,
        subset=arguments.subset,
        remembered=arguments.remembered,
        seed=arguments.seed,
    )
    files = write_report(report, arguments.out, overwrite=arguments.overwrite)
    for place in report.places:
        _print_place(report, place)
    cautions = report.frames["cautions"]
    if len(cautions):
        print("\nbefore you believe it")
    for row in cautions.to_dict("records"):
        print(
            f"  {row['dataset']}, {row['labeled']}, {row['setting'] or 'all'}: {row['kind']}: {row['text']}"
        )
    print(f"\n{files[0]}")
    return 0


def _print_place(report: Any, place: Any) -> None:
    from medssl.metrics.table import find_metric
    from medssl.protocol.report.rows import records

    metric = find_metric(report.metric)
    summary = report.frames["summary"]
    chosen = summary["metric"].eq(report.metric) & summary["dataset"].eq(place.dataset)
    rows = records(summary[chosen & summary["labeled"].eq(place.labeled)])
    width = max(len(name) for name in place.settings)
    print(f"\n{place.name}: {metric.heading(place.unit)}, {report.subset} cases")
    titles = ("checkpoint", "runs", "median", "best run", "mean", "std", "IQM", "95%")
    print(f"  {'':<{width}}  " + "".join(f"{title:>11}" for title in titles))
    for setting in place.settings:
        for row in (row for row in rows if row["method"] == setting):
            oracle = row["checkpoint"] == "best" and "test-oracle" in row["selection"]
            cells = [row["checkpoint"] + (" (oracle)" if oracle else ""), str(row["runs"])]
            names = ("median", "best_run", "mean", "std", "iqm")
            cells += [metric.text(row[name]).replace("\N{EN DASH}", "-") for name in names]
            low, high = (metric.text(row[name]) for name in ("iqm_low", "iqm_high"))
            print(f"  {setting:<{width}}  " + "".join(f"{c:>11}" for c in cells) + f"  {low} to {high}")
