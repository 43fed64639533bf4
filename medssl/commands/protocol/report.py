"""``medssl protocol report``: many runs as one honest report."""

import argparse
from typing import Any


def add_report(actions: Any) -> None:
    """Options of ``medssl protocol report``."""
    parser = actions.add_parser(
        "report",
        help="tables, statistics, figures and a page from run folders",
        description="Writes index.html, CSV, Markdown and LaTeX tables, and figures. Refuses to mix runs of "
        "different test sets, splits or metric policies.",
    )
    parser.add_argument("runs", nargs="+", help="run folders, or folders that hold them")
    parser.add_argument("--out", required=True, help="folder of the report")
    parser.add_argument("--baseline", metavar="SETTING", help="compare every setting with this one only")
    parser.add_argument("--metric", help="of figures and comparisons (default dice; of images miou)")
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
    from medssl.protocol.report.console_text import console_text
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
    print(console_text(report))
    print(f"\n{files[0]}")
    return 0
